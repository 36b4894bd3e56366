// Collections of artifacts, as lists of them are cut and sought.

import type { Collection } from '../api/artifacts';

/** The project whose collections are the registry. */
export const REGISTRY = 'registry';

/** Whether a collection's name, description, run, or newest version's aliases or tags contain a text. */
export function isSought(one: Collection, text: string): boolean {
  const wanted = text.trim().toLowerCase();
  return [one.name, one.project, one.description, one.run_name, ...one.aliases, ...one.tags].some((place) => place.toLowerCase().includes(wanted));
}

/** Collections by type, types by name; within a type the order stays. */
export function byType(rows: readonly Collection[]): { type: string; rows: Collection[] }[] {
  const sections = new Map<string, Collection[]>();
  for (const row of rows) sections.set(row.type, [...(sections.get(row.type) ?? []), row]);
  return [...sections].sort(([a], [b]) => a.localeCompare(b)).map(([type, found]) => ({ type, rows: found }));
}
