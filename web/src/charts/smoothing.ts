// Smoothing of a series on a grid of buckets. NaN stands for an empty bucket: it stays empty and weighs nothing.

export type SmoothingKind = 'none' | 'time-ema' | 'ema' | 'gaussian' | 'mean';

export const SMOOTHINGS: { kind: SmoothingKind; name: string; most: number; step: number }[] = [
  { kind: 'none', name: 'None', most: 0, step: 1 },
  { kind: 'time-ema', name: 'Time-weighted EMA', most: 0.999, step: 0.001 },
  { kind: 'ema', name: 'Exponential moving average', most: 0.999, step: 0.001 },
  { kind: 'gaussian', name: 'Gaussian', most: 100, step: 0.5 },
  { kind: 'mean', name: 'Running mean', most: 200, step: 1 },
];

/**
 * The smoothed series.
 *
 * `amount` is the weight of the past from 0 to 1 for both averages, the standard deviation in buckets for the
 * Gaussian, and the width of the window in buckets for the running mean.
 */
export function smooth(kind: SmoothingKind, amount: number, x: ArrayLike<number>, y: ArrayLike<number>): Float64Array {
  switch (kind) {
    case 'time-ema':
      return timeWeightedEma(amount, x, y);
    case 'ema':
      return ema(amount, y);
    case 'gaussian':
      return gaussian(amount, y);
    case 'mean':
      return runningMean(amount, y);
    case 'none':
      return Float64Array.from(y);
  }
}

function ema(weight: number, y: ArrayLike<number>): Float64Array {
  const out = new Float64Array(y.length).fill(Number.NaN);
  let sum = 0;
  let total = 0;
  for (let i = 0; i < y.length; i++) {
    const value = y[i]!;
    if (!Number.isFinite(value)) continue;
    // Dividing by the weights so far removes the pull of the start towards zero.
    sum = sum * weight + value;
    total = total * weight + 1;
    out[i] = sum / total;
  }
  return out;
}

/** As `ema`, but what a step of the past is worth depends on how far it lies back on the x axis. */
function timeWeightedEma(weight: number, x: ArrayLike<number>, y: ArrayLike<number>): Float64Array {
  const out = new Float64Array(y.length).fill(Number.NaN);
  const typical = typicalGap(x, y);
  let sum = 0;
  let total = 0;
  let last = Number.NaN;
  for (let i = 0; i < y.length; i++) {
    const value = y[i]!;
    if (!Number.isFinite(value)) continue;
    const gap = Number.isNaN(last) || typical === 0 ? 1 : Math.max(0, (x[i]! - last) / typical);
    const decay = weight ** gap;
    sum = sum * decay + value;
    total = total * decay + 1;
    last = x[i]!;
    out[i] = sum / total;
  }
  return out;
}

function typicalGap(x: ArrayLike<number>, y: ArrayLike<number>): number {
  const gaps: number[] = [];
  let last = Number.NaN;
  for (let i = 0; i < y.length; i++) {
    if (!Number.isFinite(y[i]!)) continue;
    if (!Number.isNaN(last)) gaps.push(x[i]! - last);
    last = x[i]!;
  }
  gaps.sort((a, b) => a - b);
  return gaps[gaps.length >> 1] ?? 0;
}

function gaussian(deviation: number, y: ArrayLike<number>): Float64Array {
  if (deviation <= 0) return Float64Array.from(y);
  const reach = Math.ceil(deviation * 3);
  const kernel = Float64Array.from({ length: reach + 1 }, (_, offset) => Math.exp(-0.5 * (offset / deviation) ** 2));
  return weighted(y, reach, (offset) => kernel[Math.abs(offset)]!);
}

function runningMean(width: number, y: ArrayLike<number>): Float64Array {
  const reach = Math.floor(Math.max(1, width) / 2);
  return weighted(y, reach, () => 1);
}

function weighted(y: ArrayLike<number>, reach: number, weightOf: (offset: number) => number): Float64Array {
  const out = new Float64Array(y.length).fill(Number.NaN);
  for (let i = 0; i < y.length; i++) {
    if (!Number.isFinite(y[i]!)) continue;
    let sum = 0;
    let total = 0;
    for (let offset = -Math.min(reach, i); offset <= reach && i + offset < y.length; offset++) {
      const value = y[i + offset]!;
      if (!Number.isFinite(value)) continue;
      const weight = weightOf(offset);
      sum += value * weight;
      total += weight;
    }
    out[i] = sum / total;
  }
  return out;
}
