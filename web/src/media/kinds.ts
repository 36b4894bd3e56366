// What there is to know of each kind of media before any of it is shown.

import { besides, type MediaItem, type MediaKey, type MediaKind } from '../api/media';

/** Kinds that a media panel shows; tables and histograms have panels of their own. */
export const SHOWN_KINDS: readonly MediaKind[] = ['image', 'audio', 'video', 'html', 'text', 'figure', 'plotly', 'object3d', 'molecule', 'graph', 'chart'];

const NAMES: Record<MediaKind, string> = {
  image: 'image', audio: 'sound', video: 'video', html: 'page', text: 'text', histogram: 'histogram', figure: 'figure', plotly: 'figure', object3d: 'object', molecule: 'molecule', graph: 'graph', chart: 'chart', table: 'table',
};

/** Kinds that can be enlarged and moved about like a picture. */
const PICTURES: readonly string[] = ['image', 'figure'];

export function isPicture(kind: string): boolean {
  return PICTURES.includes(kind);
}

/** Kinds that are drawn by the graphics processor. */
export function isSpatial(kind: string): boolean {
  return kind === 'object3d' || kind === 'molecule';
}

export function nameOf(kind: string): string {
  return NAMES[kind as MediaKind] ?? kind;
}

/** How wide a cell of a grid should at least be, in pixels, and how high what it shows is; `size` scales both. */
export function cellOf(kind: string, size: number): { width: number; height: number | null } {
  if (isPicture(kind)) return { width: size, height: null };
  if (kind === 'audio') return { width: 260, height: 42 };
  if (kind === 'text') return { width: 260, height: null };
  return { width: Math.max(280, size * 1.6), height: Math.max(220, size * 1.3) };
}

export function captionOf(item: Pick<MediaItem, 'metadata'>): string {
  const { caption, title } = item.metadata;
  return typeof caption === 'string' ? caption : typeof title === 'string' ? title : '';
}

/** What an item is, for those who can't see it. */
export function describe(item: Pick<MediaItem, 'kind' | 'key' | 'step' | 'metadata'>): string {
  const index = item.metadata.index;
  const place = typeof index === 'number' ? ` ${index + 1} of ${String(item.metadata.items ?? '?')}` : '';
  const caption = captionOf(item);
  return `${item.key}, ${nameOf(item.kind)}${place} at step ${item.step}${caption === '' ? '' : `: ${caption}`}`;
}

/** Items in the groups they were logged for: so many in a row belong together. */
export function grouped<T extends Pick<MediaItem, 'metadata'>>(items: readonly T[]): T[][] {
  const groups: T[][] = [];
  let room = 0;
  for (const item of items) {
    if (room === 0) {
      const size = item.metadata.grouping;
      room = typeof size === 'number' && size > 1 ? Math.floor(size) : 1;
      groups.push([]);
    }
    groups.at(-1)!.push(item);
    room--;
  }
  return groups;
}

/** The extension of a path, in lower case and without the dot. */
export function extensionOf(path: string): string {
  return /\.([a-z0-9]+)$/i.exec(path)?.[1]?.toLowerCase() ?? '';
}

/** The keys of some kinds, each once even where runs logged several kinds under it. */
export function keysOfKinds(keys: readonly MediaKey[], kinds: readonly MediaKind[]): string[] {
  return [...new Set(keys.filter((key) => kinds.includes(key.kind)).map((key) => key.key))];
}

/** Where a picture is best enlarged from: a figure is kept as SVG, too. */
export function sharpest(item: Pick<MediaItem, 'content' | 'metadata'>): string {
  const digest = (item.metadata.svg as { digest?: string } | undefined)?.digest;
  return digest === undefined ? item.content : besides(item.content, digest);
}
