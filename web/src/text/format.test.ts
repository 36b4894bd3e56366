import { describe, expect, test } from 'vitest';
import { formatAgo, formatBytes, formatDuration, formatNumber, formatShortCount, formatValue, plural } from './format';

describe('a number', () => {
  test.each([
    [0, '0'],
    [1234, '1,234'],
    [0.1 + 0.2, '0.3'],
    [-1.5, '−1.5'],
    [100.04, '100'],
    [0.00001234, '1.234e-5'],
    [3e8, '3e8'],
    [Number.NaN, 'NaN'],
    [Number.NEGATIVE_INFINITY, '−∞'],
  ])('%d reads as %s', (value, text) => {
    expect(formatNumber(value)).toBe(text);
  });
});

describe('a length of time', () => {
  test.each([
    [0.05, '50ms'],
    [9.96, '10s'],
    [61, '1m 1s'],
    [7200, '2h'],
    [90_061, '1d 1h'],
    [-1, '–'],
  ])('%d seconds reads as %s', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });
});

test('a time is told relative to now', () => {
  expect(formatAgo(100, 105)).toBe('just now');
  expect(formatAgo(0, 7200)).toBe('2h ago');
  expect(formatAgo(7200, 0)).toBe('in 2h');
});

test('sizes use binary units and counts decimal ones', () => {
  expect(formatBytes(3.4 * 1024 * 1024)).toBe('3.4 MiB');
  expect(formatBytes(12)).toBe('12 B');
  expect(formatShortCount(12_345)).toBe('12.3k');
});

test('a value of any kind fits on one line', () => {
  expect(formatValue([1, 2])).toBe('[1,2]');
  expect(formatValue(null)).toBe('');
  expect(formatValue(false)).toBe('false');
});

test('nouns agree with their count', () => {
  expect(plural(1, 'run')).toBe('1 run');
  expect(plural(1000, 'run')).toBe('1,000 runs');
});
