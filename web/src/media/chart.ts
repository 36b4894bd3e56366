// The charts of `trackkit.plot` as Vega-Lite specifications.

import { PALETTE } from '../charts/palette';

/** What is kept of a chart: columns, and which of them is what. */
export interface ChartContent {
  type: string;
  title?: string;
  fields: Record<string, string>;
  data: Record<string, (number | string | boolean | null)[]>;
  spec?: Record<string, unknown>;
  texts?: Record<string, string>;
  areas?: Record<string, number>;
  averages?: Record<string, number>;
  classes?: string[];
}

export interface Spec extends Record<string, unknown> {
  title?: unknown;
}

type Row = Record<string, unknown>;

/** What Vega is to draw, in which language, and whether its size may be set. */
export interface Drawable {
  language: 'vega' | 'vega-lite';
  spec: Spec;
  /** Charts of charts have sizes of their own. */
  resizable: boolean;
}

/**
 * The specification of a chart; `free` lets it be zoomed and moved about.
 *
 * Throws an Error in a sentence where a chart is of no known type.
 */
export function drawable(chart: ChartContent, free: boolean): Drawable {
  if (chart.type === 'vega') return ofSpec(chart);
  const make = MAKERS[chart.type];
  if (make === undefined) throw new Error(`This chart is of a type that is not known here: ${chart.type}.`);
  const spec: Spec = { $schema: 'https://vega.github.io/schema/vega-lite/v6.json', data: { values: rowsOf(chart) }, ...make(chart, free) };
  if (chart.title) spec.title = chart.title;
  return { language: 'vega-lite', spec, resizable: true };
}

/** Rows with the fields' roles as names: columns may be called whatever they like, and dots mean something to Vega. */
function rowsOf({ fields, data }: ChartContent): Row[] {
  const columns = Object.entries(fields).map(([role, column]) => [role, data[column] ?? []] as const);
  const length = Math.max(0, ...columns.map(([, values]) => values.length));
  return Array.from({ length }, (_, row) => Object.fromEntries(columns.map(([role, values]) => [role, values[row] ?? null])));
}

type Maker = (chart: ChartContent, free: boolean) => Record<string, unknown>;

const MAKERS: Record<string, Maker> = {
  line: (chart, free) => lines(chart, free),
  line_series: (chart, free) => lines(chart, free),
  scatter: (chart, free) => ({ mark: { type: 'point', filled: true, size: 36, opacity: 0.8 }, params: moved(free), encoding: { x: quantity('x', chart, { scale: { zero: false } }), y: quantity('y', chart, { scale: { zero: false } }), tooltip: told(chart, ['x', 'y']) } }),
  bar: (chart) => ({ mark: { type: 'bar', cornerRadiusEnd: 2 }, encoding: { x: { field: 'label', type: 'nominal', sort: null, title: chart.fields.label, axis: { labelAngle: 0, labelOverlap: true } }, y: quantity('value', chart), tooltip: told(chart, ['label', 'value']) } }),
  histogram: (chart) => ({ mark: { type: 'bar', cornerRadiusEnd: 2 }, encoding: { x: { field: 'value', type: 'quantitative', bin: { maxbins: 40 }, title: chart.fields.value }, y: { aggregate: 'count', type: 'quantitative', title: 'count' }, tooltip: [{ field: 'value', type: 'quantitative', bin: { maxbins: 40 }, title: chart.fields.value }, { aggregate: 'count', type: 'quantitative', title: 'count' }] } }),
  roc: (chart, free) => curves(chart, free, chart.areas, 'area', [{ x: 0, y: 0 }, { x: 1, y: 1 }]),
  pr: (chart, free) => curves(chart, free, chart.averages, 'average precision', null),
  confusion_matrix: confusionMatrix,
};

