import { describe, expect, test } from 'vitest';
import { addPanel, arrange, changePanel, emptyLayout, movePanel, removePanel, toggleSection, type Panel } from './layout';

const KEYS = ['train/loss', 'val/loss', 'lr', 'train/accuracy'];
const PANEL: Panel = { id: 'p1', type: 'scatter', section: 'Panels', span: 2, height: 300, keys: ['config.lr', 'summary.loss'] };

function shape(sections: ReturnType<typeof arrange>): Record<string, string[]> {
  return Object.fromEntries(sections.map((section) => [section.name, section.panels.map((panel) => panel.id.replace('auto:', ''))]));
}

describe('panels', () => {
  test('are made for every metric, in sections by what stands before the slash', () => {
    expect(shape(arrange(KEYS, emptyLayout()))).toEqual({ Charts: ['lr'], train: ['train/loss', 'train/accuracy'], val: ['val/loss'] });
  });

  test('of readings are in sections by what they are of', () => {
    expect(shape(arrange(['cpu.percent', 'gpu.0.memory', 'cpu.0.percent'], emptyLayout(), '', 'system'))).toEqual({ cpu: ['cpu.percent', 'cpu.0.percent'], gpu: ['gpu.0.memory'] });
  });

  test('are found by a regular expression, and by plain text while it is not one', () => {
    expect(shape(arrange(KEYS, emptyLayout(), '^(train|val)/loss$'))).toEqual({ train: ['train/loss'], val: ['val/loss'] });
    expect(shape(arrange(['a(b', 'c'], emptyLayout(), 'a(b'))).toEqual({ Charts: ['a(b'] });
  });

  test('that were added come first, and can be changed and removed', () => {
    const added = addPanel(emptyLayout(), PANEL);
    const changed = changePanel(added, 'p1', { span: 3 });

    expect(arrange(KEYS, changed)[0]).toMatchObject({ name: 'Panels', panels: [{ id: 'p1', span: 3 }] });
    expect(shape(arrange(KEYS, removePanel(changed, 'p1')))).not.toHaveProperty('Panels');
  });

  test('made by themselves stay removed and changed', () => {
    const layout = changePanel(removePanel(emptyLayout(), 'auto:lr'), 'auto:val/loss', { height: 400 });
    const sections = arrange(KEYS, layout);

    expect(shape(sections)).not.toHaveProperty('Charts');
    expect(sections.find((section) => section.name === 'val')!.panels[0]!.height).toBe(400);
  });

  test('keep the order they were dragged into, with new ones after them', () => {
    const [, train] = arrange(KEYS, emptyLayout());
    const layout = movePanel(emptyLayout(), train!, 'auto:train/accuracy', 'auto:train/loss');

    expect(shape(arrange([...KEYS, 'train/extra'], layout)).train).toEqual(['train/accuracy', 'train/loss', 'train/extra']);
  });

  test('can be dragged into another section', () => {
    const [, train] = arrange(KEYS, emptyLayout());
    const layout = movePanel(emptyLayout(), train!, 'auto:lr', null);

    expect(shape(arrange(KEYS, layout)).train).toEqual(['train/loss', 'train/accuracy', 'lr']);
  });
});

describe('a section', () => {
  test('opens and closes', () => {
    const [section] = arrange(KEYS, emptyLayout());
    const closed = toggleSection(emptyLayout(), section!);
    const [again] = arrange(KEYS, closed);

    expect(again!.open).toBe(false);
    expect(arrange(KEYS, toggleSection(closed, again!))[0]!.open).toBe(true);
  });

  test('far down a page of many panels starts closed', () => {
    const keys = Array.from({ length: 100 }, (_, index) => `a/${index}`).concat('z/last');

    expect(arrange(keys, emptyLayout()).map((section) => section.open)).toEqual([true, false]);
  });
});

describe('panels of media', () => {
  const MEDIA = [{ key: 'examples', kind: 'image' }, { key: 'train/weights', kind: 'histogram' }, { key: 'train/rows', kind: 'table' }, { key: 'predictions', kind: 'table' }] as const;

  test('are made for every key, beside the metrics of its section or among themselves', () => {
    expect(shape(arrange(['train/loss', 'lr'], emptyLayout(), '', 'metric', MEDIA))).toEqual({ Charts: ['lr'], Media: ['image:examples'], Tables: ['table:predictions'], train: ['train/loss', 'histogram:train/weights', 'table:train/rows'] });
  });

  test('keep what was chosen in them', () => {
    const [panel] = arrange([], emptyLayout(), '', 'metric', MEDIA)[0]!.panels;
    const layout = changePanel(emptyLayout(), panel!.id, { media: { ...panel!.media, step: 40 } });

    expect(arrange([], layout, '', 'metric', MEDIA)[0]!.panels[0]!.media).toEqual({ kind: 'image', step: 40 });
  });

  test('of tables are as wide as the page, and told from charts of the same name', () => {
    const panels = arrange(['loss'], emptyLayout(), '', 'metric', [{ key: 'loss', kind: 'table' }]).flatMap((section) => section.panels);

    expect(panels.map(({ id, type, span }) => [id, type, span])).toEqual([['auto:loss', 'line', 1], ['table:loss', 'table', 6]]);
    const kept = changePanel(emptyLayout(), 'table:loss', { table: { filter: 'id > 1' } });
    expect(arrange([], kept, '', 'metric', [{ key: 'loss', kind: 'table' }])[0]!.panels[0]!.table).toEqual({ filter: 'id > 1' });
  });
});
