import type { Value } from './contract';

const NUMBERS: Record<string, number> = { NaN: Number.NaN, Infinity: Number.POSITIVE_INFINITY, '-Infinity': Number.NEGATIVE_INFINITY };

/** The value with the strings that stand for numbers JSON can't hold turned back into those numbers. */
export function restoreNumbers(value: Value): Value {
  if (typeof value === 'string') return NUMBERS[value] ?? value;
  if (Array.isArray(value)) return value.map(restoreNumbers);
  if (value !== null && typeof value === 'object') return restoreEntries(value);
  return value;
}

export function restoreEntries<T extends Record<string, Value>>(entries: T): T {
  return Object.fromEntries(Object.entries(entries).map(([key, value]) => [key, restoreNumbers(value)])) as T;
}
