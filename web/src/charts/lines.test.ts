import { describe, expect, test } from 'vitest';
import type { PanelData } from '../api/panel';
import { DEFAULT_SETTINGS } from '../panels/layout';
import { csvCell, draw, drawingCsv, valueNear } from './lines';

const DATA: PanelData = {
  x: Float64Array.of(0, 1, 2),
  version: 1,
  series: [
    { run: 'a', key: 'loss', name: 'one', group: null, runs: 1, points: 9, mean: Float64Array.of(3, Number.NaN, -1), low: Float64Array.of(2, Number.NaN, -2), high: Float64Array.of(4, Number.NaN, 0) },
    { run: 'b', key: 'loss', name: 'two', group: null, runs: 1, points: 3, mean: Float64Array.of(1, 2, 3), low: Float64Array.of(1, 2, 3), high: Float64Array.of(1, 2, 3) },
  ],
};
const style = (series: PanelData['series'][number]) => ({ id: series.run!, color: '#000000', label: series.name, dash: [] });

describe('a drawing', () => {
  test('has a gap where a bucket is empty', () => {
    expect(draw(DATA, DEFAULT_SETTINGS, style).lines[0]!.values).toEqual([3, null, -1]);
  });

  test('has a band only where buckets hold several values', () => {
    const { lines } = draw(DATA, DEFAULT_SETTINGS, style);

    expect(lines[0]!.high).toEqual([4, null, 0]);
    expect(lines[1]!.high).toBeNull();
  });

  test('on a logarithmic axis leaves out what is not positive', () => {
    expect(draw(DATA, { ...DEFAULT_SETTINGS, logY: true }, style).lines[0]!.values).toEqual([3, null, null]);
  });

  test('that is smoothed keeps the raw line behind', () => {
    const { lines } = draw(DATA, { ...DEFAULT_SETTINGS, smoothing: 'ema', amount: 0.5 }, style);

    expect(lines[1]!.raw).toEqual([1, 2, 3]);
    expect(lines[1]!.values[2]).toBeLessThan(3);
  });

  test('leaves out what has no style', () => {
    expect(draw(DATA, DEFAULT_SETTINGS, () => null).lines).toEqual([]);
  });
});

test('the value under the cursor is that of the nearest point within reach', () => {
  const x = [0, 1, 2, 3, 4];
  const values = [5, null, null, null, 7];

  expect(valueNear(x, values, 1, 1)).toBe(5);
  expect(valueNear(x, values, 2, 1)).toBeNull();
  expect(valueNear(x, values, 4, 0)).toBe(7);
});

test('a chart is written as CSV with a column a line', () => {
  expect(drawingCsv(draw(DATA, DEFAULT_SETTINGS, style), 'step')).toBe('step,one,two\n0,3,1\n1,,2\n2,-1,3\n');
});

test('a cell of CSV is quoted, and no formula', () => {
  expect(csvCell('a,"b"')).toBe('"a,""b"""');
  expect(csvCell('=1+1')).toBe("'=1+1");
  expect(csvCell(-3)).toBe('-3');
});
