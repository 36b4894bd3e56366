import { expect, test } from 'vitest';
import { placeOf, stepAt } from './steps';

const STEPS = [0, 10, 25, 90];

test('a step lies at the last place that is not after it', () => {
  expect([-5, 0, 9, 10, 26, 90, 1000, null].map((step) => placeOf(STEPS, step))).toEqual([0, 0, 0, 1, 2, 3, 3, 3]);
  expect(placeOf([], null)).toBe(0);
});

test('the last place follows what comes', () => {
  expect([0, 1, 2, 3, 9].map((place) => stepAt(STEPS, place))).toEqual([0, 10, 25, null, null]);
  expect(stepAt([], 0)).toBeNull();
});
