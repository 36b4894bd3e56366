// Parallel coordinates: an axis for each entry, numbers in order and texts in steps.

import type { Value } from '../api/contract';
import { extent } from '../charts/ranges';

export interface Axis {
  key: string;
  /** The place of a value from 0 at the foot to 1 at the top; null where it has none. */
  place: (value: Value | undefined) => number | null;
  labels: { at: number; value: Value }[];
}

const MOST_CATEGORIES = 12;
/** Numbers spread over more than this factor, such as learning rates, are shown by their order of magnitude. */
const LOG_SPREAD = 50;

export function axisOf(key: string, values: readonly (Value | undefined)[]): Axis {
  const given = values.filter((value): value is Exclude<Value, null> => value !== undefined && value !== null);
  const numbers = given.filter((value): value is number => typeof value === 'number' && Number.isFinite(value));
  if (numbers.length > 0 && numbers.length >= given.length / 2) return numberAxis(key, numbers);
  const names = [...new Set(given.map((value) => JSON.stringify(value)))].sort().slice(0, MOST_CATEGORIES);
  const at = (index: number): number => (names.length === 1 ? 0.5 : index / (names.length - 1));
  return {
    key,
    place: (value) => {
      const index = names.indexOf(JSON.stringify(value));
      return index < 0 ? null : at(index);
    },
    labels: names.map((name, index) => ({ at: at(index), value: JSON.parse(name) as Value })),
  };
}

function numberAxis(key: string, numbers: number[]): Axis {
  const [low, high] = extent([numbers])!;
  const logarithmic = low > 0 && high / low > LOG_SPREAD;
  const scale = (value: number): number => (logarithmic ? Math.log(value) : value);
  const span = scale(high) - scale(low);
  const back = (at: number): number => (logarithmic ? Math.exp(scale(low) + at * span) : low + at * span);
  return {
    key,
    place: (value) => (typeof value !== 'number' || !Number.isFinite(value) || (logarithmic && value <= 0) ? null : span === 0 ? 0.5 : (scale(value) - scale(low)) / span),
    labels: span === 0 ? [{ at: 0.5, value: low }] : [0, 0.25, 0.5, 0.75, 1].map((at) => ({ at, value: at === 0 ? low : at === 1 ? high : back(at) })),
  };
}
