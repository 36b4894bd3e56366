import { describe, expect, test } from 'vitest';
import { drawable, type ChartContent } from './chart';

const LINES: ChartContent = { type: 'line', title: 'Loss', fields: { x: 'train.step', y: 'loss', stroke: 'run' }, data: { 'train.step': [1, 2], loss: [0.5, null], run: ['a', 'b'] } };

describe('a chart', () => {
  test('names its columns by their roles, whatever they are called', () => {
    const { spec } = drawable(LINES, false) as unknown as { spec: { data: { values: unknown[] }; encoding: Record<string, { title: string }> } };

    expect(spec.data.values).toEqual([{ x: 1, y: 0.5, stroke: 'a' }, { x: 2, y: null, stroke: 'b' }]);
    expect(spec.encoding.x!.title).toBe('train.step');
  });

  test('can be moved about only where it is alone', () => {
    const params = (free: boolean): string[] => (drawable(LINES, free).spec.params as { name: string }[]).map(({ name }) => name);

    expect(params(false)).toEqual(['line']);
    expect(params(true)).toEqual(['line', 'view']);
  });

  test('of an unknown type is refused in words', () => {
    expect(() => drawable({ ...LINES, type: 'pie' }, false)).toThrow('not known here: pie');
  });
});

describe("a person's own specification", () => {
  const own = (spec: Record<string, unknown>): ChartContent => ({ type: 'vega', fields: { x: 'train.loss' }, data: { 'train.loss': [1] }, spec, texts: { title: 'Mine' } });

  test('has its fields and texts filled in', () => {
    const { spec } = drawable(own({ title: '${string:title}', mark: 'point', encoding: { x: { field: '${field:x}' }, y: { title: '${string:y:none}' } } }), false);

    expect(spec).toMatchObject({ title: 'Mine', encoding: { x: { field: 'train\\.loss' }, y: { title: 'none' } }, data: { values: [{ 'train.loss': 1 }] } });
  });

  test('is given the data in place of a name or an address', () => {
    expect(drawable(own({ data: { name: 'wandb' }, mark: 'point' }), false).spec.data).toEqual({ name: 'wandb', values: [{ 'train.loss': 1 }] });
    expect(drawable(own({ data: { url: 'https://example.com/a.csv' }, mark: 'point' }), false).spec.data).toEqual({ values: [{ 'train.loss': 1 }] });
  });

  test('keeps its size where it has one, or several charts', () => {
    expect(drawable(own({ mark: 'point' }), false).resizable).toBe(true);
    expect(drawable(own({ mark: 'point', width: 200 }), false).resizable).toBe(false);
    expect(drawable(own({ hconcat: [] }), false).resizable).toBe(false);
  });

  test('may be one of Vega itself', () => {
    const found = drawable(own({ $schema: 'https://vega.github.io/schema/vega/v5.json', data: [{ name: 'wandb' }, { name: 'derived', source: 'wandb' }] }), false);

    expect(found.language).toBe('vega');
    expect(found.spec.data).toEqual([{ name: 'wandb', values: [{ 'train.loss': 1 }] }, { name: 'derived', source: 'wandb' }]);
  });
});
