import { describe, expect, test } from 'vitest';
import { smooth, SMOOTHINGS, type SmoothingKind } from './smoothing';

const KINDS = SMOOTHINGS.map(({ kind }) => kind).filter((kind) => kind !== 'none');
const AMOUNT: Record<SmoothingKind, number> = { none: 0, ema: 0.9, 'time-ema': 0.9, gaussian: 3, mean: 5 };
const steps = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

describe.each(KINDS)('%s', (kind) => {
  test('leaves a constant as it is, from the first point on', () => {
    const out = smooth(kind, AMOUNT[kind], steps(20), new Array(20).fill(4));

    for (const value of out) expect(value).toBeCloseTo(4, 12);
  });

  test('makes noise smaller', () => {
    const noise = steps(200).map((index) => (index % 2 === 0 ? 1 : -1));
    const out = smooth(kind, AMOUNT[kind], steps(200), noise);

    expect(Math.abs(out[150]!)).toBeLessThan(0.3);
  });

  test('keeps empty buckets empty and gives them no weight', () => {
    const out = smooth(kind, AMOUNT[kind], steps(5), [2, Number.NaN, 2, Number.NaN, 2]);

    expect(out[1]).toBeNaN();
    expect(out[4]).toBeCloseTo(2, 12);
  });
});

test('no smoothing gives the same values back', () => {
  expect([...smooth('none', 0, steps(3), [1, 2, 3])]).toEqual([1, 2, 3]);
});

test('an average weighted by time forgets faster over a long gap', () => {
  const even = smooth('time-ema', 0.9, [0, 1, 2, 3], [0, 0, 0, 1]);
  const gap = smooth('time-ema', 0.9, [0, 1, 2, 50], [0, 0, 0, 1]);

  expect(gap[3]!).toBeGreaterThan(even[3]!);
});
