import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Distribution } from '../api/tables';
import { Distributions } from './distributions.svelte';

let asked: { columns: string[]; signal: AbortSignal; answer: (rows: number) => Promise<void> }[];

function fetch(columns: string[], signal: AbortSignal): Promise<Distribution[]> {
  return new Promise((resolve) => {
    asked.push({
      columns, signal,
      answer: async (rows) => {
        resolve(columns.map((name) => ({ name, type: 'number', rows, missing: 0, nan: 0, distinct: null, edges: [], counts: [], values: [] })));
        await vi.advanceTimersByTimeAsync(0);
      },
    });
  });
}

beforeEach(() => {
  vi.useFakeTimers();
  asked = [];
});
afterEach(() => vi.useRealTimers());

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];

test('columns are asked for a few at a time, each once', async () => {
  const distributions = new Distributions();
  distributions.ask('all rows', NAMES, fetch);
  await vi.advanceTimersByTimeAsync(200);

  expect(asked.map(({ columns }) => columns)).toEqual([['a', 'b', 'c', 'd']]);
  await asked[0]!.answer(10);
  await asked[1]!.answer(10);
  distributions.ask('all rows', ['f', 'g'], fetch);
  await vi.advanceTimersByTimeAsync(200);
  await asked[2]!.answer(10);

  expect(asked.map(({ columns }) => columns)).toEqual([['a', 'b', 'c', 'd'], ['e', 'f'], ['g']]);
  expect([...distributions.found.keys()].sort()).toEqual([...NAMES, 'g']);
});

test('those of other rows replace what was there, and what is on its way is aborted', async () => {
  const distributions = new Distributions();
  distributions.ask('all rows', ['a'], fetch);
  await vi.advanceTimersByTimeAsync(200);
  await asked[0]!.answer(10);
  distributions.ask('some rows', ['a'], fetch);
  await vi.advanceTimersByTimeAsync(200);
  distributions.ask('few rows', ['a'], fetch);
  await vi.advanceTimersByTimeAsync(200);

  expect(asked[1]!.signal.aborted).toBe(true);
  expect(distributions.found.get('a')!.rows).toBe(10);
  await asked[2]!.answer(3);
  expect(distributions.found.get('a')!.rows).toBe(3);
});
