// References to versions of artifacts, as people write them.

import { artifactPath } from '../app/router.svelte';

/** `project/name:v3` in its parts; null if it is none. */
export function parseReference(text: string): { project: string; name: string; version: string } | null {
  const match = /^([^/:]+)\/([^/:]+):([^/:]+)$/.exec(text);
  return match === null ? null : { project: match[1]!, name: match[2]!, version: match[3]! };
}

/** The address of the page of a version that `project/name:v3` names. */
export function referencePath(text: string): string {
  const found = parseReference(text);
  return found === null ? '/registry' : artifactPath(found.project, found.name, found.version);
}
