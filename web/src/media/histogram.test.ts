import { describe, expect, test } from 'vitest';
import type { Histograms } from '../api/media';
import { edgesOf, one, parsed, shares, span } from './histogram';

const TWO: Histograms = { steps: [0, 10], low: 0, high: 2, bins: 2, total: 2, counts: new Float32Array([1, 3, 0, 5]) };

describe('several histograms', () => {
  test('are shades by the share of their own counts, with the highest bin on top', () => {
    expect([...shares(TWO)]).toEqual([0.75, 1, 0.25, Number.NaN]);
  });

  test('give one of them with its edges', () => {
    expect(one(TWO, 1)).toEqual({ edges: [0, 1, 2], counts: [0, 5] });
  });
});

test('bins are told by edges that differ', () => {
  expect(span(edgesOf({ low: 1000, high: 1001, bins: 10 }), 2)).toBe('1000.2 to 1000.3');
  expect(span(edgesOf({ low: -1, high: 1, bins: 4 }), 1)).toBe('−0.5 to 0');
});

test('a damaged histogram is none', () => {
  expect(parsed('{"edges":[0,1],"counts":[2]}')).toEqual({ edges: [0, 1], counts: [2] });
  expect(parsed('{"edges":[0,1],"counts":[2,3]}')).toBeNull();
  expect(parsed('{"edges":[0,null],"counts":[2]}')).toBeNull();
  expect(parsed('no')).toBeNull();
});
