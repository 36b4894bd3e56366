import type { Columns, Count } from '../api/contract';
import { JOINTS, NUMBER_ORDERS, quoted, ranked, state, TEXT_ORDERS, type Completion, type Completions } from '../text/expressions';

/** A config or summary entry, and how its value begins. */
export interface WantedValue {
  key: string;
  prefix: string;
}

const FIELDS: Record<string, string> = {
  name: 'text', id: 'text', state: 'text', tags: 'tags', group: 'text', job_type: 'text', notes: 'text', host: 'text',
  created: 'time', updated: 'time', ended: 'time', duration: 'length of time', exit_code: 'number',
};
const STATES = ['running', 'finished', 'failed', 'crashed', 'killed'];
const BARE = /^[\w/:@%+$#*-]+(\.[\w/:@%+$#*-]+)*$/;

/** A config or summary entry as the filter writes it; keys with odd characters are quoted. */
export function entryName(table: 'config' | 'summary', key: string): string {
  return BARE.test(key) ? `${table}.${key}` : `${table}.${quoted(key)}`;
}

const TOKEN = /[(),]|[=!<>]+|(?:"(?:[^"\\]|\\.)*"|[^\s()=!<>,"])+/g;

/** What may stand at the caret of a filter expression. */
export function complete(source: string, caret: number, columns: Columns | null): Completions<WantedValue> {
  const before = source.slice(0, caret);
  const partial = /(?:"[^"]*|[\w./:@%+$#*-]*|[=!<>]+)$/.exec(before)?.[0] ?? '';
  const from = caret - partial.length;
  const { expected, target } = state(before.slice(0, from).match(TOKEN) ?? []);
  const list =
    expected === 'target' ? targets(columns)
    : expected === 'order' ? orders(target, columns)
    : expected === 'value' ? values(target, columns)
    : JOINTS;
  const wanted = expected === 'value' && columnOf(target, columns) !== undefined ? { key: plainName(target), prefix: partial.replace(/^"/, '') } : null;
  return { from, to: caret, list: ranked(list, partial), wanted };
}

function targets(columns: Columns | null): Completion[] {
  const fields = Object.entries(FIELDS).map(([text, note]) => ({ text, note }));
  if (columns === null) return fields;
  const entries = (table: 'config' | 'summary'): Completion[] =>
    columns[table].map(({ key, kinds, count }) => ({ text: entryName(table, key), note: `${kinds.join(', ')} in ${count} ${count === 1 ? 'run' : 'runs'}` }));
  return [...fields, ...entries('config'), ...entries('summary')];
}

function orders(target: string, columns: Columns | null): Completion[] {
  if (target === 'tags') return [{ text: 'has', note: 'has the tag' }];
  const column = columnOf(target, columns);
  const kind = FIELDS[target];
  const isText = kind === 'text' || (column !== undefined && column.kinds.every((name) => name === 'str'));
  return (isText ? TEXT_ORDERS : NUMBER_ORDERS).map((text) => ({ text, note: '' }));
}

function values(target: string, columns: Columns | null): Completion[] {
  if (columns === null) return [];
  if (target === 'state') return STATES.map((text) => ({ text: quoted(text), note: '' }));
  if (target === 'tags') return counted(columns.tags);
  if (target === 'group') return counted(columns.groups);
  const column = columnOf(target, columns);
  // The ends of the range at once, the values themselves when the server has told them.
  const ends = [column?.min, column?.max].filter((end): end is number => typeof end === 'number');
  return [...new Set(ends)].map((end, index) => ({ text: String(end), note: index === 0 ? 'the least' : 'the greatest' }));
}

function counted(list: readonly Count[]): Completion[] {
  return list.map(({ value, count }) => ({ text: quoted(value), note: `${count} ${count === 1 ? 'run' : 'runs'}` }));
}

function plainName(target: string): string {
  const [table, ...rest] = target.split('.');
  const key = rest.join('.');
  return `${table}.${key.startsWith('"') ? (JSON.parse(key) as string) : key}`;
}

function columnOf(target: string, columns: Columns | null) {
  const match = /^(config|summary)\.(.+)$/.exec(target);
  if (match === null || columns === null) return undefined;
  const key = match[2]!.startsWith('"') ? (JSON.parse(match[2]!) as string) : match[2]!;
  return columns[match[1] as 'config' | 'summary'].find((column) => column.key === key);
}
