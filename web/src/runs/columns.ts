import type { Aggregate, Columns, RunRow, Value } from '../api/contract';
import { csvCell } from '../charts/lines';

/** What a run has besides its config and summary, and what it is called in a table. */
export const OWN_COLUMNS: Record<string, { name: string; width: number }> = {
  state: { name: 'State', width: 104 },
  created: { name: 'Created', width: 92 },
  duration: { name: 'Duration', width: 92 },
  tags: { name: 'Tags', width: 150 },
  notes: { name: 'Notes', width: 200 },
  host: { name: 'Host', width: 120 },
  group: { name: 'Group', width: 120 },
  job_type: { name: 'Job type', width: 110 },
  updated: { name: 'Updated', width: 92 },
  exit_code: { name: 'Exit code', width: 84 },
  id: { name: 'Id', width: 110 },
};
const ENTRY_WIDTH = 116;
const MOST_OF_A_KIND = 5;
const SORTABLE = new Set(['name', 'state', 'created', 'duration', 'host', 'group', 'job_type', 'updated', 'exit_code', 'id', 'notes']);

export function isEntry(column: string): boolean {
  return column.startsWith('config.') || column.startsWith('summary.');
}

/** The columns with config and summary before the rest. */
export function entriesFirst(columns: readonly string[]): string[] {
  return [...columns.filter(isEntry), ...columns.filter((column) => !isEntry(column))];
}

export function columnName(column: string): string {
  return OWN_COLUMNS[column]?.name ?? (column === 'name' ? 'Name' : column.replace(/^(config|summary)\./, ''));
}

export function columnWidth(column: string, widths: Record<string, number>): number {
  return widths[column] ?? OWN_COLUMNS[column]?.width ?? ENTRY_WIDTH;
}

export function isSortable(column: string): boolean {
  return isEntry(column) || SORTABLE.has(column);
}

/** Columns worth showing to somebody who chose none: those in which runs differ. */
export function usualColumns(columns: Columns | null): string[] {
  const own = ['state', 'created', 'duration', 'tags'];
  if (columns === null) return own;
  const summary = columns.summary.filter(({ kinds }) => kinds.some((kind) => kind === 'float' || kind === 'int'));
  const config = columns.config.filter(({ min, max, kinds }) => (min === null || min !== max) && !kinds.includes('json'));
  return [
    ...own,
    ...summary.slice(0, MOST_OF_A_KIND).map(({ key }) => `summary.${key}`),
    ...config.slice(0, MOST_OF_A_KIND).map(({ key }) => `config.${key}`),
  ];
}

/** The value of a run in a column; a running run lasts until `now`. */
export function valueOf(row: RunRow, column: string, now: number): Value {
  if (column === 'duration') return (row.ended ?? (row.state === 'running' ? Math.max(now, row.updated) : row.updated)) - row.created;
  if (column === 'tags') return row.tags.join(', ');
  if (isEntry(column)) return row.values[column] ?? null;
  return (row[column as 'name'] as Value | undefined) ?? null;
}

// Sorting: a list of fields, each with + or − before it.

export function sortOf(order: readonly string[], column: string): { direction: 1 | -1; place: number } | null {
  const place = order.findIndex((item) => item.slice(1) === column);
  return place < 0 ? null : { direction: order[place]!.startsWith('-') ? -1 : 1, place };
}

/** The order after a click on a column: up, down, and off; `add` keeps the other keys. */
export function nextOrder(order: readonly string[], column: string, add: boolean): string[] {
  const now = sortOf(order, column);
  const others = add ? order.filter((item) => item.slice(1) !== column) : [];
  // Most recent and best first is what people look for, so down comes first for times and up for the rest.
  const first = column === 'created' || column === 'updated' ? '-' : '+';
  const second = first === '-' ? '+' : '-';
  if (now === null) return [...others, first + column];
  const sign = order[now.place]![0];
  if (sign === first) {
    if (!add) return [second + column];
    return order.map((item) => (item.slice(1) === column ? second + column : item));
  }
  return others.length > 0 ? others : ['-created'];
}

/** A column moved to where another one is. */
export function moved(columns: readonly string[], column: string, to: string): string[] {
  const from = columns.indexOf(column);
  const target = columns.indexOf(to);
  if (from < 0 || target < 0 || from === target) return [...columns];
  const out = columns.filter((other) => other !== column);
  out.splice(target, 0, column);
  return out;
}

/** Runs as CSV, with every digit. */
export function runsCsv(rows: readonly RunRow[], columns: readonly string[], now: number): string {
  const all = ['id', 'name', ...columns.filter((column) => column !== 'id')];
  const lines = rows.map((row) => all.map((column) => csvCell(valueOf(row, column, now))).join(','));
  return [all.map(csvCell).join(','), ...lines].join('\n') + '\n';
}

/** The filter that is true of the runs of a group. */
export function groupFilter(values: Record<string, Value>): string {
  return Object.entries(values)
    .map(([target, value]) => (value === null ? `${target} is null` : typeof value === 'number' && Number.isNaN(value) ? `${target} is nan` : `${target} = ${literal(value)}`))
    .join(' and ');
}

function literal(value: Value): string {
  if (typeof value === 'number' && !Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  return JSON.stringify(value);
}

export function both(...filters: string[]): string {
  const given = filters.filter((filter) => filter.trim() !== '');
  return given.length < 2 ? (given[0] ?? '') : given.map((filter) => `(${filter})`).join(' and ');
}

export function aggregateTitle(aggregate: Aggregate): string {
  return `mean ${aggregate.mean}, from ${aggregate.min} to ${aggregate.max}, standard deviation ${aggregate.std}, of ${aggregate.count} runs`;
}
