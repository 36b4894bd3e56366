import type { Columns, Count, Value } from '../api/contract';

export interface Completion {
  text: string;
  /** What it is, beside it in the list. */
  note: string;
}

export interface Completions {
  /** Where in the expression the chosen text goes. */
  from: number;
  to: number;
  list: Completion[];
  /** The entry whose values may stand here, and how the value begins: the server knows them. */
  wanted: { key: string; prefix: string } | null;
}

const FIELDS: Record<string, string> = {
  name: 'text', id: 'text', state: 'text', tags: 'tags', group: 'text', job_type: 'text', notes: 'text', host: 'text',
  created: 'time', updated: 'time', ended: 'time', duration: 'length of time', exit_code: 'number',
};
const ORDERS = ['=', '!=', '<', '<=', '>', '>='];
const TEXT_ORDERS = ['=', '!=', 'like', 'matches', 'in', 'not in'];
const STATES = ['running', 'finished', 'failed', 'crashed', 'killed'];
const MOST = 12;
const BARE = /^[\w/:@%+$#*-]+(\.[\w/:@%+$#*-]+)*$/;

/** A config or summary entry as the filter writes it; keys with odd characters are quoted. */
export function entryName(table: 'config' | 'summary', key: string): string {
  return BARE.test(key) ? `${table}.${key}` : `${table}.${quoted(key)}`;
}

export function quoted(text: string): string {
  return JSON.stringify(text);
}

const TOKEN = /[(),]|[=!<>]+|(?:"(?:[^"\\]|\\.)*"|[^\s()=!<>,"])+/g;

/** What may stand at the caret of a filter expression. */
export function complete(source: string, caret: number, columns: Columns | null): Completions {
  const before = source.slice(0, caret);
  const partial = /(?:"[^"]*|[\w./:@%+$#*-]*|[=!<>]+)$/.exec(before)?.[0] ?? '';
  const from = caret - partial.length;
  const { expected, target } = state(before.slice(0, from).match(TOKEN) ?? []);
  const list =
    expected === 'target' ? targets(columns)
    : expected === 'order' ? orders(target, columns)
    : expected === 'value' ? values(target, columns)
    : [{ text: 'and', note: 'both' }, { text: 'or', note: 'either' }];
  const wanted = expected === 'value' && columnOf(target, columns) !== undefined ? { key: plainName(target), prefix: partial.replace(/^"/, '') } : null;
  return { from, to: caret, list: ranked(list, partial), wanted };
}

/** What comes after some tokens, and the target whose condition is being written. */
function state(tokens: readonly string[]): { expected: 'target' | 'order' | 'value' | 'joint'; target: string } {
  let expected: 'target' | 'order' | 'value' | 'joint' = 'target';
  let target = '';
  let listed = false;
  for (const token of tokens) {
    const word = token.toLowerCase();
    if (expected === 'target') {
      if (word === 'not' || word === '(') continue;
      target = token;
      expected = 'order';
    } else if (expected === 'order') {
      if (word === 'not' || word === 'is') continue;
      expected = 'value';
    } else if (expected === 'value') {
      if (word === '(') listed = true;
      else if (!listed) expected = 'joint';
      else if (word === ')') {
        listed = false;
        expected = 'joint';
      }
    } else if (word === 'and' || word === 'or') expected = 'target';
  }
  return { expected, target };
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
  return (isText ? TEXT_ORDERS : ORDERS).map((text) => ({ text, note: '' }));
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

/** The completions with the values of the entry among them. */
export function withValues(completions: Completions, values: readonly Value[]): Completions {
  const known = values.map((value) => ({ text: typeof value === 'string' ? quoted(value) : JSON.stringify(value), note: '' }));
  return { ...completions, list: [...known, ...completions.list.filter(({ text }) => !known.some((other) => other.text === text))].slice(0, MOST) };
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

/** Those that begin so first, then those that contain it. */
function ranked(list: Completion[], partial: string): Completion[] {
  const wanted = partial.toLowerCase();
  const begin = list.filter(({ text }) => text.toLowerCase().startsWith(wanted));
  const contain = list.filter(({ text }) => !text.toLowerCase().startsWith(wanted) && text.toLowerCase().includes(wanted));
  return [...begin, ...contain].filter(({ text }) => text !== partial).slice(0, MOST);
}
