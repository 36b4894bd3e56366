import { get, request } from './client';
import type { PanelSpec, Value } from './contract';
import { Queue } from './queue';

/** What a run logs besides numbers. */
export type MediaKind = 'image' | 'audio' | 'video' | 'html' | 'text' | 'histogram' | 'figure' | 'plotly' | 'object3d' | 'molecule' | 'graph' | 'chart' | 'table';

export type Metadata = Record<string, Value>;

/** A key under which runs logged media of a kind. */
export interface MediaKey {
  key: string;
  kind: MediaKind;
  runs: number;
  count: number;
  first_step: number;
  last_step: number;
}

export interface MediaItem {
  run: string;
  key: string;
  kind: MediaKind;
  step: number;
  time: number;
  path: string;
  size: number;
  digest: string;
  /** The address of its content. */
  content: string;
  metadata: Metadata;
}

/** What runs logged under a key at a step; `total` counts what each has, of which `items` may be the first. */
export interface MediaItems {
  items: MediaItem[];
  total: Record<string, number>;
}

/** A run's histograms, each a row of `bins` counts from `low` to `high`. */
export interface Histograms {
  steps: number[];
  low: number;
  high: number;
  bins: number;
  /** How many histograms there are, of which these are an even choice. */
  total: number;
  counts: Float32Array;
}

type Selection = Pick<PanelSpec, 'runs' | 'project' | 'filter' | 'order' | 'limit'>;

// Browsers open six connections to a host: what many panels ask at once leaves some for contents and events.
const queue = new Queue(3);

function ask<T>(path: string, spec: object, signal?: AbortSignal): Promise<T> {
  return queue.run(() => get<T>(address(path, spec), signal), signal);
}

function address(path: string, spec: object): string {
  return `/media/${path}?spec=${encodeURIComponent(JSON.stringify(spec))}`;
}

export async function mediaKeys(selection: Selection, signal?: AbortSignal): Promise<MediaKey[]> {
  return (await ask<{ keys: MediaKey[] }>('keys', selection, signal)).keys;
}

/** The steps at which any of the runs logged something under a key. */
export async function mediaSteps(runs: string[], key: string, signal?: AbortSignal): Promise<number[]> {
  return (await ask<{ steps: number[] }>('steps', { runs, key }, signal)).steps;
}

/** What each run logged last up to a step; null asks for the very last. */
export function mediaItems(runs: string[], key: string, kind: MediaKind, step: number | null, most: number, signal?: AbortSignal): Promise<MediaItems> {
  return ask('items', { runs, key, kind, most, ...(step === null ? {} : { step }) }, signal);
}

export function histograms(run: string, key: string, bins: number, most: number, signal?: AbortSignal): Promise<Histograms> {
  return queue.run(async () => decodeHistograms(await (await request('GET', address('histograms', { run, key, bins, most }), undefined, signal)).arrayBuffer()), signal);
}

/** Decode `application/x-trackkit-histograms`: a length, a JSON header padded to 8 bytes, and floats. */
export function decodeHistograms(buffer: ArrayBuffer): Histograms {
  if (buffer.byteLength < 4) throw new Error('The server sent an empty answer for histograms.');
  const offset = 4 + new DataView(buffer).getUint32(0, true);
  if (offset > buffer.byteLength || offset % 4 !== 0) throw new Error('The server sent histograms whose header is damaged.');
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, offset - 4))) as Omit<Histograms, 'counts'>;
  const length = header.steps.length * header.bins;
  if (offset + length * 4 > buffer.byteLength) throw new Error('The server sent histograms that end too early.');
  return { ...header, counts: new Float32Array(buffer, offset, length) };
}

/** The address of a blob that the run of some content names: a mask, or an image's boxes. */
export function besides(content: string, digest: string): string {
  const end = content.indexOf('/content/');
  return end < 0 ? content : `${content.slice(0, end)}/content/${digest}`;
}

export async function contentText(url: string, signal?: AbortSignal): Promise<string> {
  return (await fetchContent(url, signal)).text();
}

export async function contentBytes(url: string, signal?: AbortSignal): Promise<ArrayBuffer> {
  return (await fetchContent(url, signal)).arrayBuffer();
}

async function fetchContent(url: string, signal?: AbortSignal): Promise<Response> {
  const response = await fetch(url, signal === undefined ? {} : { signal });
  if (!response.ok) throw new Error(response.status === 404 ? 'The content is missing from the store.' : `The server answered ${response.status} ${response.statusText}.`);
  return response;
}
