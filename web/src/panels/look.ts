// What a project's page shows, as one value: it is kept in the address, in saved views, and on this machine.

import { DEFAULT_SETTINGS, emptyLayout, type ChartSettings, type Layout } from './layout';

export interface Look {
  filter: string;
  /** The fields runs are sorted by, each with + or − before it. */
  order: string[];
  group: string[];
  columns: string[];
  pinned: string[];
  widths: Record<string, number>;
  /** How many runs are charted, from the top of the table. */
  count: number;
  hidden: string[];
  /** Runs charted although they are further down. */
  shown: string[];
  colors: Record<string, string>;
  search: string;
  settings: ChartSettings;
  layout: Layout;
  /** The width of the table, in pixels. */
  split: number;
}

export const DEFAULT_COUNT = 10;

export function defaultLook(): Look {
  return {
    filter: '', order: ['-created'], group: [], columns: [], pinned: [], widths: {}, count: DEFAULT_COUNT, hidden: [], shown: [],
    colors: {}, search: '', settings: { ...DEFAULT_SETTINGS }, layout: emptyLayout(), split: 440,
  };
}

const TEXTS = ['filter', 'search'] as const;
const LISTS = ['order', 'group', 'columns', 'hidden', 'shown'] as const;
const REST = ['pinned', 'widths', 'count', 'colors', 'layout', 'split'] as const;

/** The query and the fragment of the address that shows this look; what is as usual is left out. */
export function toAddress(look: Look): { search: string; hash: string } {
  const usual = defaultLook();
  const params = new URLSearchParams();
  for (const name of TEXTS) if (look[name] !== usual[name]) params.set(name, look[name]);
  for (const name of LISTS) if (!same(look[name], usual[name])) params.set(name, look[name].map(listed).join(','));
  const settings = Object.fromEntries(Object.entries(look.settings).filter(([name, value]) => value !== usual.settings[name as keyof ChartSettings]));
  const rest: Record<string, unknown> = {};
  if (Object.keys(settings).length > 0) rest.settings = settings;
  for (const name of REST) if (!same(look[name], usual[name])) rest[name] = look[name];
  const query = params.toString();
  // The fragment never leaves the browser, so a long layout can't exceed what a server takes in an address.
  return { search: query === '' ? '' : `?${query}`, hash: Object.keys(rest).length === 0 ? '' : `#look=${toBase64(JSON.stringify(rest))}` };
}

/** The look an address shows; null where it says nothing of it. */
export function fromAddress(search: string, hash: string): Look | null {
  const params = new URLSearchParams(search);
  const rest = parseRest(hash);
  const known = [...TEXTS, ...LISTS].filter((name) => params.has(name));
  if (known.length === 0 && rest === null) return null;
  const parts: Record<string, unknown> = { ...rest };
  for (const name of TEXTS) if (params.has(name)) parts[name] = params.get(name)!;
  for (const name of LISTS) if (params.has(name)) parts[name] = params.get(name)!.split(',').filter(Boolean).map(decodeURIComponent);
  return complete(parts);
}

/** A whole look from parts of one, such as a view saved by an older version. */
export function complete(parts: Record<string, unknown>): Look {
  const usual = defaultLook();
  const whole: Look = { ...usual };
  for (const name of Object.keys(usual) as (keyof Look)[]) {
    if (parts[name] !== undefined && sameKind(parts[name], usual[name])) Object.assign(whole, { [name]: parts[name] });
  }
  return { ...whole, settings: { ...usual.settings, ...whole.settings }, layout: { ...usual.layout, ...whole.layout } };
}

/** An item of a list in the address: commas part the items, and the address escapes the rest by itself. */
function listed(item: string): string {
  return item.replaceAll('%', '%25').replaceAll(',', '%2C');
}

function sameKind(value: unknown, model: unknown): boolean {
  return typeof value === typeof model && Array.isArray(value) === Array.isArray(model) && value !== null;
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function parseRest(hash: string): Record<string, unknown> | null {
  const match = /[#&]look=([\w-]+)/.exec(hash);
  if (match === null) return null;
  try {
    return JSON.parse(fromBase64(match[1]!)) as Record<string, unknown>;
  } catch {
    return null;
  }
}

function toBase64(text: string): string {
  const bytes = new TextEncoder().encode(text);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

function fromBase64(text: string): string {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return new TextDecoder().decode(Uint8Array.from(binary, (character) => character.charCodeAt(0)));
}
