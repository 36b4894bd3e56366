import type { Columns } from '../api/contract';

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
}

const FIELDS: Record<string, string> = {
  name: 'text', id: 'text', state: 'text', tags: 'tags', group: 'text', job_type: 'text', notes: 'text', host: 'text',
  created: 'time', updated: 'time', ended: 'time', duration: 'length of time', exit_code: 'number',
};
const ORDERS = ['=', '!=', '<', '<=', '>', '>='];
const TEXT_ORDERS = ['=', '!=', 'like', 'matches', 'in', 'not in'];
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
  return { from, to: caret, list: ranked(list, partial) };
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
  const texts = (list: readonly string[], note = ''): Completion[] => list.map((text) => ({ text: quoted(text), note }));
  if (target === 'state') return texts(columns.states.length ? columns.states : ['running', 'finished', 'failed', 'crashed', 'killed']);
  if (target === 'tags') return columns.tags.map(({ tag, count }) => ({ text: quoted(tag), note: `${count} runs` }));
  if (target === 'group') return texts(columns.groups);
  const column = columnOf(target, columns);
  if (column === undefined) return [];
  const note = column.min !== null && column.max !== null ? `${column.min} to ${column.max}` : '';
  return column.examples.map((value) => ({ text: typeof value === 'string' ? quoted(value) : JSON.stringify(value), note }));
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
