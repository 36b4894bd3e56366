import { expect, test } from 'vitest';
import { flatten, sameValue, sideBySide } from './entries';

test('nested entries are named by their parents too', () => {
  expect(flatten({ lr: 0.1, model: { depth: 3, name: 'vit', empty: {} }, layers: [1, 2] })).toEqual({ lr: 0.1, 'model.depth': 3, 'model.name': 'vit', 'model.empty': {}, layers: [1, 2] });
});

test('entries of several runs stand side by side, and say whether they differ', () => {
  expect(sideBySide([{ a: 1, b: 2 }, { a: 1, c: Number.NaN }])).toEqual([
    { key: 'a', values: [1, 1], differs: false },
    { key: 'b', values: [2, undefined], differs: true },
    { key: 'c', values: [undefined, Number.NaN], differs: true },
  ]);
});

test('values are compared by what they are', () => {
  expect(sameValue(Number.NaN, Number.NaN)).toBe(true);
  expect(sameValue([1, 2], [1, 2])).toBe(true);
  expect(sameValue(null, undefined)).toBe(false);
});
