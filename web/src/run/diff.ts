// A unified diff, as `git diff` writes it.

export interface DiffLine {
  kind: 'same' | 'added' | 'removed' | 'hunk';
  text: string;
  before: number | null;
  after: number | null;
}

export interface DiffFile {
  path: string;
  added: number;
  removed: number;
  lines: DiffLine[];
}

/** Whether a file kept with a run is a patch, such as that of the uncommitted changes. */
export function isPatch(file: { kind: string; path: string }): boolean {
  return file.kind === 'diff' || /\.(patch|diff)$/.test(file.path);
}

export function parseDiff(text: string): DiffFile[] {
  const files: DiffFile[] = [];
  let file: DiffFile | null = null;
  let before = 0;
  let after = 0;
  let left = { before: 0, after: 0 };
  for (const line of text.split('\n')) {
    const inHunk = left.before > 0 || left.after > 0;
    if (!inHunk && line.startsWith('diff --git ')) {
      file = { path: / b\/(.+)$/.exec(line)?.[1] ?? line.slice(11), added: 0, removed: 0, lines: [] };
      files.push(file);
      continue;
    }
    if (!inHunk && line.startsWith('+++ ')) {
      const path = line.slice(4).replace(/^b\//, '').replace(/\t.*$/, '');
      if (file === null || (file.lines.length > 0 && file.path !== path)) files.push((file = { path, added: 0, removed: 0, lines: [] }));
      else if (path !== '/dev/null') file.path = path;
      continue;
    }
    const hunk = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/.exec(line);
    if (file !== null && hunk !== null) {
      before = Number(hunk[1]);
      after = Number(hunk[3]);
      left = { before: Number(hunk[2] ?? 1), after: Number(hunk[4] ?? 1) };
      file.lines.push({ kind: 'hunk', text: line, before: null, after: null });
    } else if (file !== null && inHunk) {
      if (line.startsWith('+')) {
        file.lines.push({ kind: 'added', text: line.slice(1), before: null, after: after++ });
        file.added++;
        left.after--;
      } else if (line.startsWith('-')) {
        file.lines.push({ kind: 'removed', text: line.slice(1), before: before++, after: null });
        file.removed++;
        left.before--;
      } else if (!line.startsWith('\\')) {
        file.lines.push({ kind: 'same', text: line.slice(1), before: before++, after: after++ });
        left.before--;
        left.after--;
      }
    }
  }
  return files;
}
