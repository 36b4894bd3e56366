import { expect, test } from 'vitest';
import { parseDiff } from '../run/diff';
import { diffOfFile } from './code';

test('the diff of a file is one the page can show', () => {
  const [file] = parseDiff(diffOfFile('src/train.py', 'a\nb\nc\n', 'a\nB\nc\nd\n'));
  expect(file?.path).toBe('src/train.py');
  expect([file?.added, file?.removed]).toEqual([2, 1]);
});

test('a file that only one run has is added or removed as a whole', () => {
  expect(parseDiff(diffOfFile('new.py', '', 'x\ny\n'))[0]).toMatchObject({ added: 2, removed: 0 });
  expect(parseDiff(diffOfFile('old.py', 'x\n', ''))[0]).toMatchObject({ path: 'old.py', added: 0, removed: 1 });
});

test('files that are the same leave no trace', () => {
  expect(diffOfFile('same.py', 'a\n', 'a\n')).toBe('');
});
