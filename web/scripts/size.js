// Fails when what a browser loads before it can draw passes the budget.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const BUDGET = 150 * 1024;
const root = new URL('../../trackkit/backend/server/dashboard/', import.meta.url).pathname;
const page = readFileSync(join(root, 'index.html'), 'utf8');
const initial = [...page.matchAll(/(?:src|href)="\/(assets\/[^"]+\.(?:js|css))"/g)].map((match) => match[1]);

let total = gzipSync(page).length;
for (const file of initial) {
  const size = gzipSync(readFileSync(join(root, file))).length;
  total += size;
  console.log(`${(size / 1024).toFixed(1).padStart(8)} KB gzipped  ${file}`);
}
console.log(`${(total / 1024).toFixed(1).padStart(8)} KB gzipped  initial load, of ${BUDGET / 1024} KB allowed`);
if (initial.length === 0) throw new Error('index.html names no asset: is the dashboard built?');
if (total > BUDGET) {
  console.error('The initial load passes its budget: load what is not on the first screen lazily.');
  process.exit(1);
}
