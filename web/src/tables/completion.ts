import type { TableColumn } from '../api/tables';
import { JOINTS, NUMBER_ORDERS, ranked, state, TEXT_ORDERS, type Completion, type Completions } from '../text/expressions';
import { columnTerm, isMedia } from './cells';

/** A column whose values may stand at the caret, and how the value begins. */
export interface WantedValue {
  column: TableColumn;
  prefix: string;
}

// A quote that is not closed yet reaches to the caret.
const TOKEN = /[(),]|[=!<>]+|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|`(?:[^`\\]|\\.)*`?|[^\s()=!<>,"'`]+/g;
const CLOSED = /^(["'`]).*\1$/s;

/** What may stand at the caret of a filter of rows. */
export function complete(source: string, caret: number, columns: readonly TableColumn[]): Completions<WantedValue> {
  const tokens = [...source.slice(0, caret).matchAll(TOKEN)];
  const last = tokens.at(-1);
  const text = last?.[0] ?? '';
  const typing = last !== undefined && last.index + text.length === caret && !/^[(),]$/.test(text) && !(CLOSED.test(text) && text.length > 1);
  const partial = typing ? text : '';
  const { expected, target } = state((typing ? tokens.slice(0, -1) : tokens).map(([token]) => token));
  const column = columnOf(target, columns);
  const list =
    expected === 'target' ? columns.filter(({ type }) => type !== 'binary').map(({ name, type }) => ({ text: columnTerm(name), note: type }))
    : expected === 'order' ? orders(column)
    : expected === 'joint' ? JOINTS
    : column?.type === 'bool' ? [{ text: 'true', note: '' }, { text: 'false', note: '' }]
    : [];
  const wanted = expected === 'value' && column !== undefined && (column.type === 'text' || column.type === 'number') ? { column, prefix: partial.replace(/^["']/, '') } : null;
  return { from: caret - partial.length, to: caret, list: ranked(list, partial), wanted };
}

function orders(column: TableColumn | undefined): Completion[] {
  const nulls = { text: 'is null', note: 'has no value' };
  if (column === undefined) return [];
  if (isMedia(column.type)) return [nulls, { text: 'is not null', note: 'has a value' }];
  const names = column.type === 'text' || column.type === 'json' ? TEXT_ORDERS : column.type === 'bool' ? ['=', '!='] : [...NUMBER_ORDERS, 'in'];
  return [...names.map((text) => ({ text, note: '' })), nulls];
}

function columnOf(target: string, columns: readonly TableColumn[]): TableColumn | undefined {
  return columns.find(({ name }) => name === target || columnTerm(name) === target);
}
