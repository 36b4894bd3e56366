// Where the nodes and edges of a graph go, from its sources down.

import { Graph, layout } from '@dagrejs/dagre';
import type { Value } from '../api/contract';
import { formatShortCount } from '../text/format';

export interface GraphContent {
  nodes: ({ id: string } & Record<string, Value>)[];
  edges: ({ source: string; target: string } & Record<string, Value>)[];
}

export interface PlacedNode {
  id: string;
  x: number;
  y: number;
  width: number;
  height: number;
  title: string;
  note: string;
  facts: [string, Value][];
}

export interface PlacedGraph {
  width: number;
  height: number;
  nodes: PlacedNode[];
  edges: { path: string; source: string; target: string }[];
}

const CHARACTER_PX = 6.8;
const SIDE_PX = 24;
const MOST_CHARACTERS = 34;
/** Laying out takes the longer the more there are; beyond this it would be minutes, and nothing could be read. */
export const MOST_NODES = 1500;

export function placed({ nodes, edges }: GraphContent): PlacedGraph {
  const graph = new Graph({ multigraph: true });
  graph.setGraph({ rankdir: 'TB', nodesep: 22, ranksep: 34, marginx: 12, marginy: 12 });
  graph.setDefaultEdgeLabel(() => ({}));
  const shown = nodes.map((node) => ({ ...textsOf(node), id: node.id, facts: Object.entries(node).filter(([name, value]) => name !== 'id' && value !== null) }));
  for (const { id, title, note } of shown) graph.setNode(id, { width: Math.max(60, Math.max(title.length, note.length) * CHARACTER_PX + SIDE_PX), height: note === '' ? 30 : 44 });
  edges.forEach(({ source, target }, index) => graph.setEdge(source, target, {}, String(index)));
  layout(graph);
  const size = graph.graph() as { width?: number; height?: number };
  return {
    width: size.width ?? 0,
    height: size.height ?? 0,
    nodes: shown.map((node) => {
      const { x, y, width, height } = graph.node(node.id) as { x: number; y: number; width: number; height: number };
      return { ...node, x: x - width / 2, y: y - height / 2, width, height };
    }),
    edges: graph.edges().map((edge) => ({ source: edge.v, target: edge.w, path: curve((graph.edge(edge) as { points: { x: number; y: number }[] }).points) })),
  };
}

function textsOf(node: GraphContent['nodes'][number]): { title: string; note: string } {
  const { id, label, name, module, parameters } = node;
  const title = typeof label === 'string' && label !== '' ? label : typeof name === 'string' && name !== '' ? name : id;
  const count = typeof parameters === 'number' && parameters > 0 ? `${formatShortCount(parameters)} parameters` : '';
  const place = typeof module === 'string' && module !== '' ? module : title === id ? '' : id;
  return { title: cut(title), note: cut([place, count].filter(Boolean).join(' · ')) };
}

function cut(text: string): string {
  return text.length <= MOST_CHARACTERS ? text : `${text.slice(0, MOST_CHARACTERS - 1)}…`;
}

/** A line through points, rounded at those between. */
export function curve(points: readonly { x: number; y: number }[]): string {
  const [first, ...rest] = points;
  if (first === undefined) return '';
  const parts = [`M${first.x} ${first.y}`];
  rest.forEach((point, index) => {
    const next = rest[index + 1];
    if (next === undefined) parts.push(`L${point.x} ${point.y}`);
    else parts.push(`Q${point.x} ${point.y} ${(point.x + next.x) / 2} ${(point.y + next.y) / 2}`);
  });
  return parts.join('');
}
