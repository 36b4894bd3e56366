// Which parameters of a config move a metric: how much of its variance trees explain by each, and the rank correlation.

import type { Value } from '../api/contract';

export interface Parameter {
  key: string;
  /** The part of the explained variance, 0 to 1; all of them add up to 1. */
  importance: number;
  /** Spearman's rank correlation; null for texts. */
  correlation: number | null;
  count: number;
}

const TREES = 60;
const LEAST_LEAF = 3;
const LEAST_RUNS = 6;

/** The parameters by importance; none where there are too few runs. `rows` have a value for each key, or none. */
export function importanceOf(rows: readonly Record<string, Value>[], targets: readonly number[], keys: readonly string[]): Parameter[] {
  const used = rows.map((_, index) => index).filter((index) => Number.isFinite(targets[index]!));
  if (used.length < LEAST_RUNS) return [];
  const y = used.map((index) => targets[index]!);
  const features = keys
    .map((key) => ({ key, ...columnOf(used.map((index) => rows[index]![key])) }))
    .filter(({ values }) => new Set(values).size > 1);
  const gains = forest(features.map(({ values }) => values), y);
  const total = gains.reduce((sum, gain) => sum + gain, 0) || 1;
  return features
    .map(({ key, values, numeric, count }, index) => ({ key, importance: gains[index]! / total, correlation: numeric ? spearman(values, y) : null, count }))
    .sort((a, b) => b.importance - a.importance);
}

/** A column as numbers: texts in the order they first occur, and nothing as less than anything. */
function columnOf(values: readonly (Value | undefined)[]): { values: number[]; numeric: boolean; count: number } {
  const given = values.filter((value) => value !== undefined && value !== null);
  const numeric = given.every((value) => (typeof value === 'number' && Number.isFinite(value)) || typeof value === 'boolean');
  const names = [...new Set(given.map((value) => JSON.stringify(value)))];
  const least = numeric ? Math.min(...given.map(Number)) - 1 : -1;
  const numbers = values.map((value) => (value === undefined || value === null ? least : numeric ? Number(value) : names.indexOf(JSON.stringify(value))));
  return { values: numbers, numeric, count: given.length };
}

/** The variance that extremely randomised trees take away at each feature's splits. */
function forest(columns: readonly number[][], y: readonly number[]): number[] {
  const gains = columns.map(() => 0);
  const random = generator(17);
  for (let tree = 0; tree < TREES; tree++) split(y.map((_, index) => index), 0);
  return gains;

  function split(members: number[], depth: number): void {
    const before = squares(members, y);
    if (members.length < LEAST_LEAF * 2 || before === 0 || depth > 12) return;
    let best: { feature: number; gain: number; left: number[]; right: number[] } | null = null;
    columns.forEach((column, feature) => {
      const cut = column[members[Math.floor(random() * members.length)]!]!;
      const left = members.filter((index) => column[index]! <= cut);
      if (left.length < LEAST_LEAF || members.length - left.length < LEAST_LEAF) return;
      const right = members.filter((index) => column[index]! > cut);
      const gain = before - squares(left, y) - squares(right, y);
      if (best === null || gain > best.gain) best = { feature, gain, left, right };
    });
    if (best === null) return;
    const { feature, gain, left, right } = best as { feature: number; gain: number; left: number[]; right: number[] };
    gains[feature]! += gain;
    split(left, depth + 1);
    split(right, depth + 1);
  }
}

function squares(members: readonly number[], y: readonly number[]): number {
  const mean = members.reduce((sum, index) => sum + y[index]!, 0) / members.length;
  return members.reduce((sum, index) => sum + (y[index]! - mean) ** 2, 0);
}

/** Spearman's rank correlation; equal values share their rank. */
export function spearman(a: readonly number[], b: readonly number[]): number {
  const [x, y] = [ranks(a), ranks(b)];
  const middle = (a.length + 1) / 2;
  let both = 0;
  let ofX = 0;
  let ofY = 0;
  x.forEach((rank, index) => {
    both += (rank - middle) * (y[index]! - middle);
    ofX += (rank - middle) ** 2;
    ofY += (y[index]! - middle) ** 2;
  });
  return ofX === 0 || ofY === 0 ? 0 : both / Math.sqrt(ofX * ofY);
}

function ranks(values: readonly number[]): number[] {
  const order = values.map((_, index) => index).sort((a, b) => values[a]! - values[b]!);
  const out = new Array<number>(values.length);
  for (let from = 0; from < order.length; ) {
    let to = from;
    while (to + 1 < order.length && values[order[to + 1]!] === values[order[from]!]) to++;
    for (let at = from; at <= to; at++) out[order[at]!] = (from + to) / 2 + 1;
    from = to + 1;
  }
  return out;
}

/** The same numbers every time (mulberry32), so that a panel does not change by itself. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
