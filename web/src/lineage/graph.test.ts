import { describe, expect, it } from 'vitest';
import type { Lineage, LineageEdge, LineageRun, Version } from '../api/artifacts';
import { collapse, distances, graphOf, labelOf, part, related } from './graph';
import { curve, NODE, place } from './layout';

const run = (id: string, more: Partial<LineageRun> = {}): LineageRun => ({ id, project: 'p', name: id, state: 'finished', job_type: '', created: 0, ...more });
const artifact = (id: string, name: string, more: Partial<Version> = {}): Version => ({
  id, project: 'p', name, type: 'model', number: 0, digest: '', size: 0, count: 1, created: 0, description: '', metadata: {}, aliases: [], tags: [],
  expires: null, run: '', run_name: '', source: '', protected: [], ...more,
});
const logged = (from: string, to: string): LineageEdge => ({ source: `run:${from}`, target: `artifact:${to}`, kind: 'logged' });
const used = (from: string, to: string): LineageEdge => ({ source: `artifact:${from}`, target: `run:${to}`, kind: 'used' });

/** A dataset that each run of a sweep used to make a model of its own name; the first model was evaluated. */
function sweep(runs: number): Lineage {
  const numbers = Array.from({ length: runs }, (_, number) => number);
  return {
    start: 'artifact:data',
    runs: [run('maker'), ...numbers.map((number) => run(`r${number}`)), run('judge', { job_type: 'eval' })],
    artifacts: [artifact('data', 'digits', { type: 'dataset' }), ...numbers.map((number) => artifact(`m${number}`, `model-r${number}`, { run: `r${number}` }))],
    edges: [logged('maker', 'data'), ...numbers.flatMap((number) => [used('data', `r${number}`), logged(`r${number}`, `m${number}`)]), used('m0', 'judge')],
    complete: true,
  };
}

describe('collapse', () => {
  it('draws the runs of a sweep as one, and their models as one', () => {
    const graph = graphOf(sweep(200));
    const { nodes, edges } = collapse(graph, new Set());

    expect(nodes.map((node) => node.members.length).sort((a, b) => b - a)).toEqual([199, 199, 1, 1, 1, 1, 1]);
    expect(labelOf(graph, nodes.find((node) => node.members.length === 199)!.members).label).toBe('199 runs');
    expect(edges.find((edge) => edge.count === 199 && edge.kind === 'logged')).toBeDefined();
  });

  it('keeps apart what is not alike: here the run whose model was evaluated', () => {
    const { nodes } = collapse(graphOf(sweep(50)), new Set());
    const alone = nodes.filter((node) => node.members.length === 1).map((node) => node.id);

    expect(alone).toEqual(expect.arrayContaining(['artifact:data', 'run:maker', 'run:r0', 'artifact:m0', 'run:judge']));
  });

  it('draws each of a group that was opened, and what hangs on it', () => {
    const graph = graphOf(sweep(20));
    const group = collapse(graph, new Set()).nodes.find((node) => node.members.length > 1 && node.kind === 'run')!;
    const { nodes } = collapse(graph, new Set([group.id]));

    expect(nodes).toHaveLength(graph.items.size);
  });

  it('leaves a few as they are, and all if it is told to', () => {
    expect(collapse(graphOf(sweep(4)), new Set()).nodes).toHaveLength(11);
    expect(collapse(graphOf(sweep(50)), new Set(), Infinity).nodes).toHaveLength(103);
  });

  it('gathers runs that share two inputs, but not those that used others', () => {
    const numbers = Array.from({ length: 12 }, (_, number) => number);
    const lineage: Lineage = {
      start: 'artifact:a', complete: true,
      runs: numbers.map((number) => run(`r${number}`)),
      artifacts: [artifact('a', 'a'), artifact('b', 'b'), artifact('c', 'c')],
      edges: numbers.flatMap((number) => [used('a', `r${number}`), used(number < 6 ? 'b' : 'c', `r${number}`)]),
    };
    const sizes = collapse(graphOf(lineage), new Set()).nodes.map((node) => node.members.length);

    expect(sizes.filter((size) => size === 6)).toHaveLength(2);
  });

  it('gathers the checkpoints of one run', () => {
    const names = Array.from({ length: 300 }, (_, number) => `c${number}`);
    const lineage: Lineage = {
      start: 'run:r', complete: true, runs: [run('r')],
      artifacts: names.map((id, number) => artifact(id, 'checkpoint', { number })), edges: names.map((id) => logged('r', id)),
    };
    const graph = graphOf(lineage);
    const { nodes, edges } = collapse(graph, new Set());

    expect([nodes.length, edges]).toEqual([2, [expect.objectContaining({ source: 'run:r', count: 300 })]]);
    expect(labelOf(graph, nodes[1]!.members)).toEqual({ label: '300 versions of checkpoint', kind: 'model' });
  });

  it('loses no node and no edge, whatever is gathered', () => {
    const lineage = sweep(37);
    const { nodes, edges } = collapse(graphOf(lineage), new Set());

    expect(nodes.flatMap((node) => node.members).sort()).toEqual([...graphOf(lineage).items.keys()].sort());
    expect(edges.reduce((sum, edge) => sum + edge.count, 0)).toBe(lineage.edges.length);
  });

  it('takes circles and a start alone', () => {
    const circle: Lineage = { start: 'run:r', complete: true, runs: [run('r')], artifacts: [artifact('a', 'a')], edges: [logged('r', 'a'), used('a', 'r')] };
    expect(collapse(graphOf(circle), new Set()).nodes).toHaveLength(2);
    const alone: Lineage = { start: 'run:r', complete: true, runs: [run('r')], artifacts: [], edges: [] };
    expect(collapse(graphOf(alone), new Set()).nodes).toHaveLength(1);
  });
});

describe('relations', () => {
  it('tells what a node came from and what came of it, not what is beside it', () => {
    const graph = graphOf(sweep(3));
    expect(related(graph.edges, 'run:r0')).toEqual(new Set(['run:r0', 'artifact:data', 'run:maker', 'artifact:m0', 'run:judge']));
    expect(part(graph, related(graph.edges, 'run:r0')).edges).toHaveLength(4);
  });

  it('counts steps from the start in both directions', () => {
    const away = distances(graphOf(sweep(3)));
    expect([away.get('artifact:data'), away.get('run:maker'), away.get('artifact:m2'), away.get('run:judge')]).toEqual([0, 1, 2, 3]);
  });
});

describe('layout', () => {
  it('puts what came of something right of it, and no node over another', () => {
    const collapsed = collapse(graphOf(sweep(60)), new Set(), Infinity);
    const { places, paths } = place(collapsed);

    for (const { source, target } of collapsed.edges) expect(places.get(source)!.x).toBeLessThan(places.get(target)!.x);
    const list = [...places.values()];
    const overlaps = list.filter((a, index) => list.slice(index + 1).some((b) => Math.abs(a.x - b.x) < NODE.width && Math.abs(a.y - b.y) < NODE.height));
    expect(overlaps).toEqual([]);
    expect(paths.every((path) => /^M[\d.-]+ [\d.-]+/.test(path))).toBe(true);
  });

  it('draws smooth lines', () => {
    expect(curve([{ x: 0, y: 0 }, { x: 10, y: 0 }])).toBe('M0 0L10 0');
    expect(curve([{ x: 0, y: 0 }, { x: 10, y: 0 }, { x: 10, y: 10 }])).toBe('M0 0Q10 0 10 5L10 10');
    expect(curve([])).toBe('');
  });
});
