// A line chart in uPlot's words.

import type uPlot from 'uplot';
import { token } from '../app/theme.svelte';
import type { Range } from '../api/contract';
import type { ChartSettings } from '../panels/layout';
import { formatBytes, formatDuration, formatNumber } from '../text/format';
import type { Drawing } from './lines';
import { fade } from './palette';
import { drawTimeline, type Timeline } from './timeline';
import { extent, extentWithoutOutliers, padded } from './ranges';

export interface ChartShape {
  drawing: Drawing;
  settings: ChartSettings;
  /** The ends of the y axis. */
  y: [number, number];
  timeline: Timeline | null;
  dark: boolean;
}

interface Handlers {
  onmove: (plot: uPlot, own: boolean) => void;
  onzoom: (range: [number, number] | null) => void;
}

const FEW_POINTS = 40;
const BYTE_DIGITS = 4;
/** Round sizes: 1, 2, 5 and so on of every binary unit. */
const BYTE_STEPS = [0, 1, 2, 3, 4].flatMap((power) => [1, 2, 5, 10, 20, 50, 100, 200, 500].map((step) => step * 1024 ** power));
/** Round lengths of time, in seconds. */
const TIME_STEPS = [0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 604_800];

/** uPlot's columns: x, then for each line its raw values (or nothing) and its values. */
export function chartData({ x, lines }: Drawing): uPlot.AlignedData {
  const nothing = new Array<null>(x.length).fill(null);
  return [x, ...lines.flatMap((line) => [line.raw ?? nothing, line.values])];
}

export function chartOptions(shape: () => ChartShape, width: number, height: number, handlers: Handlers): uPlot.Options {
  const { drawing, settings } = shape();
  const ink = token('--ink-faint');
  const grid = { stroke: token('--grid'), width: 1 };
  const font = `11px ${token('--font')}`;
  const tell = teller(drawing.lines[0]?.key ?? '');
  return {
    width,
    height,
    padding: [8, 24, 0, 0],
    legend: { show: false },
    focus: { alpha: 1 },
    cursor: {
      // Charts share where the pointer is, not what is dragged: a zoom is one chart's.
      sync: { key: `trackkit:${settings.x}`, filters: { pub: isHover, sub: isHover } },
      drag: { x: true, y: false, setScale: false },
      points: { size: 7, width: 1.5 },
      bind: {
        dblclick: () => () => {
          handlers.onzoom(null);
          return null;
        },
      },
    },
    scales: {
      x: { time: settings.x === 'time', distr: settings.logX ? 3 : 1, range: (_, low, high) => xRange(low, high, settings.logX) },
      y: { distr: settings.logY ? 3 : 1, range: () => shape().y },
    },
    axes: [
      { stroke: ink, grid, ticks: { show: false }, font, size: 26, gap: 4, ...(settings.x === 'relative' ? { incrs: TIME_STEPS } : {}), ...(settings.x === 'time' ? {} : { values: (_, ticks) => ticks.map((tick) => xTick(tick, settings.x)) }) },
      { stroke: ink, grid, ticks: { show: false }, font, size: axisWidth, gap: 4, ...(isBytes(drawing.lines[0]?.key ?? '') ? { incrs: BYTE_STEPS } : {}), values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : tell(tick))) },
    ],
    series: [{}, ...drawing.lines.flatMap((line): uPlot.Series[] => [
      { stroke: line.color, width: 1, alpha: 0.28, spanGaps: true, points: { show: false } },
      { stroke: line.color, width: 1.6, dash: line.dash, spanGaps: true, label: line.label, points: { show: (plot, index) => isSparse(plot.data[index]!), size: 5, fill: line.color, stroke: line.color } },
    ])],
    hooks: {
      setSelect: [
        (plot) => {
          if (plot.select.width < 4) return;
          handlers.onzoom([plot.posToVal(plot.select.left, 'x'), plot.posToVal(plot.select.left + plot.select.width, 'x')]);
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
      // A cursor moved by another chart comes without a pointer event of this one.
      setCursor: [(plot) => handlers.onmove(plot, plot.cursor.event !== undefined && plot.cursor.event !== null)],
      drawAxes: [
        (plot) => {
          const { drawing, timeline } = shape();
          if (timeline !== null) drawTimeline(plot, timeline, token);
          drawBands(plot, drawing);
        },
      ],
    },
  };
}

function isHover(type: string): boolean {
  return type === 'mousemove' || type === 'mouseleave';
}

function xRange(low: number | null, high: number | null, logarithmic: boolean): [number, number] {
  if (low === null || high === null) return logarithmic ? [1, 10] : [0, 1];
  if (low === high) return logarithmic ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
  return logarithmic && low <= 0 ? [Math.min(1, high / 10), high] : [low, high];
}

