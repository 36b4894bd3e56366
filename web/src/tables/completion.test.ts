import { expect, test } from 'vitest';
import type { TableColumn } from '../api/tables';
import { withValues } from '../text/expressions';
import { complete } from './completion';

const COLUMNS: TableColumn[] = [
  { name: 'loss', type: 'number' }, { name: 'label', type: 'text' }, { name: 'val loss', type: 'number' }, { name: 'right', type: 'bool' },
  { name: 'picture', type: 'image' }, { name: 'and', type: 'number' }, { name: 'when', type: 'time' }, { name: 'raw', type: 'binary' },
];

function texts(source: string, caret = source.length): string[] {
  return complete(source, caret, COLUMNS).list.map(({ text }) => text);
}

test('columns are completed by their beginning, odd ones in backticks', () => {
  expect(texts('')).toEqual(['loss', 'label', '`val loss`', 'right', 'picture', '`and`', 'when']);
  expect(texts('l')).toEqual(['loss', 'label', '`val loss`']);
  expect(texts('loss < 1 and `va')).toEqual(['`val loss`']);
  expect(texts('not (ri')).toEqual(['right']);
});

test('comparisons suit the column', () => {
  expect(texts('loss ')).toEqual(['=', '!=', '<', '<=', '>', '>=', 'in', 'is null']);
  expect(texts('label ')).toContain('like');
  expect(texts('`val loss` <')).toEqual(['<=']);
  expect(texts('right ')).toEqual(['=', '!=', 'is null']);
  expect(texts('picture ')).toEqual(['is null', 'is not null']);
});

test('after a condition comes another', () => {
  expect(texts('loss < 1 ')).toEqual(['and', 'or']);
  expect(texts('label = "a and b" ')).toEqual(['and', 'or']);
  expect(texts('label in ("a", "b") ')).toEqual(['and', 'or']);
});

test('values are wanted of texts and numbers', () => {
  expect(complete('label = "ca', 11, COLUMNS).wanted).toEqual({ column: COLUMNS[1], prefix: 'ca' });
  expect(complete('`val loss` > ', 13, COLUMNS).wanted?.column.name).toBe('val loss');
  expect(texts('right = ')).toEqual(['true', 'false']);
  expect(complete('picture = ', 10, COLUMNS).wanted).toBeNull();
  const found = withValues(complete('label = "ca', 11, COLUMNS), ['cat', 'ca"r']);
  expect(found.list.map(({ text }) => text)).toEqual(['"cat"', '"ca\\"r"']);
  expect([found.from, found.to]).toEqual([8, 11]);
});

test('what is typed in the middle is completed there', () => {
  const found = complete('lo < 1 and label = "x"', 2, COLUMNS);
  expect([found.from, found.to, found.list[0]!.text]).toEqual([0, 2, 'loss']);
});
