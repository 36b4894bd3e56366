// Where the nodes of a lineage are drawn: from left to right, what came of something right of it.

import { Graph, layout } from '@dagrejs/dagre';
import type { Collapsed } from './graph';

export const NODE = { width: 196, height: 44 };

export interface Placed {
  width: number;
  height: number;
  /** The middle of each node, and its rank from the left. */
  places: Map<string, { x: number; y: number }>;
  /** The path of each edge, in the order of the edges, as SVG has it. */
  paths: string[];
}

/** From so many nodes on the ranks are found in the quick way, whose edges are a little longer. */
const MANY = 250;

export function place({ nodes, edges }: Collapsed): Placed {
  const graph = new Graph({ directed: true, multigraph: true });
  graph.setGraph({ rankdir: 'LR', nodesep: 14, ranksep: 72, marginx: 24, marginy: 24, ranker: nodes.length > MANY ? 'longest-path' : 'network-simplex' });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) graph.setNode(node.id, { ...NODE });
  edges.forEach((edge, index) => graph.setEdge(edge.source, edge.target, {}, String(index)));
  layout(graph);
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number };
  const places = new Map(nodes.map(({ id }) => {
    const { x, y } = graph.node(id) as { x: number; y: number };
    return [id, { x, y }];
  }));
  const paths = edges.map((edge, index) => {
    const { points } = graph.edge(edge.source, edge.target, String(index)) as { points: Point[] };
    return curve(points);
  });
  return { width, height, places, paths };
}

interface Point { x: number; y: number }

/** A smooth line through points: to the middle between two, bent towards each. */
export function curve(points: readonly Point[]): string {
  const [first, ...rest] = points;
  const last = rest.at(-1);
  if (first === undefined || last === undefined) return '';
  const at = ({ x, y }: Point): string => `${round(x)} ${round(y)}`;
  const bends = rest.slice(0, -1).map((point, index) => `Q${at(point)} ${at(middle(point, rest[index + 1]!))}`);
  return [`M${at(first)}`, ...bends, `L${at(last)}`].join('');
}

function middle(a: Point, b: Point): Point {
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
