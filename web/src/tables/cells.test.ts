import { expect, test } from 'vitest';
import { cellText, columnTerm, condition, edgeText, narrowed, timeText } from './cells';

test('cells are written for people', () => {
  expect(cellText(0.123456789, 'number')).toBe('0.12346');
  expect(cellText(1234567, 'number')).toBe('1,234,567');
  expect(cellText(-149_910.256, 'number')).toBe('−149,910.26');
  expect(cellText(3.2e12 + 0.5, 'number')).toBe('3.2e12');
  expect(cellText(0.0000123, 'number')).toBe('1.23e-5');
  expect(cellText(12345, 'number')).toBe('12,345');
  expect(cellText('NaN', 'number')).toBe('NaN');
  expect(cellText('-Infinity', 'number')).toBe('−∞');
  expect(cellText('9007199254740993', 'number')).toBe('9007199254740993');
  expect(cellText(true, 'bool')).toBe('true');
  expect(cellText(null, 'text')).toBe('');
  expect(timeText('2026-01-02T03:04:05.120000')).toBe('2026-01-02 03:04:05.12');
  expect(timeText('2026-01-02T00:00:00')).toBe('2026-01-02');
  expect(edgeText(0, 'time')).toBe('1970-01-01');
});

test('a cell is a condition that is true of it', () => {
  expect(condition('loss', 'number', 0.5)).toBe('loss = 0.5');
  expect(condition('loss', 'number', 'NaN')).toBe('loss is nan');
  expect(condition('loss', 'number', '-Infinity')).toBe('loss = -inf');
  expect(condition('val loss', 'number', 1)).toBe('`val loss` = 1');
  expect(condition('label', 'text', 'a "b"')).toBe('label = "a \\"b\\""');
  expect(condition('label', 'text', null)).toBe('label is null');
  expect(condition('p', 'image', { kind: 'image', digest: '', path: '', size: 0, metadata: {} })).toBeNull();
});

test('names that a filter would misread stand in backticks', () => {
  expect(['loss', 'größe', 'not', 'Like', 'a-b', '9', 'x`y'].map(columnTerm)).toEqual(['loss', 'größe', '`not`', '`Like`', '`a-b`', '`9`', '`x\\`y`']);
});

test('a filter is narrowed without changing what it means', () => {
  expect(narrowed('', 'a = 1')).toBe('a = 1');
  expect(narrowed('b > 2', 'a = 1')).toBe('b > 2 and a = 1');
  expect(narrowed('b > 2 or c', 'a = 1')).toBe('(b > 2 or c) and a = 1');
});
