import { expect, test } from 'vitest';
import { spanOf, timelineOf } from './phases';

const series = (mean: number[]) => ({ run: 'a', key: 'loss', name: 'a', group: null, runs: 1, points: 1, mean: Float64Array.from(mean), low: null, high: null });
const { NaN: none } = Number;

test('metrics span from the first of any to the last of any', () => {
  const x = Float64Array.from([0, 10, 20, 30]);
  expect(spanOf({ x, series: [series([none, 1, none, none]), series([none, none, 2, none])] })).toEqual([10, 20]);
  expect(spanOf({ x, series: [series([none, none, none, none])] })).toBeNull();
});

test('a run that has ended has three phases', () => {
  const timeline = timelineOf({ created: 1000, ended: 1100 }, [5, 90], [], 'relative');
  expect(timeline?.phases).toEqual([{ name: 'setup', from: 0, to: 5 }, { name: 'training', from: 5, to: 90 }, { name: 'wrap-up', from: 90, to: 100 }]);
});

test('a run that goes on is training', () => {
  expect(timelineOf({ created: 1000, ended: null }, [5, 90], [], 'relative')?.phases.map(({ name }) => name)).toEqual(['setup', 'training']);
});

test('on an axis of wall time everything stands where the clock stood', () => {
  const alert = { time: 1050, level: 'info', title: 'hot', text: '' };
  const timeline = timelineOf({ created: 1000, ended: 1100 }, [5, 90], [alert], 'time');
  expect(timeline?.phases[0]).toEqual({ name: 'setup', from: 1000, to: 1005 });
  expect(timeline?.alerts).toEqual([{ at: 1050, title: 'hot' }]);
});

test('an axis of steps has no phases', () => {
  expect(timelineOf({ created: 1000, ended: 1100 }, [5, 90], [], 'step')).toBeNull();
});
