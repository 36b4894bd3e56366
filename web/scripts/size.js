// Fails when what a browser loads before it can draw a page passes the budget.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const BUDGET = 150 * 1024;
const PAGES = ['Project', 'Run', 'Compare', 'Artifacts', 'Artifact'];
const root = new URL('../../trackkit/backend/server/dashboard/', import.meta.url).pathname;
const files = readdirSync(join(root, 'assets'));
const page = readFileSync(join(root, 'index.html'), 'utf8');
const shell = [...page.matchAll(/(?:src|href)="\/assets\/([^"]+\.(?:js|css))"/g)].map((match) => match[1]);
if (shell.length === 0) throw new Error('index.html names no asset: is the dashboard built?');

/** A script with all it imports before it runs, and their styles. */
function closure(file, found = new Set()) {
  if (found.has(file)) return found;
  found.add(file);
  if (!file.endsWith('.js')) return found;
  const style = files.find((other) => other.endsWith('.css') && nameOf(other) === nameOf(file));
  if (style) found.add(style);
  const code = readFileSync(join(root, 'assets', file), 'utf8');
  for (const match of code.matchAll(/(?:from|import)\s*["`']\.\/([^"`']+\.js)["`']/g)) closure(match[1], found);
  return found;
}

function nameOf(file) {
  return file.replace(/-[\w-]{8}\.\w+$/, '');
}

let worst = 0;
for (const name of PAGES) {
  const entry = files.find((file) => file.endsWith('.js') && nameOf(file) === name);
  if (entry === undefined) throw new Error(`the page ${name} has no script of its own`);
  const loaded = new Set([...shell, ...closure(entry)]);
  const size = gzipSync(page).length + [...loaded].reduce((sum, file) => sum + gzipSync(readFileSync(join(root, 'assets', file))).length, 0);
  worst = Math.max(worst, size);
  console.log(`${(size / 1024).toFixed(1).padStart(8)} KB gzipped before the page ${name} draws, of ${BUDGET / 1024} KB allowed`);
}
if (worst > BUDGET) {
  console.error('The first load passes its budget: load what is not on the first screen lazily.');
  process.exit(1);
}
