// Files of artifacts: what they are, and how they can be looked at.

export type Preview = 'image' | 'audio' | 'video' | 'text' | 'json' | 'csv' | 'parquet' | 'markdown' | 'none';

const SUFFIXES: Record<Exclude<Preview, 'none'>, string> = {
  image: 'png jpg jpeg gif webp bmp svg',
  audio: 'wav mp3 flac ogg m4a',
  video: 'mp4 webm',
  json: 'json ipynb geojson',
  csv: 'csv tsv',
  parquet: 'parquet',
  markdown: 'md markdown',
  text: 'txt log py patch diff yaml yml toml cfg ini sh js ts c h cpp hpp cu rs go java rb r sql xml html htm css tex rst jsonl ndjson proto pdb sdf mol mol2 cif obj env lock dockerfile makefile gitignore',
};
const BY_SUFFIX = new Map(Object.entries(SUFFIXES).flatMap(([preview, suffixes]) => suffixes.split(' ').map((suffix) => [suffix, preview as Preview])));

/** How a file can be looked at, by its name. */
export function previewOf(path: string): Preview {
  const name = path.slice(path.lastIndexOf('/') + 1).toLowerCase();
  return BY_SUFFIX.get(name.slice(name.lastIndexOf('.') + 1)) ?? 'none';
}

/** Whether two versions of a file can be compared line by line. */
export function isText(path: string): boolean {
  return ['text', 'json', 'csv', 'markdown'].includes(previewOf(path));
}

/** A text without its last line, unless all of it is there. */
export function wholeLines(text: string, isWhole: boolean): string {
  return isWhole || !text.includes('\n') ? text : text.slice(0, text.lastIndexOf('\n') + 1);
}

/** The folders a path lies in, the outermost first. */
export function foldersOf(path: string): string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}
