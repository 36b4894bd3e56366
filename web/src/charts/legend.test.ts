import { expect, test } from 'vitest';
import { groupName, legend, legendColumns, shortGroupName } from './legend';

const RUN = { id: 'a1', name: 'calm-1', group: '', job_type: '', state: 'finished' as const, tags: ['a', 'b'], host: 'h', values: { 'config.lr': 0.1 } };

test('a template is filled from the run, its config and the metric', () => {
  expect(legend('{name} {key} lr={config.lr} [{tags}]', RUN, 'loss')).toBe('calm-1 loss lr=0.1 [a, b]');
});

test('what a run does not have shows as a dash', () => {
  expect(legend('{config.nothing} {group}', RUN, 'loss')).toBe('– –');
});

test('a template names the columns it needs', () => {
  expect(legendColumns('{name} {config.lr} { summary.val/loss }')).toEqual(['config.lr', 'summary.val/loss']);
});

test('a group is named by the values its runs share', () => {
  expect(groupName({ 'config.optimizer': 'adam', 'config.lr': null })).toBe('optimizer=adam lr=none');
});

test('a group by one key goes by its value where space is short', () => {
  expect(shortGroupName({ 'config.optimizer': 'adam' })).toBe('adam');
  expect(shortGroupName({ 'config.optimizer': 'adam', 'config.lr': 0.1 })).toBe('optimizer=adam lr=0.1');
});
