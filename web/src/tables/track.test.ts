import { expect, test } from 'vitest';
import { Track } from './track';

test('a table that fits is scrolled as it is', () => {
  const track = new Track(10_000, 400);

  expect(track.laidOut).toBe(10_000);
  expect([0, 17, 9000, 9600].map((scroll) => track.scrolled(scroll))).toEqual([0, 17, 9000, 9600]);
  expect(track.place(1234)).toBe(1234);
});

test('the scrollbar of a large table reaches both ends', () => {
  const [full, view, most] = [32_000_000, 400, 8_000_000];
  const track = new Track(full, view, most);

  expect(track.laidOut).toBe(most);
  expect(track.scrolled(0)).toBe(0);
  expect(track.scrolled(most - view)).toBe(full - view);
  expect(track.scrolled((most - view) / 2)).toBeCloseTo((full - view) / 2, 0);
});

test('a small move of a large table is as small as it looks', () => {
  const track = new Track(32_000_000, 400, 8_000_000);
  const before = track.scrolled(4_000_000);

  expect(track.scrolled(4_000_100)).toBe(before + 100);
  expect(track.scrolled(4_000_050)).toBe(before + 50);
});

test('after small moves the scrollbar settles where a jump brings the same rows', () => {
  const track = new Track(32_000_000, 400, 8_000_000);
  track.scrolled(4_000_000);
  for (let scroll = 4_000_000; scroll <= 4_050_000; scroll += 100) track.scrolled(scroll);
  const seen = track.scrolled(4_050_000);

  const settled = track.settled();
  track.scrolled(100_000);

  expect(settled).not.toBe(4_050_000);
  expect(track.scrolled(settled)).toBeCloseTo(seen, 3);
});

test('every row can be placed and is then seen', () => {
  const [full, view] = [32_000_000, 400];
  const track = new Track(full, view, 8_000_000);
  for (const top of [0, 1, 50_000, 99_999, 100_001, 1_000_000, 16_000_000, full - view - 150_000, full - view - 7, full - view]) {
    const scroll = track.place(top);
    expect(scroll).toBeGreaterThanOrEqual(0);
    expect(scroll).toBeLessThanOrEqual(8_000_000 - view);
    expect(track.scrolled(scroll)).toBeCloseTo(top, 3);
  }
});

test('the first and the last rows are reached without a jump', () => {
  const track = new Track(32_000_000, 400, 8_000_000);
  expect(track.scrolled(track.place(5000))).toBe(5000);
  for (let scroll = 5000, before = 5000; scroll > 0; scroll -= 100) {
    const top = track.scrolled(scroll - 100);
    expect(before - top).toBe(100);
    before = top;
  }
});

test('a table that has shrunk is seen at its end', () => {
  const track = new Track(100_000, 400);
  track.scrolled(90_000);

  track.resize(1000, 400);

  expect(track.settled()).toBe(600);
});
