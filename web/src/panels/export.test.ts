import { expect, test } from 'vitest';
import { svgOf } from './export';

const DRAWING = {
  x: [0, 1, 2],
  lines: [{ id: 'a', key: 'loss', color: '#3778d7', label: 'run <1>', dash: [], values: [3, null, 1], raw: [4, null, 0], low: null, high: null }],
};

test('a chart is written as SVG with its lines, raw lines and an escaped legend', () => {
  const svg = svgOf(DRAWING, 'loss & more', [0, 4], false, false);

  expect(svg.match(/stroke="#3778d7"/g)).toHaveLength(3);
  expect(svg).toContain('run &lt;1&gt;');
  expect(svg).toContain('loss &amp; more');
  expect(svg).not.toContain('NaN');
});

test('a logarithmic axis has powers of ten', () => {
  expect(svgOf({ ...DRAWING, x: [1, 10, 100] }, 'loss', [0.1, 10], true, true)).toMatch(/>100<.*>0\.1<|>0\.1<.*>100</s);
});
