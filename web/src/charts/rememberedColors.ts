// The colours a project's runs were given on this machine, so that a run looks the same on every page.

import { ColorBox } from './palette';

const key = (project: string): string => `trackkit-colors:${project}`;

/** A box of colours that knows those its project's runs have. */
export function rememberedColors(project: string): ColorBox {
  return new ColorBox(read(key(project)) as [string, number][]);
}

export function rememberColors(project: string, box: ColorBox): void {
  localStorage.setItem(key(project), JSON.stringify(box.entries()));
}

/** What this machine keeps under a name, as a list; none where it keeps nothing that can be read. */
function read(name: string): unknown[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(name) ?? '[]');
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}
