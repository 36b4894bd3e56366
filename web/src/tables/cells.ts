// Cells as people read them, and as filters name them.

import type { Cell, ColumnKind, MediaCell } from '../api/tables';
import { formatBytes, formatCount, formatNumber } from '../text/format';

const PLAIN = new Set<ColumnKind>(['number', 'text', 'bool', 'time', 'json', 'binary']);

export function isMedia(kind: ColumnKind): boolean {
  return !PLAIN.has(kind);
}

/** The media a cell holds: one, several, or none. */
export function mediaOf(cell: Cell | undefined): MediaCell[] {
  if (cell === null || typeof cell !== 'object') return [];
  return Array.isArray(cell) ? cell : [cell];
}

/** A cell on one line. */
export function cellText(cell: Cell | undefined, kind: ColumnKind): string {
  if (cell === null || cell === undefined) return '';
  if (typeof cell === 'number') return numberText(cell);
  if (typeof cell === 'boolean') return cell ? 'true' : 'false';
  if (typeof cell === 'object') return mediaOf(cell).map(({ kind: media, size }) => `${media}, ${formatBytes(size)}`).join('; ');
  if (kind === 'time') return timeText(cell);
  if (kind === 'number') return cell === 'Infinity' ? '∞' : cell === '-Infinity' ? '−∞' : cell.replace('-', '−');
  return cell;
}

/** Whole numbers in full, since they may be names; others in five digits, or to the hundredth where they are large. */
export function numberText(value: number): string {
  const size = Math.abs(value);
  if ((Number.isInteger(value) && size < 1e15) || (size >= 1e4 && size < 1e9)) return formatCount(size < 1e9 ? Math.round(value * 100) / 100 : value).replace('-', '−');
  return formatNumber(value, 5);
}

/** The whole cell, with every digit, for a title or the clipboard. */
export function exactCell(cell: Cell | undefined): string {
  if (cell === null || cell === undefined) return 'no value';
  return typeof cell === 'object' ? mediaOf(cell).map(({ path }) => path).join('; ') : String(cell);
}

/** ISO 8601 without what nobody reads: the T, and zeros at the end. */
export function timeText(iso: string): string {
  return iso.replace('T', ' ').replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, '').replace(/ 00:00:00$/, '');
}

/** A bin's edge: a number, or seconds since the epoch. */
export function edgeText(edge: number, kind: ColumnKind): string {
  return kind === 'time' ? timeText(new Date(edge * 1000).toISOString().replace('Z', '')) : formatNumber(edge);
}

const WORDS = new Set(['and', 'or', 'not', 'in', 'is', 'like', 'matches', 'has', 'true', 'false', 'null', 'none', 'inf', 'infinity', 'nan']);
const PLAIN_NAME = /^[\p{L}_][\p{L}\p{N}_]*$/u;

/** A column's name as a filter writes it: as it is, or in backticks. */
export function columnTerm(name: string): string {
  return PLAIN_NAME.test(name) && !WORDS.has(name.toLowerCase()) ? name : `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
}

/** The filter that is true of rows with this cell; null where there is none. */
export function condition(name: string, kind: ColumnKind, cell: Cell): string | null {
  const term = columnTerm(name);
  if (cell === null) return `${term} is null`;
  if (typeof cell === 'object' || isMedia(kind) || kind === 'binary') return null;
  if (kind === 'number' && cell === 'NaN') return `${term} is nan`;
  if (kind === 'number') return `${term} = ${String(cell).replace('Infinity', 'inf')}`;
  return `${term} = ${JSON.stringify(cell)}`;
}

/** A filter that wants both. */
export function narrowed(filter: string, more: string): string {
  if (filter.trim() === '') return more;
  return / or /i.test(filter) ? `(${filter}) and ${more}` : `${filter} and ${more}`;
}
