// The graph of runs and artifacts: who is like whom, and who comes of whom.

import type { Lineage, LineageEdge, LineageRun, Version } from '../api/artifacts';

export type Item = { kind: 'run'; run: LineageRun } | { kind: 'artifact'; artifact: Version };

export interface LineageGraph {
  /** Runs and artifacts by `run:ID` or `artifact:ID`. */
  items: Map<string, Item>;
  edges: LineageEdge[];
  /** The nodes before and after each, in the order of the edges. */
  before: Map<string, string[]>;
  after: Map<string, string[]>;
  start: string;
}

/** One node that is drawn: a run, an artifact, or several that are alike. */
export interface Shown {
  id: string;
  kind: 'run' | 'artifact';
  members: string[];
}

export interface ShownEdge {
  source: string;
  target: string;
  kind: LineageEdge['kind'];
  /** How many edges it stands for. */
  count: number;
}

export interface Collapsed {
  nodes: Shown[];
  edges: ShownEdge[];
}

/** So many nodes that are alike become one. */
export const ALIKE = 4;

export function graphOf(lineage: Lineage): LineageGraph {
  const items = new Map<string, Item>();
  for (const run of lineage.runs) items.set(`run:${run.id}`, { kind: 'run', run });
  for (const artifact of lineage.artifacts) items.set(`artifact:${artifact.id}`, { kind: 'artifact', artifact });
  return withEdges(items, lineage.edges, lineage.start);
}

function withEdges(items: Map<string, Item>, edges: readonly LineageEdge[], start: string): LineageGraph {
  const kept = edges.filter((edge) => items.has(edge.source) && items.has(edge.target));
  return { items, edges: kept, before: neighbours(kept, 'target', 'source'), after: neighbours(kept, 'source', 'target'), start };
}

function neighbours(edges: readonly { source: string; target: string }[], from: 'source' | 'target', to: 'source' | 'target'): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const edge of edges) {
    const list = found.get(edge[from]);
    if (list === undefined) found.set(edge[from], [edge[to]]);
    else if (!list.includes(edge[to])) list.push(edge[to]);
  }
  return found;
}

/** What a node came from and what came of it, over any number of edges, with itself. */
export function related(edges: readonly { source: string; target: string }[], id: string): Set<string> {
  const found = new Set([id]);
  for (const [from, to] of [['target', 'source'], ['source', 'target']] as const) {
    const next = neighbours(edges, from, to);
    const ahead = [id];
    const seen = new Set(ahead);
    for (let node = ahead.pop(); node !== undefined; node = ahead.pop()) {
      for (const other of next.get(node) ?? []) {
        if (seen.has(other)) continue;
        seen.add(other);
        found.add(other);
        ahead.push(other);
      }
    }
  }
  return found;
}

/** The part of a graph that some nodes make. */
export function part(graph: LineageGraph, ids: ReadonlySet<string>): LineageGraph {
  return withEdges(new Map([...graph.items].filter(([id]) => ids.has(id))), graph.edges, graph.start);
}

/** How many edges each node is away from the start. */
export function distances(graph: LineageGraph): Map<string, number> {
  const found = new Map([[graph.start, 0]]);
  const ahead = [graph.start];
  for (let place = 0; place < ahead.length; place++) {
    const node = ahead[place]!;
    for (const other of [...(graph.before.get(node) ?? []), ...(graph.after.get(node) ?? [])]) {
      if (found.has(other)) continue;
      found.set(other, found.get(node)! + 1);
      ahead.push(other);
    }
  }
  return found;
}

/**
 * Nodes that are alike drawn as one, such as 200 runs of a sweep that used one dataset and made a model each.
 *
 * What hangs on one neighbour alone is peeled off, leaf by leaf, so that a run and what only it made are one thing;
 * such things are alike if they look alike inside (kind, project, type, name without numbers) and hang on the same
 * neighbours in the same way. Groups in `expanded`, and the start, are drawn one by one.
 */
