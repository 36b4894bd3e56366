// The code of two runs side by side: what they kept of it, as one diff.

import { createTwoFilesPatch } from 'diff';
import { files as askFiles, fileText } from '../api/client';
import type { RunFile } from '../api/contract';
import { Queue } from '../api/queue';
import { isPatch } from '../run/diff';

/** What a run kept of its code. */
export interface KeptCode {
  files: RunFile[];
  /** The uncommitted changes; empty where there were none. */
  patch: string;
}

const CONTEXT_LINES = 3;
const MOST_FILES = 300;

export async function keptCode(run: string): Promise<KeptCode> {
  const files = await askFiles(run);
  const patch = files.find(isPatch);
  return { files: files.filter((file) => file.kind === 'code').slice(0, MOST_FILES), patch: patch === undefined ? '' : await fileText(run, patch.path) };
}

/** From the files of one run to those of another, as `git diff` would write it. */
export async function diffOfCode(before: { run: string; code: KeptCode }, after: { run: string; code: KeptCode }): Promise<string> {
  const old = new Map(before.code.files.map((file) => [file.path, file]));
  const fresh = new Map(after.code.files.map((file) => [file.path, file]));
  const queue = new Queue(4);
  const textOf = (run: string, file: RunFile | undefined): Promise<string> => (file === undefined ? Promise.resolve('') : queue.run(() => fileText(run, file.path)));
  const parts = [...new Set([...old.keys(), ...fresh.keys()])].sort().map(async (path) => {
    const [a, b] = [old.get(path), fresh.get(path)];
    if (a !== undefined && b !== undefined && a.digest !== '' && a.digest === b.digest) return '';
    return diffOfFile(path, await textOf(before.run, a), await textOf(after.run, b));
  });
  return (await Promise.all(parts)).join('');
}

/** The diff of one file; empty where nothing has changed. */
export function diffOfFile(path: string, before: string, after: string): string {
  if (before === after) return '';
  const patch = createTwoFilesPatch(`a/${path}`, `b/${path}`, before, after, undefined, undefined, { context: CONTEXT_LINES });
  return `diff --git a/${path} b/${path}\n${patch.slice(patch.indexOf('---'))}`;
}
