import { expect, test } from 'vitest';
import { parseDiff } from './diff';

const DIFF = `diff --git a/train.py b/train.py
index 1..2 100644
--- a/train.py
+++ b/train.py
@@ -1,3 +1,3 @@
 import torch
-lr = 0.1
+lr = 0.01
 
@@ -10 +10,2 @@ def main():
 pass
+--- not a header
diff --git a/new.py b/new.py
new file mode 100644
--- /dev/null
+++ b/new.py
@@ -0,0 +1 @@
+x = 1
\\ No newline at end of file
`;

test('a diff has its files with their lines and numbers', () => {
  const [train, fresh] = parseDiff(DIFF);

  expect(train).toMatchObject({ path: 'train.py', added: 2, removed: 1 });
  expect(train!.lines[2]).toEqual({ kind: 'removed', text: 'lr = 0.1', before: 2, after: null });
  expect(train!.lines[3]).toEqual({ kind: 'added', text: 'lr = 0.01', before: null, after: 2 });
  expect(train!.lines.at(-1)).toMatchObject({ kind: 'added', text: '--- not a header', after: 11 });
  expect(fresh).toMatchObject({ path: 'new.py', added: 1, removed: 0 });
});

test('a text that is no diff has no files', () => {
  expect(parseDiff('hello\nworld')).toEqual([]);
});
