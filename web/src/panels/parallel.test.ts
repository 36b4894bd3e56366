import { expect, test } from 'vitest';
import { axisOf } from './parallel';

test('numbers stand in proportion', () => {
  const axis = axisOf('config.x', [0, 10, null, 5]);

  expect([axis.place(0), axis.place(5), axis.place(10), axis.place(null)]).toEqual([0, 0.5, 1, null]);
});

test('numbers over many orders of magnitude stand by their logarithm', () => {
  const axis = axisOf('config.lr', [1e-4, 1e-1]);

  expect(axis.place(10 ** -2.5)).toBeCloseTo(0.5);
});

test('texts stand in even steps', () => {
  const axis = axisOf('config.optimizer', ['sgd', 'adam', 'lion', 'adam']);

  expect(axis.labels.map(({ value }) => value)).toEqual(['adam', 'lion', 'sgd']);
  expect(axis.place('lion')).toBe(0.5);
});

test('a value all runs share stands in the middle', () => {
  expect(axisOf('config.x', [3, 3]).place(3)).toBe(0.5);
});

test('a diverged run has no place', () => {
  expect(axisOf('summary.loss', [1, 2, Number.NaN]).place(Number.NaN)).toBeNull();
});