function lines(chart: ChartContent, free: boolean): Record<string, unknown> {
  const stroke = chart.fields.stroke;
  return {
    params: [...(stroke ? [LEGEND] : []), ...moved(free)],
    mark: { type: 'line', point: { size: 16 }, strokeWidth: 1.8 },
    encoding: { x: quantity('x', chart, { scale: { zero: false } }), y: quantity('y', chart, { scale: { zero: false } }), ...(stroke ? { color: { field: 'stroke', type: 'nominal', title: stroke, sort: null }, opacity: CHOSEN } : {}), tooltip: told(chart, ['stroke', 'x', 'y']) },
  };
}

function curves(chart: ChartContent, free: boolean, scores: Record<string, number> | undefined, meaning: string, chance: Row[] | null): Record<string, unknown> {
  const names = Object.fromEntries(Object.entries(scores ?? {}).map(([name, score]) => [name, `${name} (${meaning} ${Number(score).toFixed(3)})`]));
  const encoding = {
    x: quantity('x', chart, { scale: { domain: [0, 1] } }),
    y: quantity('y', chart, { scale: { domain: [0, 1] } }),
    color: { field: 'stroke', type: 'nominal', title: null, sort: null, legend: { labelExpr: `${JSON.stringify(names)}[datum.label] || datum.label`, labelLimit: 260 } },
    opacity: CHOSEN,
    tooltip: told(chart, ['stroke', 'x', 'y']),
  };
  const curve = { params: [LEGEND, ...moved(free)], mark: { type: 'line', point: { size: 10 }, strokeWidth: 1.8 }, encoding };
  if (chance === null) return curve;
  return { layer: [{ data: { values: chance }, mark: { type: 'line', strokeDash: [4, 4], color: '#8a93a0', strokeWidth: 1 }, encoding: { x: { field: 'x', type: 'quantitative' }, y: { field: 'y', type: 'quantitative' } } }, curve] };
}

function confusionMatrix({ classes, fields }: ChartContent): Record<string, unknown> {
  const order = classes ?? null;
  const place = { x: { field: 'predicted', type: 'nominal', sort: order, title: 'predicted', axis: { labelAngle: 0, labelOverlap: true } }, y: { field: 'actual', type: 'nominal', sort: order, title: 'actual' } };
  const count = fields.value ?? 'count';
  const many = (classes?.length ?? 0) > 20;
  return {
    // The share of an actual class tells more than a count where classes differ in size.
    transform: [{ joinaggregate: [{ op: 'sum', field: 'value', as: 'whole' }], groupby: ['actual'] }, { calculate: 'datum.whole > 0 ? datum.value / datum.whole : 0', as: 'share' }],
    encoding: { ...place, tooltip: [{ field: 'actual', title: 'actual' }, { field: 'predicted', title: 'predicted' }, { field: 'value', title: count }, { field: 'share', title: 'of actual', format: '.1%' }] },
    layer: [
      { mark: { type: 'rect' }, encoding: { color: { field: 'share', type: 'quantitative', title: 'of actual', scale: { domain: [0, 1], scheme: 'blues' }, legend: { format: '.0%' } } } },
      ...(many ? [] : [{ mark: { type: 'text' }, encoding: { text: { field: 'value', type: 'quantitative' }, color: { condition: { test: 'datum.share > 0.5', value: '#ffffff' }, value: '#1b222c' } } }]),
    ],
  };
}

/** A click on the legend brings one line out. */
const LEGEND = { name: 'line', select: { type: 'point', fields: ['stroke'] }, bind: 'legend' };
const CHOSEN = { condition: { param: 'line', value: 1 }, value: 0.15 };

function moved(free: boolean): Record<string, unknown>[] {
  return free ? [{ name: 'view', select: 'interval', bind: 'scales' }] : [];
}

function quantity(role: string, chart: ChartContent, more: Record<string, unknown> = {}): Record<string, unknown> {
  const values = chart.data[chart.fields[role] ?? ''] ?? [];
  const type = values.every((value) => value === null || typeof value === 'number') ? 'quantitative' : 'nominal';
  return type === 'nominal' ? { field: role, type, sort: null, title: chart.fields[role] } : { field: role, type, title: chart.fields[role], ...more };
}

