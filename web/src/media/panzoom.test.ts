import { expect, test } from 'vitest';
import { fitted, moved, zoomed } from './panzoom';

const IMAGE = { width: 200, height: 100 };
const ROOM = { width: 400, height: 400 };

test('content is fitted into the middle of its room', () => {
  expect(fitted(IMAGE, ROOM)).toEqual({ scale: 2, x: 0, y: 100 });
  expect(fitted(IMAGE, ROOM, 1)).toEqual({ scale: 1, x: 100, y: 150 });
});

test('zooming keeps what is under the pointer where it is', () => {
  const before = fitted(IMAGE, ROOM);
  const after = zoomed(before, 3, { x: 50, y: 120 }, 1);
  const under = (view: typeof before) => ({ x: (50 - view.x) / view.scale, y: (120 - view.y) / view.scale });

  expect(after.scale).toBe(6);
  expect(under(after).x).toBeCloseTo(under(before).x);
  expect(under(after).y).toBeCloseTo(under(before).y);
});

test('zooming ends at what fits, and content is never moved out of sight', () => {
  const view = fitted(IMAGE, ROOM);

  expect(zoomed(view, 0.1, { x: 0, y: 0 }, 2).scale).toBe(2);
  expect(moved(view, 5000, -5000, IMAGE, ROOM)).toEqual({ scale: 2, x: 360, y: -160 });
});
