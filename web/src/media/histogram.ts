// Histograms: one as bars, many as the shades of a heat map.

import type { Histograms } from '../api/media';
import { formatNumber } from '../text/format';

/** Counts between edges, of which there is one more. */
export interface Histogram {
  edges: number[];
  counts: number[];
}

/** What is kept of a histogram; null where it is damaged. */
export function parsed(text: string): Histogram | null {
  try {
    const { edges, counts } = JSON.parse(text) as Histogram;
    const whole = Array.isArray(edges) && Array.isArray(counts) && edges.length === counts.length + 1;
    return whole && [...edges, ...counts].every(Number.isFinite) ? { edges, counts } : null;
  } catch {
    return null;
  }
}

/** The edges of the grid that several histograms were brought to. */
export function edgesOf({ low, high, bins }: Pick<Histograms, 'low' | 'high' | 'bins'>): number[] {
  return Array.from({ length: bins + 1 }, (_, index) => low + ((high - low) * index) / bins);
}

/** One of several histograms, by its place among them. */
export function one(all: Histograms, place: number): Histogram {
  return { edges: edgesOf(all), counts: [...all.counts.subarray(place * all.bins, (place + 1) * all.bins)] };
}

/**
 * The share that each bin (a row, the highest first) has of its histogram's counts, over steps (columns); NaN where
 * nothing fell into a bin.
 */
export function shares({ counts, bins, steps }: Histograms): Float64Array {
  const cells = new Float64Array(counts.length).fill(Number.NaN);
  for (let column = 0; column < steps.length; column++) {
    let whole = 0;
    for (let bin = 0; bin < bins; bin++) whole += counts[column * bins + bin]!;
    for (let bin = 0; bin < bins; bin++) {
      const count = counts[column * bins + bin]!;
      if (count > 0) cells[(bins - 1 - bin) * steps.length + column] = count / whole;
    }
  }
  return cells;
}

/** A number among others between two edges, with as many digits as tell neighbours apart. */
export function writer(edges: readonly number[]): (value: number) => string {
  const step = Math.abs((edges.at(-1)! - edges[0]!) / Math.max(1, edges.length - 1));
  const most = Math.max(Math.abs(edges[0]!), Math.abs(edges.at(-1)!));
  const digits = step > 0 && most > 0 ? Math.max(2, Math.min(12, Math.ceil(Math.log10(most / step)) + 1)) : 4;
  return (value) => formatNumber(Math.abs(value) < step / 1e6 ? 0 : value, digits);
}

/** Counts spread over bins that are not theirs come out as fractions. */
export function formatCounted(count: number): string {
  return formatNumber(count, Math.abs(count) >= 100 ? Math.max(4, Math.floor(Math.log10(Math.abs(count))) + 1) : 3);
}

export function span(edges: readonly number[], bin: number): string {
  const write = writer(edges);
  return `${write(edges[bin]!)} to ${write(edges[bin + 1]!)}`;
}