function told(chart: ChartContent, roles: string[]): Record<string, unknown>[] {
  return roles.filter((role) => chart.fields[role] !== undefined).map((role) => ({ field: role, title: chart.fields[role] }));
}

// Specifications of the person's own

function ofSpec(chart: ChartContent): Drawable {
  const filled = fill(chart.spec ?? {}, chart) as Spec;
  const language = String(filled.$schema ?? '').includes('/vega/') ? 'vega' : 'vega-lite';
  const columns = Object.entries(chart.data);
  const length = Math.max(0, ...columns.map(([, values]) => values.length));
  const values = Array.from({ length }, (_, row) => Object.fromEntries(columns.map(([name, column]) => [name, column[row] ?? null])));
  if (language === 'vega') {
    const data = Array.isArray(filled.data) ? (filled.data as Row[]) : [];
    return { language, spec: { ...filled, data: data.map((source, index) => (index === 0 && source.values === undefined && source.source === undefined ? { ...without(source, 'url'), values } : source)) }, resizable: false };
  }
  const own = filled.data as Row | undefined;
  const spec: Spec = { ...filled, ...(own?.values === undefined ? { data: { ...(own?.name === undefined ? {} : { name: own.name }), values } } : {}) };
  const composed = ['facet', 'repeat', 'concat', 'hconcat', 'vconcat'].some((name) => name in spec) || hasFacet(spec);
  return { language, spec, resizable: !composed && spec.width === undefined && spec.height === undefined };
}

function hasFacet(spec: Spec): boolean {
  const encoding = (spec.encoding ?? {}) as Row;
  return 'row' in encoding || 'column' in encoding || 'facet' in encoding;
}

function without(row: Row, name: string): Row {
  return Object.fromEntries(Object.entries(row).filter(([other]) => other !== name));
}

/** `${field:role}` and `${string:name}` in a specification stand for a column and a text. */
function fill(part: unknown, chart: ChartContent): unknown {
  if (typeof part === 'string') {
    return part.replaceAll(/\$\{(field|string):([^}:]+)(?::([^}]*))?\}/g, (_, kind: string, name: string, usual?: string) =>
      kind === 'field' ? escaped(chart.fields[name] ?? name) : (chart.texts?.[name] ?? usual ?? ''));
  }
  if (Array.isArray(part)) return part.map((each) => fill(each, chart));
  if (part !== null && typeof part === 'object') return Object.fromEntries(Object.entries(part).map(([name, value]) => [name, fill(value, chart)]));
  return part;
}

/** In a field's name, dots and brackets would lead into an object. */
function escaped(name: string): string {
  return name.replaceAll(/[.[\]\\]/g, '\\$&');
}

/** How charts look in the dashboard's own inks. */
export function chartTheme(ink: (token: string) => string): Record<string, unknown> {
  const axis = { labelColor: ink('--ink-faint'), titleColor: ink('--ink-soft'), gridColor: ink('--grid'), domainColor: ink('--line'), tickColor: ink('--line'), titleFontWeight: 'normal', labelFontSize: 11, titleFontSize: 11 };
  return {
    background: 'transparent',
    font: ink('--font'),
    view: { stroke: null },
    axis,
    legend: { labelColor: ink('--ink-soft'), titleColor: ink('--ink-soft'), titleFontWeight: 'normal', labelFontSize: 11, orient: 'bottom', symbolType: 'stroke' },
    header: { labelColor: ink('--ink-soft'), titleColor: ink('--ink-soft') },
    title: { color: ink('--ink'), fontSize: 13, fontWeight: 600, anchor: 'start' },
    text: { color: ink('--ink') },
    range: { category: [...PALETTE] },
    mark: { color: PALETTE[0] },
  };
}
