import { expect, test } from 'vitest';
import { momentOf, type Timeline } from './timeline';

const TIMELINE: Timeline = {
  phases: [{ name: 'setup', from: 0, to: 10 }, { name: 'training', from: 10, to: 90 }, { name: 'wrap-up', from: 90, to: 100 }],
  alerts: [{ at: 50, title: 'hot' }],
};

test('a moment belongs to the phase it lies in', () => {
  expect(momentOf(TIMELINE, 5, 1)).toBe('setup');
  expect(momentOf(TIMELINE, 10, 1)).toBe('training');
});

test('what comes after the last phase is told as the last', () => {
  expect(momentOf(TIMELINE, 101, 1)).toBe('wrap-up');
});

test('an alert is told near where it was raised', () => {
  expect(momentOf(TIMELINE, 50.5, 1)).toBe('training · ⚠ hot');
  expect(momentOf(TIMELINE, 60, 1)).toBe('training');
});

test('nothing is told where nothing is known', () => {
  expect(momentOf(null, 5, 1)).toBe('');
});
