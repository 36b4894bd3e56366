// What some runs have in common and in what they differ.

import type { Value } from '../api/contract';

export interface Comparison {
  key: string;
  /** The value of each run, in the order of the runs. */
  values: (Value | undefined)[];
  differs: boolean;
}

/** Nested entries with the names of their parents before them, as `model.depth`. */
export function flatten(entries: Record<string, Value>, prefix = ''): Record<string, Value> {
  const out: Record<string, Value> = {};
  for (const [key, value] of Object.entries(entries)) {
    const name = prefix === '' ? key : `${prefix}.${key}`;
    if (value !== null && typeof value === 'object' && !Array.isArray(value) && Object.keys(value).length > 0) Object.assign(out, flatten(value, name));
    else out[name] = value;
  }
  return out;
}

/** The entries of several runs side by side, by name. */
export function sideBySide(runs: readonly Record<string, Value>[]): Comparison[] {
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run)))].sort((a, b) => a.localeCompare(b));
  return keys.map((key) => {
    const values = runs.map((run) => run[key]);
    return { key, values, differs: values.some((value) => !sameValue(value, values[0])) };
  });
}

/** Whether two values are the same; NaN is the same as NaN. */
export function sameValue(a: Value | undefined, b: Value | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Object.is(a, b) || (typeof a === 'object' && JSON.stringify(a) === JSON.stringify(b));
}