export function collapse(graph: LineageGraph, expanded: ReadonlySet<string>, alike = ALIKE): Collapsed {
  const { parents, children, order } = peel(graph);
  const inner = new Map<string, string>();
  const innerOf = (id: string): string => {
    const known = inner.get(id);
    if (known !== undefined) return known;
    const below = [...new Set((children.get(id) ?? []).map((child) => `${directionOf(graph, id, child)}${innerOf(child)}`))].sort();
    const text = `(${colorOf(graph, id)} ${below.join('')})`;
    inner.set(id, text);
    return text;
  };
  for (const id of order) innerOf(id);

  const drawn = new Map<string, string>();
  const nodes: Shown[] = [];
  const place = (ids: readonly string[], signature: (id: string) => string): void => {
    for (const members of groups(ids, signature)) {
      const name = `group:${members[0]!}`;
      const units = members.length >= alike && !expanded.has(name) ? [members] : members.map((id) => [id]);
      for (const unit of units) {
        const id = unit.length > 1 ? name : unit[0]!;
        nodes.push({ id, kind: graph.items.get(unit[0]!)!.kind, members: [...unit] });
        for (const member of unit) drawn.set(member, id);
        // What hangs on the members hangs on their group.
        place(unit.flatMap((member) => children.get(member) ?? []), (child) => `${directionOf(graph, parents.get(child)!, child)}${innerOf(child)}`);
      }
    }
  };
  const core = [...graph.items.keys()].filter((id) => !parents.has(id));
  const coreSet = new Set(core);
  place(core, (id) => {
    if (id === graph.start) return id;
    const around = (list: string[] | undefined, mark: string): string[] => (list ?? []).filter((other) => coreSet.has(other)).map((other) => mark + other);
    return `${innerOf(id)} ${[...around(graph.before.get(id), '<'), ...around(graph.after.get(id), '>')].sort().join(' ')}`;
  });
  return { nodes, edges: between(graph.edges, drawn) };
}

/** Takes leaves off until none is left but the start; what each hung on. */
function peel(graph: LineageGraph): { parents: Map<string, string>; children: Map<string, string[]>; order: string[] } {
  const around = new Map([...graph.items.keys()].map((id) => [id, new Set([...(graph.before.get(id) ?? []), ...(graph.after.get(id) ?? [])])]));
  const parents = new Map<string, string>();
  const children = new Map<string, string[]>();
  const order = [...around].filter(([id, others]) => others.size === 1 && id !== graph.start).map(([id]) => id);
  for (let place = 0; place < order.length; place++) {
    const id = order[place]!;
    const parent = [...around.get(id)!].find((other) => !parents.has(other));
    if (parent === undefined) continue;
    parents.set(id, parent);
    children.set(parent, [...(children.get(parent) ?? []), id]);
    const left = around.get(parent)!;
    left.delete(id);
    if (left.size === 1 && parent !== graph.start && !parents.has(parent)) order.push(parent);
  }
  return { parents, children, order };
}

function groups(ids: readonly string[], signature: (id: string) => string): string[][] {
  const found = new Map<string, string[]>();
  for (const id of ids) {
    const name = signature(id);
    const list = found.get(name);
    if (list === undefined) found.set(name, [id]);
    else list.push(id);
  }
  return [...found.values()];
}

function between(edges: readonly LineageEdge[], drawn: ReadonlyMap<string, string>): ShownEdge[] {
  const found = new Map<string, ShownEdge>();
  for (const edge of edges) {
    const [source, target] = [drawn.get(edge.source)!, drawn.get(edge.target)!];
    const name = `${source} ${target} ${edge.kind}`;
    const known = found.get(name);
    if (known !== undefined) known.count++;
    else if (source !== target) found.set(name, { source, target, kind: edge.kind, count: 1 });
  }
  return [...found.values()];
}

function directionOf(graph: LineageGraph, from: string, to: string): string {
  return graph.after.get(from)?.includes(to) ? '>' : '<';
}

/** What two nodes must share to be alike: names without numbers, and without the ids of the runs that made them. */
function colorOf(graph: LineageGraph, id: string): string {
  const item = graph.items.get(id)!;
  if (item.kind === 'run') return `run/${item.run.project}/${item.run.job_type}`;
  const { project, type, name, run } = item.artifact;
  return `artifact/${project}/${type}/${generic(run === '' ? name : name.replaceAll(run, '*'))}`;
}

function generic(name: string): string {
  return name.replace(/\d+/g, '#');
}

/** What a node is called, and what kind of thing it is. */
export function labelOf(graph: LineageGraph, members: readonly string[]): { label: string; kind: string } {
  const items = members.map((id) => graph.items.get(id)!);
  const [first] = items;
  if (first === undefined) return { label: '', kind: '' };
  const count = items.length;
  if (first.kind === 'run') {
    if (count === 1) return { label: first.run.name, kind: first.run.job_type || 'run' };
    return { label: `${count} runs`, kind: first.run.job_type || first.run.project };
  }
  if (count === 1) return { label: `${first.artifact.name}:v${first.artifact.number}`, kind: first.artifact.type };
  const names = new Set(items.map((item) => (item.kind === 'artifact' ? item.artifact.name : '')));
  return { label: names.size === 1 ? `${count} versions of ${first.artifact.name}` : `${count} artifacts`, kind: first.artifact.type };
}
