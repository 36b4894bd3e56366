import { describe, expect, test } from 'vitest';
import { extent, extentWithoutOutliers, logTicks, padded, ticks } from './ranges';

describe('an extent', () => {
  test('ignores what is no finite number', () => {
    expect(extent([[1, null, Number.NaN, 5], [Number.POSITIVE_INFINITY, 3]])).toEqual([1, 5]);
    expect(extent([[Number.NaN]])).toBeNull();
  });

  test('on a logarithmic axis ignores zero and below', () => {
    expect(extent([[-1, 0, 0.5, 2]], true)).toEqual([0.5, 2]);
  });

  test('without outliers leaves a lone spike out', () => {
    const values = Array.from({ length: 1000 }, (_, index) => index / 1000);
    values[500] = 1e9;

    expect(extentWithoutOutliers([values])![1]).toBeLessThan(1);
  });
});

describe('padding', () => {
  test('never takes a quantity that is not negative below zero', () => {
    expect(padded([0.01, 2])[0]).toBe(0);
  });

  test('opens a range around a single value', () => {
    const [low, high] = padded([3, 3]);

    expect(low).toBeLessThan(3);
    expect(high).toBeGreaterThan(3);
  });
});

test('ticks are round numbers within the range', () => {
  expect(ticks([0, 1], 5)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  expect(ticks([-3, 12], 4)).toEqual([0, 5, 10]);
  expect(logTicks([0.01, 10])).toEqual([0.01, 0.1, 1, 10]);
});
