import { describe, expect, test } from 'vitest';
import type { Columns } from '../api/contract';
import { withValues } from '../text/expressions';
import { complete, entryName } from './completion';

const COLUMNS: Columns = {
  config: [
    { key: 'lr', count: 12, kinds: ['float'], min: 0.001, max: 0.1 },
    { key: 'optimizer', count: 12, kinds: ['str'], min: null, max: null },
  ],
  summary: [{ key: 'val/loss', count: 10, kinds: ['float'], min: 0, max: 3 }],
  metrics: [],
  tags: [{ value: 'baseline', count: 3 }],
  groups: [{ value: 'sweep-1', count: 2 }],
};

function texts(source: string): string[] {
  return complete(source, source.length, COLUMNS).list.map(({ text }) => text);
}

describe('a filter is completed', () => {
  test('with the targets that begin with what was typed', () => {
    expect(texts('config.')).toEqual(['config.lr', 'config.optimizer']);
    expect(texts('val')).toEqual(['summary.val/loss']);
  });

  test('with orders that fit the kind of the target', () => {
    expect(texts('config.lr ')).toEqual(['=', '!=', '<', '<=', '>', '>=']);
    expect(texts('config.optimizer ')).toContain('matches');
    expect(texts('tags ')).toEqual(['has']);
  });

  test('with the values there are', () => {
    expect(texts('group = ')).toEqual(['"sweep-1"']);
    expect(texts('config.lr < ')).toEqual(['0.001', '0.1']);
    expect(texts('state = "fa')).toEqual(['"failed"']);
    expect(texts('tags has ')).toEqual(['"baseline"']);
  });

  test('with the values of an entry, for which it says what to ask the server', () => {
    const source = 'config.optimizer = "a';
    const found = complete(source, source.length, COLUMNS);

    expect(found.wanted).toEqual({ key: 'config.optimizer', prefix: 'a' });
    expect(withValues(found, ['adam', 'adamw']).list.map(({ text }) => text)).toEqual(['"adam"', '"adamw"']);
  });

  test('with the next condition after a whole one', () => {
    expect(texts('config.lr < 0.1 ')).toEqual(['and', 'or']);
    expect(texts('config.lr < 0.1 and summ')).toEqual(['summary.val/loss']);
    expect(texts('not (sta')).toEqual(['state']);
  });

  test('and replaces just the part that was typed', () => {
    const source = 'config.l < 3';

    expect(complete(source, 8, COLUMNS)).toMatchObject({ from: 0, to: 8, list: [{ text: 'config.lr' }, { text: 'config.optimizer' }].slice(0, 1) });
  });
});

test('a key with odd characters is quoted', () => {
  expect(entryName('config', 'model.depth')).toBe('config.model.depth');
  expect(entryName('config', 'my key')).toBe('config."my key"');
});
