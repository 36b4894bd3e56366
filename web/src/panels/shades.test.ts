import { describe, expect, test } from 'vitest';
import { labelled, octave, pixels, ramp, rangeOf, scaleOf, shade, stepsOf } from './shades';

const numbers = (...values: number[]): Float64Array => Float64Array.from(values);

describe('a range', () => {
  test('is of the finite numbers, and on a log scale of the positive ones', () => {
    expect(rangeOf(numbers(3, Number.NaN, -1, Infinity, 2), 'linear')).toEqual({ low: -1, high: 3 });
    expect(rangeOf(numbers(3, 0, -1, 0.5), 'log')).toEqual({ low: 0.5, high: 3 });
    expect(rangeOf(numbers(0, Number.NaN), 'log')).toBeNull();
    expect(rangeOf(numbers(), 'linear')).toBeNull();
  });
});

describe('a shade', () => {
  test('spreads a log scale evenly over magnitudes', () => {
    const range = { low: 1e-4, high: 1 };
    expect(shade(1e-2, range, 'log')).toBeCloseTo(0.5);
    expect(shade(1, range, 'log')).toBe(1);
    expect(shade(0, range, 'log')).toBe(0);
    expect(shade(-1, range, 'log')).toBeNull();
  });

  test('is in the middle where all numbers are the same, and none where there is none', () => {
    expect(shade(2, { low: 2, high: 2 }, 'linear')).toBe(0.5);
    expect(shade(Number.NaN, { low: 0, high: 1 }, 'linear')).toBeNull();
    expect(shade(1, null, 'linear')).toBeNull();
  });

  test('is logarithmic for what spans magnitudes', () => {
    expect(['norm', 'update_ratio', 'zeros', 'nan'].map(scaleOf)).toEqual(['log', 'log', 'linear', 'linear']);
  });
});

describe('pixels', () => {
  test('leave out what is missing and mark what is not finite', () => {
    const image = pixels(numbers(0, 1, Number.NaN, Number.NaN), numbers(0, 0, 0, 7), { low: 0, high: 1 }, 'linear', ramp(false));
    const cell = (index: number): number[] => [...image.slice(index * 4, index * 4 + 4)];

    expect(cell(0)).toEqual([...ramp(false)[0]!, 255]);
    expect(cell(1)).toEqual([...ramp(false)[255]!, 255]);
    expect(cell(2)).toEqual([0, 0, 0, 0]);
    expect(cell(3)[3]).toBe(255);
    expect(cell(3)[0]!).toBeGreaterThan(2 * cell(3)[2]!);
  });

  test('get steadily darker on a light ground and lighter on a dark one', () => {
    const light = ramp(false).map(([red, green, blue]) => red + green + blue);
    const dark = ramp(true).map(([red, green, blue]) => red + green + blue);
    expect(light.every((value, index) => index === 0 || value <= light[index - 1]!)).toBe(true);
    expect(dark.every((value, index) => index === 0 || value >= dark[index - 1]!)).toBe(true);
  });
});

describe('labels', () => {
  test('thin out where rows are many', () => {
    expect(labelled(3, 10)).toEqual([0, 1, 2]);
    expect(labelled(10, 4)).toEqual([0, 3, 6, 9]);
    expect(labelled(0, 4)).toEqual([]);
    expect(labelled(5, 0)).toEqual([]);
  });

  test('of a distribution tell signs and bounds', () => {
    const write = String;
    expect([0, 1, 2, 3, 4].map((row) => octave(row, 5, -1, write))).toEqual(['−2 to −1', '−1 to −0.5', '±0.5', '0.5 to 1', '1 to 2']);
  });

  test('of columns tell one step or several', () => {
    expect(stepsOf(40, 0)).toBe('step 40');
    expect(stepsOf(10, 10)).toBe('steps 10 to 19');
    expect(stepsOf(15.5, 15.5)).toBe('steps 16 to 30');
  });
});
