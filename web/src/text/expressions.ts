// Expressions of filters as they are typed: what stands before the caret, and what may stand there.

export interface Completion {
  text: string;
  /** What it is, beside it in the list. */
  note: string;
}

export interface Completions<Wanted = unknown> {
  /** Where in the expression the chosen text goes. */
  from: number;
  to: number;
  list: Completion[];
  /** Whose values may stand here, and how the value begins: the server knows them. */
  wanted: Wanted | null;
}

export type Expected = 'target' | 'order' | 'value' | 'joint';

export const NUMBER_ORDERS = ['=', '!=', '<', '<=', '>', '>='];
export const TEXT_ORDERS = ['=', '!=', 'like', 'matches', 'in', 'not in'];
export const JOINTS: Completion[] = [{ text: 'and', note: 'both' }, { text: 'or', note: 'either' }];
export const MOST_COMPLETIONS = 12;

/** What comes after some tokens, and the target whose condition is being written. */
export function state(tokens: readonly string[]): { expected: Expected; target: string } {
  let expected: Expected = 'target';
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

export function quoted(text: string): string {
  return JSON.stringify(text);
}

/** The completions with values that the server told among them. */
export function withValues<Wanted>(completions: Completions<Wanted>, values: readonly unknown[]): Completions<Wanted> {
  const known = values.map((value) => ({ text: typeof value === 'string' ? quoted(value) : JSON.stringify(value), note: '' }));
  return { ...completions, list: [...known, ...completions.list.filter(({ text }) => !known.some((other) => other.text === text))].slice(0, MOST_COMPLETIONS) };
}

/** Those that begin so first, then those that contain it. */
export function ranked(list: Completion[], partial: string): Completion[] {
  const wanted = partial.toLowerCase();
  const begin = list.filter(({ text }) => text.toLowerCase().startsWith(wanted));
  const contain = list.filter(({ text }) => !text.toLowerCase().startsWith(wanted) && text.toLowerCase().includes(wanted));
  return [...begin, ...contain].filter(({ text }) => text !== partial).slice(0, MOST_COMPLETIONS);
}
