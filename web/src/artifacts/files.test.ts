import { describe, expect, it, vi } from 'vitest';
import type { Collection } from '../api/artifacts';
import { byType, isSought } from './collections';
import { foldersOf, isText, previewOf, wholeLines } from './files';
import { parseReference, referencePath } from './reference';

// The router reads the browser's address.
vi.hoisted(() => {
  vi.stubGlobal('location', { pathname: '/', search: '', hash: '' });
  vi.stubGlobal('addEventListener', () => {});
});

describe('files', () => {
  it('knows how to show a file by its name', () => {
    expect(['a/b.PNG', 'x.tsv', 'm.parquet', 'README.md', 'conf.json', 'train.py', 'Makefile', 'model.pt', 'noext'].map(previewOf)).toEqual([
      'image', 'csv', 'parquet', 'markdown', 'json', 'text', 'text', 'none', 'none',
    ]);
    expect([isText('a.csv'), isText('a.png')]).toEqual([true, false]);
  });

  it('cuts a text that is not whole at a line', () => {
    expect(wholeLines('a\nb\nc', false)).toBe('a\nb\n');
    expect(wholeLines('a\nb\nc', true)).toBe('a\nb\nc');
    expect(wholeLines('one long line', false)).toBe('one long line');
  });

  it('tells the folders of a path from the outermost on', () => {
    expect(foldersOf('a/b/c.txt')).toEqual(['a', 'a/b']);
    expect(foldersOf('c.txt')).toEqual([]);
  });
});

describe('collections', () => {
  const one = (name: string, type: string, more: Partial<Collection> = {}): Collection => ({
    project: 'p', name, type, description: '', created: 0, updated: 0, versions: 1, size: 0, latest: 0, aliases: [], tags: [], run: '', run_name: '', ...more,
  });

  it('stand by type, and keep their order within', () => {
    const sections = byType([one('b', 'model'), one('c', 'dataset'), one('a', 'model')]);
    expect(sections.map((section) => [section.type, section.rows.map((row) => row.name)])).toEqual([['dataset', ['c']], ['model', ['b', 'a']]]);
  });

  it('are found by name, alias, tag and run', () => {
    const row = one('digits', 'model', { aliases: ['Best'], tags: ['clean'], run_name: 'resnet-3' });
    expect(['DIG', 'best', 'clean', 'resnet', ' digits '].map((text) => isSought(row, text))).toEqual([true, true, true, true, true]);
    expect(isSought(row, 'nowhere')).toBe(false);
  });
});

describe('references', () => {
  it('are read and become addresses', () => {
    expect(parseReference('p/digits:v3')).toEqual({ project: 'p', name: 'digits', version: 'v3' });
    expect(parseReference('digits:v3')).toBeNull();
    expect(referencePath('a b/digits:v3')).toBe('/projects/a%20b/artifacts/digits/v3');
  });
});
