import { expect, test } from 'vitest';
import { curve, placed } from './graphLayout';

const MODEL = {
  nodes: [{ id: 'x', operation: 'placeholder' }, { id: 'fc', label: 'Linear', module: 'head.fc', parameters: 7850 }, { id: 'out' }],
  edges: [{ source: 'x', target: 'fc' }, { source: 'fc', target: 'out' }, { source: 'x', target: 'out' }],
};

test('a graph goes from its sources down, and no node covers another', () => {
  const { nodes, edges, height } = placed(MODEL);
  const [x, fc, out] = nodes;

  expect(x!.y).toBeLessThan(fc!.y);
  expect(fc!.y + fc!.height).toBeLessThan(out!.y);
  expect(out!.y + out!.height).toBeLessThanOrEqual(height);
  expect(edges.map(({ source, target }) => `${source} ${target}`).sort()).toEqual(['fc out', 'x fc', 'x out']);
});

test('a node tells its class, its module and its parameters', () => {
  expect(placed(MODEL).nodes[1]).toMatchObject({ title: 'Linear', note: 'head.fc · 7.85k parameters' });
  expect(placed(MODEL).nodes[0]).toMatchObject({ title: 'x', note: '' });
});

test('an edge is a line that ends where it should', () => {
  expect(curve([{ x: 0, y: 0 }, { x: 5, y: 5 }, { x: 5, y: 9 }])).toBe('M0 0Q5 5 5 7L5 9');
});
