import { expect, test } from 'vitest';
import { importanceOf, spearman } from './importance';

const ROWS = Array.from({ length: 60 }, (_, index) => ({
  'config.lr': 10 ** -((index * 7) % 5),
  'config.seed': (index * 31) % 13,
  'config.optimizer': index % 2 === 0 ? 'adam' : 'sgd',
  'config.same': 1,
}));
const KEYS = Object.keys(ROWS[0]!);

test('the parameter that moves the metric matters most', () => {
  const targets = ROWS.map((row) => Math.log10(row['config.lr']) * 2 + (row['config.optimizer'] === 'adam' ? 1 : 0));
  const [first, second] = importanceOf(ROWS, targets, KEYS);

  expect(first).toMatchObject({ key: 'config.lr', count: 60 });
  expect(first!.correlation).toBeGreaterThan(0.9);
  expect(second).toMatchObject({ key: 'config.optimizer', correlation: null });
});

test('the parts add up to one, and what never changes has none', () => {
  const found = importanceOf(ROWS, ROWS.map((row) => row['config.lr']), KEYS);

  expect(found.map(({ key }) => key)).not.toContain('config.same');
  expect(found.reduce((sum, { importance }) => sum + importance, 0)).toBeCloseTo(1);
});

test('a handful of runs tell nothing', () => {
  expect(importanceOf(ROWS.slice(0, 3), [1, 2, 3], KEYS)).toEqual([]);
  expect(importanceOf(ROWS, ROWS.map(() => Number.NaN), KEYS)).toEqual([]);
});

test('equal values share a rank', () => {
  expect(spearman([1, 2, 3], [10, 20, 30])).toBeCloseTo(1);
  expect(spearman([1, 2, 3], [3, 2, 1])).toBeCloseTo(-1);
  expect(spearman([1, 1, 1], [1, 2, 3])).toBe(0);
});
