import { describe as group, expect, test } from 'vitest';
import { cellOf, describe, extensionOf, grouped, keysOfKinds, sharpest } from './kinds';

const item = (index: number, grouping?: number) => ({ metadata: { index, ...(grouping === undefined ? {} : { grouping }) } });

group('items of a list', () => {
  test('stand alone, or together as they were logged', () => {
    const sizes = (items: ReturnType<typeof item>[]): number[] => grouped(items).map((members) => members.length);

    expect(sizes([item(0), item(1)])).toEqual([1, 1]);
    expect(sizes([0, 1, 2, 3, 4].map((index) => item(index, 3)))).toEqual([3, 2]);
    expect(sizes([item(0, 2), item(1, 2), item(2), item(3, 2)])).toEqual([2, 1, 1]);
  });

  test('are described with their place, step and caption', () => {
    expect(describe({ kind: 'image', key: 'val/x', step: 40, metadata: { index: 1, items: 8, caption: 'a cat' } })).toBe('val/x, image 2 of 8 at step 40: a cat');
    expect(describe({ kind: 'audio', key: 'speech', step: 0, metadata: {} })).toBe('speech, sound at step 0');
  });
});

test('the end of a path tells formats apart', () => {
  expect(['a/b_1_ab.GLB', 'noend', '/api/content/w/3', 'a.tar.gz'].map(extensionOf)).toEqual(['glb', '', '', 'gz']);
});

test('pictures have the shape of their own, other kinds a height', () => {
  expect(cellOf('image', 150)).toEqual({ width: 150, height: null });
  expect(cellOf('plotly', 150).height).toBeGreaterThan(200);
});

test('a key is offered once, whatever kinds were logged under it', () => {
  const key = { runs: 1, count: 1, first_step: 0, last_step: 0 };

  expect(keysOfKinds([{ ...key, key: 'a', kind: 'image' }, { ...key, key: 'a', kind: 'text' }, { ...key, key: 'b', kind: 'table' }], ['image', 'text'])).toEqual(['a']);
});

test('a figure is enlarged from its SVG', () => {
  expect(sharpest({ content: '/api/v1/runs/r/content/w/1', metadata: { svg: { digest: 'abc' } } })).toBe('/api/v1/runs/r/content/abc');
  expect(sharpest({ content: '/api/v1/runs/r/content/w/1', metadata: {} })).toBe('/api/v1/runs/r/content/w/1');
});
