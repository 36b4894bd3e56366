import { expect, test } from 'vitest';
import type { TableColumn } from '../api/tables';
import { guessedKey, kept, MOST_SHOWN, nextSort, referenceOf, rowHeightOf, sharedColumns, shownColumns, sortOf, usualLook, whole } from './look';

const COLUMNS: TableColumn[] = [{ name: 'id', type: 'number' }, { name: 'label', type: 'text' }, { name: '-x', type: 'number' }];

test('only what is not as usual is kept, and a look comes back whole', () => {
  const look = { ...usualLook(), filter: 'id > 1', pinned: ['id'] };

  expect(kept(look)).toEqual({ filter: 'id > 1', pinned: ['id'] });
  expect(whole(kept(look))).toEqual(look);
  expect(kept(usualLook())).toEqual({});
});

test('what a stranger put into a link does no harm', () => {
  expect(whole({ filter: 7, sort: 'id', nonsense: true, sides: null, on: ['id'] } as object)).toEqual({ ...usualLook(), on: ['id'] });
});

test('a click sorts up, then down, then not at all; with shift by several columns', () => {
  expect([nextSort([], 'id', false), nextSort(['id'], 'id', false), nextSort(['-id'], 'id', false)]).toEqual([['id'], ['-id'], []]);
  expect(nextSort(['id'], 'label', false)).toEqual(['label']);
  expect(nextSort(['id'], 'label', true)).toEqual(['id', 'label']);
  expect(nextSort(['id', 'label'], 'id', true)).toEqual(['-id', 'label']);
  expect(nextSort(['-id', 'label'], 'id', true)).toEqual(['label']);
  expect(sortOf(['id', '--x'], '-x')).toEqual({ direction: -1, place: 1 });
});

test('columns stand as chosen, pinned ones first, and those that are gone are left out', () => {
  const shown = shownColumns(COLUMNS, { columns: ['-x', 'gone', 'id'], pinned: ['id'], widths: { id: 33 } });
  expect(shown.map(({ name, pinned, width }) => [name, pinned, name === 'id' ? width : 0])).toEqual([['id', true, 33], ['-x', false, 0]]);
  expect(shownColumns(COLUMNS, { columns: ['gone'], pinned: [], widths: {} }).length).toBe(3);
});

test('of a very wide table the first columns are shown', () => {
  const many = Array.from({ length: 400 }, (_, place) => ({ name: `c${place}`, type: 'number' }));
  expect(shownColumns(many, usualLook()).length).toBe(MOST_SHOWN);
});

test('the key of a comparison is guessed by its name', () => {
  expect(guessedKey(COLUMNS)).toEqual(['id']);
  expect(guessedKey([{ name: 'loss', type: 'number' }, { name: 'image_id', type: 'text' }])).toEqual(['image_id']);
  expect(guessedKey([{ name: 'identity', type: 'number' }, { name: 'valid', type: 'bool' }, { name: 'path', type: 'image' }])).toEqual([]);
  expect(sharedColumns([COLUMNS, [{ name: 'label', type: 'text' }]])).toEqual([COLUMNS[1]]);
});

test('a side names a table of a run or of an artifact', () => {
  expect(referenceOf({ run: 'a', step: null }, 'k')).toEqual({ run: 'a', key: 'k' });
  expect(referenceOf({ run: 'a', step: 3 }, 'k')).toEqual({ run: 'a', key: 'k', step: 3 });
  expect(referenceOf({ version: '9', path: 't.parquet', label: 'x' }, 'k')).toEqual({ version: '9', path: 't.parquet' });
});

test('pictures have high rows until somebody wants low ones', () => {
  expect(rowHeightOf(usualLook(), COLUMNS)).toBe(32);
  const pictures = [...COLUMNS, { name: 'p', type: 'image' }];
  expect(rowHeightOf(usualLook(), pictures)).toBe(84);
  expect(rowHeightOf({ ...usualLook(), rowHeight: 'low' }, pictures)).toBe(32);
});
