// What is drawn over an image: boxes and masks, in layers that can be switched off one by one, a class of a set each.

import { besides, contentText, type Metadata } from '../api/media';
import { PALETTE } from '../charts/palette';

export interface Box {
  set: string;
  classId: number | null;
  label: string;
  /** Left, top, right and bottom, as fractions of the image's sides. */
  corners: [number, number, number, number];
  caption: string;
  scores: Record<string, number>;
}

export interface Mask {
  set: string;
  labels: Record<string, string>;
  /** The address of an image of class ids. */
  url: string;
}

export interface Overlays {
  boxes: Box[];
  masks: Mask[];
}

/** A class of a set of boxes, or of a mask. */
export interface Layer {
  id: string;
  kind: 'box' | 'mask';
  set: string;
  label: string;
  color: string;
  /** Lines of the second and further sets of boxes are dashed, so that a class has one colour in all of them. */
  dashed: boolean;
}

/** What of the overlays is shown. */
export interface OverlayLook {
  hidden: string[];
  /** Boxes with a lower score of that name are not drawn. */
  least: Record<string, number>;
}

export const EVERYTHING: OverlayLook = { hidden: [], least: {} };
export const NOTHING: Overlays = { boxes: [], masks: [] };

type Named = Record<string, string>;
interface StoredBox { position: [number, number, number, number]; domain: 'fraction' | 'pixel'; class?: number; caption?: string; scores?: Record<string, number> }
type StoredBoxes = Record<string, { labels: Named; boxes: StoredBox[] }>;
interface Elsewhere { digest: string }

export function hasOverlays(metadata: Metadata): boolean {
  return metadata.boxes !== undefined || metadata.masks !== undefined;
}

/** The overlays an image's metadata names; very many boxes lie beside it and are fetched. */
export async function overlaysOf(metadata: Metadata, url: string, signal?: AbortSignal): Promise<Overlays> {
  const classes = (metadata.classes ?? {}) as Named;
  const given = (metadata.boxes ?? {}) as unknown as StoredBoxes | Elsewhere;
  const isElsewhere = typeof (given as Elsewhere).digest === 'string';
  const boxes = isElsewhere ? (JSON.parse(await contentText(besides(url, (given as Elsewhere).digest), signal)) as StoredBoxes) : (given as StoredBoxes);
  const masks = (metadata.masks ?? {}) as unknown as Record<string, { labels: Named } & Elsewhere>;
  const size = [Number(metadata.width ?? 1), Number(metadata.height ?? 1)] as const;
  return {
    boxes: Object.entries(boxes).flatMap(([set, { labels, boxes: stored }]) => stored.map((box) => boxOf(set, box, { ...classes, ...labels }, size))),
    masks: Object.entries(masks).map(([set, { labels, digest }]) => ({ set, labels: { ...classes, ...labels }, url: besides(url, digest) })),
  };
}

function boxOf(set: string, box: StoredBox, labels: Named, [width, height]: readonly [number, number]): Box {
  const [left, top, right, bottom] = box.position;
  const classId = box.class ?? null;
  return {
    set,
    classId,
    label: nameOf(classId, labels),
    corners: box.domain === 'pixel' ? [left / width, top / height, right / width, bottom / height] : box.position,
    caption: box.caption ?? '',
    scores: box.scores ?? {},
  };
}

function nameOf(classId: number | null, labels: Named): string {
  return classId === null ? 'no class' : (labels[classId] ?? `class ${classId}`);
}

export function colorOf(classId: number | null): string {
  return PALETTE[(classId ?? PALETTE.length - 1) % PALETTE.length]!;
}

export function layerId(kind: 'box' | 'mask', set: string, classId: number | null): string {
  return `${kind}:${set}:${classId ?? ''}`;
}

/** The layers of overlays; `found` names the class ids that a mask was seen to hold. */
export function layersOf({ boxes, masks }: Overlays, found: Record<string, number[]> = {}): Layer[] {
  const layers = new Map<string, Layer>();
  const sets = [...new Set(boxes.map((box) => box.set))];
  for (const { set, classId, label } of boxes) {
    const id = layerId('box', set, classId);
    layers.set(id, { id, kind: 'box', set, label, color: colorOf(classId), dashed: sets.indexOf(set) > 0 });
  }
  for (const { set, labels } of masks) {
    for (const classId of found[set] ?? Object.keys(labels).map(Number)) {
      const id = layerId('mask', set, classId);
      layers.set(id, { id, kind: 'mask', set, label: nameOf(classId, labels), color: colorOf(classId), dashed: false });
    }
  }
  return [...layers.values()];
}

/** Layers of several images as one list, in the order of first sight. */
export function merged(lists: Iterable<Layer[]>): Layer[] {
  const found = new Map<string, Layer>();
  for (const layers of lists) for (const layer of layers) if (!found.has(layer.id)) found.set(layer.id, layer);
  return [...found.values()];
}

/** Class ids that a mask holds; an unnamed 0 is what no class covers. */
export function classesIn(ids: ArrayLike<number>, labels: Named): number[] {
  const found = new Set<number>();
  let last = -1;
  for (let pixel = 0; pixel < ids.length; pixel++) {
    const id = ids[pixel]!;
    if (id === last) continue;
    last = id;
    found.add(id);
  }
  return [...found].filter((id) => id !== 0 || labels[0] !== undefined).sort((a, b) => a - b);
}

/** A mask as pixels: each class in its colour, half transparent; nothing where its layer is hidden. */
export function paint(ids: ArrayLike<number>, set: string, labels: Named, hidden: ReadonlySet<string>, alpha = 140): Uint8ClampedArray<ArrayBuffer> {
  const image = new Uint8ClampedArray(ids.length * 4);
  const shown = new Map(classesIn(ids, labels).filter((id) => !hidden.has(layerId('mask', set, id))).map((id) => [id, rgb(colorOf(id))]));
  for (let pixel = 0; pixel < ids.length; pixel++) {
    const color = shown.get(ids[pixel]!);
    if (color === undefined) continue;
    image.set(color, pixel * 4);
    image[pixel * 4 + 3] = alpha;
  }
  return image;
}

function rgb(color: string): [number, number, number] {
  return [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16)) as [number, number, number];
}

export function isShown(box: Box, look: OverlayLook): boolean {
  if (look.hidden.includes(layerId('box', box.set, box.classId))) return false;
  return Object.entries(look.least).every(([name, least]) => (box.scores[name] ?? least) >= least);
}

/** The lowest and the highest of each score that boxes have. */
export function scoresOf(boxes: readonly Box[]): Record<string, { low: number; high: number }> {
  const found: Record<string, { low: number; high: number }> = {};
  for (const { scores } of boxes) {
    for (const [name, value] of Object.entries(scores)) {
      const range = (found[name] ??= { low: value, high: value });
      range.low = Math.min(range.low, value);
      range.high = Math.max(range.high, value);
    }
  }
  return found;
}

/** What is written at a box: its caption, else its class and its scores. */
export function textOf(box: Box, write: (value: number) => string): string {
  if (box.caption !== '') return box.caption;
  const scores = Object.values(box.scores);
  return scores.length === 0 ? box.label : `${box.label} ${scores.map(write).join(' ')}`;
}
