// From a panel's data to what a line chart draws.

import type { PanelData } from '../api/panel';
import type { ChartSettings } from '../panels/layout';
import { smooth } from './smoothing';

export interface LineStyle {
  color: string;
  label: string;
  dash: number[];
}

export interface Line extends LineStyle {
  /** What hovering and hiding go by: a run's id, or a group's name. */
  id: string;
  key: string;
  values: (number | null)[];
  /** The line before smoothing, drawn faintly; null where it is the line itself. */
  raw: (number | null)[] | null;
  low: (number | null)[] | null;
  high: (number | null)[] | null;
}

export interface Drawing {
  x: number[];
  lines: Line[];
}

const DASHES = [[], [6, 4], [2, 3], [10, 4, 2, 4]];

/** The dash of the nth metric of a chart, by which it is told from the others of the same run. */
export function dashOf(index: number): number[] {
  return DASHES[index % DASHES.length]!;
}

/** The lines of a panel, smoothed, with what a logarithmic axis can't show left out. */
export function draw(data: PanelData, settings: ChartSettings, styleOf: (series: PanelData['series'][number]) => (LineStyle & { id: string }) | null): Drawing {
  const lines: Line[] = [];
  for (const series of data.series) {
    const style = styleOf(series);
    if (style === null) continue;
    const smoothed = settings.smoothing !== 'none' && settings.amount > 0;
    const values = smoothed ? smooth(settings.smoothing, settings.amount, data.x, series.mean) : series.mean;
    const banded = settings.spread && (series.run === null || (!smoothed && isSpread(series)));
    lines.push({
      ...style,
      key: series.key,
      values: gapped(values, settings.logY),
      raw: smoothed && settings.raw ? gapped(series.mean, settings.logY) : null,
      low: banded && series.low ? gapped(series.low, settings.logY) : null,
      high: banded && series.high ? gapped(series.high, settings.logY) : null,
    });
  }
  return { x: Array.from(data.x), lines };
}

/** Whether any bucket holds more than one value, so that there is a spread to show. */
function isSpread(series: PanelData['series'][number]): boolean {
  if (series.low === null || series.high === null) return false;
  for (let i = 0; i < series.low.length; i++) if (series.high[i]! > series.low[i]!) return true;
  return false;
}

/** uPlot takes null for a gap. */
function gapped(values: ArrayLike<number>, logarithmic: boolean): (number | null)[] {
  return Array.from(values, (value) => (Number.isFinite(value) && !(logarithmic && value <= 0) ? value : null));
}

/** The value of a line nearest to a place on the x axis, unless it is further away than `reach`. */
export function valueNear(x: readonly number[], values: readonly (number | null)[], index: number, reach: number): number | null {
  const at = x[index];
  if (at === undefined) return null;
  if (values[index] !== null && values[index] !== undefined) return values[index]!;
  for (let offset = 1; offset < x.length; offset++) {
    const left = index - offset;
    const right = index + offset;
    const leftNear = left >= 0 && at - x[left]! <= reach;
    const rightNear = right < x.length && x[right]! - at <= reach;
    if (leftNear && values[left] != null) return values[left]!;
    if (rightNear && values[right] != null) return values[right]!;
    if (!leftNear && !rightNear) return null;
  }
  return null;
}

/** The chart's data as CSV: one row for each place on the x axis. */
export function drawingCsv({ x, lines }: Drawing, xName: string): string {
  const head = [xName, ...lines.map((line) => line.label)].map(csvCell).join(',');
  const rows = x.map((at, index) => [at, ...lines.map((line) => line.values[index] ?? '')].join(','));
  return [head, ...rows].join('\n') + '\n';
}

/** A cell of CSV; text a spreadsheet would take for a formula is made harmless. */
export function csvCell(value: unknown): string {
  if (typeof value === 'number') return String(value);
  let text = value === null || value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value);
  if (/^[=+\-@\t]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
