// What a table's panel shows, as one value that its page keeps with the rest of its look.

import type { Aggregate, TableColumn, TableReference } from '../api/tables';
import { isMedia } from './cells';

/** One table of a panel: a run's at a step, or at its last one; or a file of an artifact's version. */
export type Side = { run: string; step: number | null } | { version: string; path: string; label: string };

export type RowHeight = 'low' | 'high';

export interface TableLook {
  /** None means the first run there is; several are compared. */
  sides: Side[];
  filter: string;
  search: string;
  /** The columns sorted by, with a − before its name for falling order. */
  sort: string[];
  /** The columns shown, in order; none means all. */
  columns: string[];
  pinned: string[];
  widths: Record<string, number>;
  by: string[];
  aggregates: Aggregate[];
  groupSort: string;
  /** The key columns of a comparison; null means whatever looks like one. */
  on: string[] | null;
  changed: boolean;
  beside: boolean;
  rowHeight: RowHeight | null;
  distributions: boolean;
}

export function usualLook(): TableLook {
  return {
    sides: [], filter: '', search: '', sort: [], columns: [], pinned: [], widths: {}, by: [], aggregates: [], groupSort: '-count',
    on: null, changed: false, beside: false, rowHeight: null, distributions: true,
  };
}

/** A whole look from what was kept of one; what is no look's is left out. */
export function whole(kept: object | undefined): TableLook {
  const usual = usualLook();
  const parts = (kept ?? {}) as Record<string, unknown>;
  for (const name of Object.keys(usual) as (keyof TableLook)[]) {
    const [value, model] = [parts[name], usual[name]];
    if (value === undefined || (model !== null && (typeof value !== typeof model || Array.isArray(value) !== Array.isArray(model)))) continue;
    Object.assign(usual, { [name]: value });
  }
  return usual;
}

/** What of a look differs from the usual one: that is what is kept. */
export function kept(look: TableLook): Partial<TableLook> {
  const usual = usualLook();
  const names = Object.keys(look) as (keyof TableLook)[];
  return Object.fromEntries(names.filter((name) => JSON.stringify(look[name]) !== JSON.stringify(usual[name])).map((name) => [name, look[name]]));
}

export function referenceOf(side: Side, key: string): TableReference {
  return 'run' in side ? { run: side.run, key, ...(side.step === null ? {} : { step: side.step }) } : { version: side.version, path: side.path };
}

// Columns

const WIDTHS: Record<string, number> = { number: 104, bool: 80, time: 160, text: 180, json: 180, binary: 100, image: 110, video: 200, audio: 250 };
const USUAL_WIDTH = 140;
/** Of a table with more, the first ones are shown until somebody chooses. */
export const MOST_SHOWN = 60;

export interface ShownColumn extends TableColumn {
  width: number;
  pinned: boolean;
}

export function widthOf(column: TableColumn, widths: Record<string, number>): number {
  return widths[column.name] ?? Math.max(WIDTHS[column.type] ?? USUAL_WIDTH, Math.min(200, 40 + column.name.length * 7));
}

/** The columns that are shown, in order, pinned ones first. */
export function shownColumns(columns: readonly TableColumn[], look: Pick<TableLook, 'columns' | 'pinned' | 'widths'>): ShownColumn[] {
  const known = new Map(columns.map((column) => [column.name, column]));
  const chosen = look.columns.flatMap((name) => known.get(name) ?? []);
  const shown = chosen.length > 0 ? chosen : columns.slice(0, MOST_SHOWN);
  const placed = shown.map((column) => ({ ...column, width: widthOf(column, look.widths), pinned: look.pinned.includes(column.name) }));
  return [...placed.filter(({ pinned }) => pinned), ...placed.filter(({ pinned }) => !pinned)];
}

/** The sort after a click on a column: up, down, off; `add` keeps the other columns. */
export function nextSort(sort: readonly string[], column: string, add: boolean): string[] {
  const now = sortOf(sort, column);
  const others = sort.filter((term) => term !== column && term !== `-${column}`);
  if (now === null) return add ? [...sort, column] : [column];
  if (now.direction < 0) return add ? others : [];
  return add ? sort.map((term) => (term === column ? `-${column}` : term)) : [`-${column}`];
}

export function sortOf(sort: readonly string[], column: string): { direction: 1 | -1; place: number } | null {
  const place = sort.findIndex((term) => term === column || term === `-${column}`);
  return place < 0 ? null : { direction: sort[place] === column ? 1 : -1, place };
}

/** Pictures need room; everything else is read in lines. */
export function rowHeightOf(look: TableLook, columns: readonly TableColumn[]): number {
  const usual = columns.some(({ type }) => type === 'image' || type === 'video') ? 'high' : 'low';
  const tall = (look.rowHeight ?? usual) === 'high';
  const audio = columns.some(({ type }) => type === 'audio');
  return tall ? 84 : audio ? 44 : 32;
}

const KEY_NAMES = /^(?:(?:\w+_)?(?:id|uuid|key|name|path|file|filename)|idx|index|example|question|prompt)$/i;

/** The column that looks like the key of rows: by its name, and not by what may change. */
export function guessedKey(columns: readonly TableColumn[]): string[] {
  const found = columns.find(({ name, type }) => KEY_NAMES.test(name) && (type === 'number' || type === 'text'));
  return found === undefined ? [] : [found.name];
}

/** Columns that all tables have, in the order of the first. */
export function sharedColumns(tables: readonly (readonly TableColumn[])[]): TableColumn[] {
  const [first = [], ...others] = tables;
  return first.filter(({ name }) => others.every((columns) => columns.some((column) => column.name === name)));
}

/** What can be computed of a column. */
export function functionsOf(column: TableColumn): Aggregate['function'][] {
  if (column.type === 'number' || column.type === 'bool') return ['mean', 'sum', 'min', 'max', 'median', 'std', 'distinct', 'count'];
  return isMedia(column.type) || column.type === 'binary' ? ['count'] : ['min', 'max', 'distinct', 'count'];
}
