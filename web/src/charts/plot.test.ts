import { expect, test, vi } from 'vitest';

vi.mock('../app/theme.svelte', () => ({ token: () => '' }));
const { filledStretches, formatX, teller, yRangeOf } = await import('./plot');
const { DEFAULT_SETTINGS } = await import('../panels/layout');

const line = (values: (number | null)[], extra = {}) => ({ id: 'a', key: 'loss', color: '#000000', label: 'a', dash: [], values, raw: null, low: null, high: null, ...extra });

test('a band is filled only where both its bounds are known', () => {
  expect(filledStretches([1, 2, null, 4, 5, null], [1, 2, 3, null, 6, 7])).toEqual([[0, 1], [4, 4]]);
});

test('the y axis shows the whole band, so that no spike is lost', () => {
  const drawing = { x: [0, 1], lines: [line([1, 1], { low: [0, 1], high: [9, 1] })] };

  expect(yRangeOf({ drawing, settings: DEFAULT_SETTINGS, yRange: undefined })[1]).toBeGreaterThanOrEqual(9);
});

test('the y axis keeps to the range it was given, unless that is empty', () => {
  const drawing = { x: [0, 1], lines: [line([1, 3])] };

  expect(yRangeOf({ drawing, settings: DEFAULT_SETTINGS, yRange: [0, 10] })).toEqual([0, 10]);
  expect(yRangeOf({ drawing, settings: DEFAULT_SETTINGS, yRange: [10, null] })[0]).toBeLessThan(1);
});

test('a place on the x axis is told in its own unit', () => {
  expect(formatX(90, { x: 'relative' })).toBe('1m 30s');
  expect(formatX(1200, { x: 'step' })).toBe('Step 1,200');
  expect(formatX(3, { x: 'epoch' })).toBe('epoch 3');
});

test('a reading in bytes is told in bytes', () => {
  expect(teller('memory.used_bytes')(3 * 1024 ** 3)).toBe('3 GiB');
  expect(teller('disk.read_bytes_per_second')(2048)).toBe('2 KiB/s');
  expect(teller('loss')(0.25)).toBe('0.25');
});
