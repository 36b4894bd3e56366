// Where the nodes of a lineage have their pages.

import { artifactPath, runPath } from '../app/router.svelte';
import type { LineageGraph } from './graph';

export function pathOf(graph: LineageGraph, id: string): string {
  const item = graph.items.get(id);
  if (item === undefined) return '/';
  return item.kind === 'run' ? runPath(item.run.id, 'artifacts') : artifactPath(item.artifact.project, item.artifact.name, `v${item.artifact.number}`, 'lineage');
}
