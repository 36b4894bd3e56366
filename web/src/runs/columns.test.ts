import { describe, expect, test } from 'vitest';
import type { RunRow } from '../api/contract';
import { both, entriesFirst, groupFilter, moved, nextOrder, runsCsv, sortOf, valueOf } from './columns';

const ROW: RunRow = {
  id: 'a1', project: 'p', name: 'calm, river', state: 'finished', group: '', job_type: '', notes: '', tags: ['x', 'y'], created: 100, updated: 150,
  ended: 160, exit_code: 0, error: '', host: 'h', values: { 'config.lr': 0.1, 'summary.loss': Number.NaN },
};

describe('a click on a column', () => {
  test('sorts up, then down, then as usual', () => {
    const up = nextOrder(['-created'], 'config.lr', false);
    const down = nextOrder(up, 'config.lr', false);

    expect([up, down, nextOrder(down, 'config.lr', false)]).toEqual([['+config.lr'], ['-config.lr'], ['-created']]);
  });

  test('with shift adds a key', () => {
    const two = nextOrder(['+config.lr'], 'name', true);

    expect(two).toEqual(['+config.lr', '+name']);
    expect(nextOrder(two, 'config.lr', true)).toEqual(['-config.lr', '+name']);
    expect(sortOf(two, 'name')).toEqual({ direction: 1, place: 1 });
  });
});

test('a column is moved to where another is', () => {
  expect(moved(['a', 'b', 'c'], 'a', 'c')).toEqual(['b', 'c', 'a']);
  expect(moved(['a', 'b', 'c'], 'c', 'a')).toEqual(['c', 'a', 'b']);
});

test('a running run lasts until now', () => {
  expect(valueOf(ROW, 'duration', 999)).toBe(60);
  expect(valueOf({ ...ROW, state: 'running', ended: null }, 'duration', 999)).toBe(899);
});

test('runs are written as CSV', () => {
  expect(runsCsv([ROW], ['tags', 'config.lr', 'summary.loss'], 0)).toBe('id,name,tags,config.lr,summary.loss\na1,"calm, river","x, y",0.1,NaN\n');
});

test('a group has a filter of its own', () => {
  expect(groupFilter({ 'config.optimizer': 'adam', 'config.lr': null, 'config.x': Number.NaN })).toBe('config.optimizer = "adam" and config.lr is null and config.x is nan');
  expect(both('a = 1 or b = 2', '', 'c = 3')).toBe('(a = 1 or b = 2) and (c = 3)');
});

test('config and summary come before the rest, each in their order', () => {
  expect(entriesFirst(['state', 'config.lr', 'tags', 'summary.loss'])).toEqual(['config.lr', 'summary.loss', 'state', 'tags']);
});