/** The y range: what was asked for, and otherwise what there is to see, bands included. */
export function yRangeOf({ drawing, settings, yRange }: { drawing: Drawing; settings: ChartSettings; yRange?: Range | undefined }): [number, number] {
  const values = drawing.lines.flatMap((line) => [line.values, line.raw]).filter((array) => array !== null);
  const bands = drawing.lines.flatMap((line) => [line.low, line.high]).filter((array) => array !== null);
  const found = settings.outliers ? extentWithoutOutliers(values, settings.logY) : extent([...values, ...bands], settings.logY);
  const [low, high] = padded(found ?? (settings.logY ? [0.1, 1] : [0, 1]), settings.logY);
  const [wantedLow, wantedHigh] = yRange ?? [null, null];
  const range: [number, number] = [wantedLow ?? low, wantedHigh ?? high];
  return range[0] < range[1] && !(settings.logY && range[0] <= 0) ? range : [low, high];
}

function xTick(tick: number, x: string): string {
  return x === 'relative' ? formatDuration(tick) : Math.abs(tick) >= 10_000 && x === 'step' ? shortened(tick) : formatNumber(tick, 6);
}

function shortened(tick: number): string {
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['k', 1e3]] as const) {
    if (Math.abs(tick) >= size) return `${Number((tick / size).toPrecision(6))}${unit}`;
  }
  return String(tick);
}

/** Wide enough for the longest label, and no narrower than before, so that the plot does not jump. */
const axisWidth: uPlot.Axis.Size = (plot, values, axis, cycle) => {
  const known = (plot.axes[axis] as { _size?: number })._size ?? 0;
  if (cycle > 1) return known;
  const longest = (values ?? []).reduce((most, value) => Math.max(most, value.length), 0);
  return Math.max(36, Math.ceil(longest * 6.4) + 12);
};

function isSparse(values: ArrayLike<number | null | undefined>): boolean {
  let count = 0;
  for (let i = 0; i < values.length && count <= FEW_POINTS; i++) if (values[i] !== null && values[i] !== undefined) count++;
  return count <= FEW_POINTS;
}

/** Fill between the least and the greatest of each bucket, or of each group, behind the lines. */
function drawBands(plot: uPlot, drawing: Drawing): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const px = drawing.x.map(placer(plot, 'x'));
  const py = placer(plot, 'y');
  drawing.lines.forEach((line, index) => {
    if (line.low === null || line.high === null) return;
    const visible = (plot.series[index * 2 + 2]?.alpha ?? 1) > 0.5;
    ctx.fillStyle = fade(line.color, visible ? 0.16 : 0.04);
    for (const [from, to] of filledStretches(line.low, line.high)) {
      ctx.beginPath();
      for (let i = from; i <= to; i++) ctx.lineTo(px[i]!, py(line.high[i] ?? 0));
      for (let i = to; i >= from; i--) ctx.lineTo(px[i]!, py(line.low[i] ?? 0));
      ctx.fill();
    }
  });
  ctx.restore();
}

/** Places values of a scale on the canvas. A linear one takes a product and a sum, a tenth of what asking uPlot takes. */
function placer(plot: uPlot, name: 'x' | 'y'): (value: number) => number {
  const { min, max, distr } = plot.scales[name]!;
  if (distr === 3 || typeof min !== 'number' || typeof max !== 'number' || max <= min) return (value) => plot.valToPos(value, name, true);
  const first = plot.valToPos(min, name, true);
  const slope = (plot.valToPos(max, name, true) - first) / (max - min);
  return (value) => first + (value - min) * slope;
}

/** The stretches in which both bounds are known, as first and last index. */
export function filledStretches(low: readonly (number | null)[], high: readonly (number | null)[]): [number, number][] {
  const out: [number, number][] = [];
  let from = -1;
  for (let i = 0; i <= low.length; i++) {
    const known = i < low.length && low[i] !== null && high[i] !== null;
    if (known && from < 0) from = i;
    if (!known && from >= 0) {
      out.push([from, i - 1]);
      from = -1;
    }
  }
  return out;
}

function isBytes(key: string): boolean {
  return /bytes(_per_second)?$/.test(key);
}

/** How values of a metric are told: readings whose name says that they are bytes, as such. */
export function teller(key: string): (value: number) => string {
  if (/bytes_per_second$/.test(key)) return (value) => `${formatBytes(value, BYTE_DIGITS)}/s`;
  if (/bytes$/.test(key)) return (value) => formatBytes(value, BYTE_DIGITS);
  return (value) => formatNumber(value, 6);
}

/** A place on the x axis in words. */
export function formatX(value: number, settings: Pick<ChartSettings, 'x'>): string {
  if (settings.x === 'time') return new Date(value * 1000).toLocaleString();
  if (settings.x === 'relative') return formatDuration(value);
  return `${settings.x === 'step' ? 'Step' : settings.x} ${formatNumber(value, 6)}`;
}
