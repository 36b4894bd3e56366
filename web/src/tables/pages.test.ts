import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ApiError } from '../api/client';
import { PAGE, Pages, type Answer } from './pages.svelte';

interface Asked { offset: number; limit: number; signal: AbortSignal; answer: (rows: number[], total: number) => Promise<void>; fail: (error: Error) => Promise<void> }
let asked: Asked[];

function fetch(offset: number, limit: number, signal: AbortSignal): Promise<Answer<number>> {
  return new Promise((resolve, reject) => {
    asked.push({
      offset, limit, signal,
      answer: async (rows, total) => { resolve({ rows, total }); await vi.advanceTimersByTimeAsync(0); },
      fail: async (error) => { reject(error); await vi.advanceTimersByTimeAsync(0); },
    });
  });
}

const page = (from: number): number[] => Array.from({ length: PAGE }, (_, place) => from + place);

beforeEach(() => {
  vi.useFakeTimers();
  asked = [];
});
afterEach(() => vi.useRealTimers());

test('only the pages that are looked at are asked for', async () => {
  const pages = new Pages<number>();
  pages.ask(fetch);
  await asked[0]!.answer(page(0), 1_000_000);

  pages.need(500_020, 500_110);
  await vi.advanceTimersByTimeAsync(100);

  expect(asked.map(({ offset, limit }) => [offset, limit])).toEqual([[0, PAGE], [500_000, PAGE], [500_100, PAGE]]);
  await asked[1]!.answer(page(500_000), 1_000_000);
  expect([pages.total, pages.rows.get(7), pages.rows.get(500_050)]).toEqual([1_000_000, 7, 500_050]);
});

test('a scrollbar that is dragged asks for nothing until it rests', async () => {
  const pages = new Pages<number>();
  pages.ask(fetch);
  await asked[0]!.answer(page(0), 1_000_000);

  for (let row = 0; row < 900_000; row += 10_000) {
    pages.need(row, row + 30);
    await vi.advanceTimersByTimeAsync(5);
  }
  await vi.advanceTimersByTimeAsync(100);

  expect(asked.map(({ offset }) => offset)).toEqual([0, 890_000]);
});

test('pages that were passed while they were on their way are aborted', async () => {
  const pages = new Pages<number>();
  pages.ask(fetch);
  await asked[0]!.answer(page(0), 10_000);
  pages.need(3000, 3030);
  await vi.advanceTimersByTimeAsync(100);

  pages.need(9000, 9030);
  await vi.advanceTimersByTimeAsync(100);

  expect(asked.map(({ offset, signal }) => [offset, signal.aborted])).toEqual([[0, false], [3000, true], [9000, false]]);
});

test('another question aborts the one before, whose rows stay until the answer', async () => {
  const pages = new Pages<number>();
  pages.ask(fetch);
  await asked[0]!.answer(page(0), 500);
  pages.ask(fetch);
  const late = asked[1]!;
  pages.ask(fetch);

  expect([late.signal.aborted, pages.stale, pages.rows.get(3)]).toEqual([true, true, 3]);
  await late.answer([1, 1, 1], 3);
  expect(pages.rows.get(0)).toBe(0);
  await asked[2]!.answer([9], 1);

  expect([pages.stale, pages.total, [...pages.rows]]).toEqual([false, 1, [[0, 9]]]);
});

test('what the server refuses is told, and the rows of before stay', async () => {
  const pages = new Pages<number>();
  pages.ask(fetch);
  await asked[0]!.answer(page(0), 500);

  pages.ask(fetch);
  await asked[1]!.fail(new ApiError(400, 'wrong', "there is no column 'x'"));

  expect([pages.refused, pages.problem, pages.rows.get(5)]).toEqual([true, "there is no column 'x'", 5]);
  pages.ask(fetch);
  await asked[2]!.answer(page(0), 500);
  expect([pages.refused, pages.problem]).toEqual([false, '']);
});

test('when fewer rows match than were passed, the first ones are fetched', async () => {
  const pages = new Pages<number>();
  pages.ask(fetch);
  await asked[0]!.answer(page(0), 10_000);
  pages.need(9000, 9030);
  await vi.advanceTimersByTimeAsync(100);
  await asked[1]!.answer(page(9000), 10_000);

  pages.ask(fetch);
  await asked[2]!.answer([], 40);

  expect(asked.at(-1)!.offset).toBe(0);
  await asked.at(-1)!.answer(page(0).slice(0, 40), 40);
  expect([pages.total, pages.rows.size]).toEqual([40, 40]);
});

test('what was passed long ago is forgotten, and asked for again where it is needed', async () => {
  const pages = new Pages<number>();
  pages.ask(fetch);
  await asked[0]!.answer(page(0), 1_000_000);
  for (let from = PAGE; from < 60 * PAGE; from += PAGE) {
    pages.need(from, from + 30);
    await vi.advanceTimersByTimeAsync(100);
    await asked.at(-1)!.answer(page(from), 1_000_000);
  }

  expect(pages.rows.size).toBeLessThanOrEqual(40 * PAGE);
  expect(pages.rows.has(3)).toBe(false);
  const before = asked.length;
  pages.need(0, 30);
  await vi.advanceTimersByTimeAsync(100);
  expect(asked.length).toBe(before + 1);
});
