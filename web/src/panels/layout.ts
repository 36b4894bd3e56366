// Which panels a page shows and where: made from the metrics there are, and from what the person changed.

import type { SmoothingKind } from '../charts/smoothing';
import type { Band, Range } from '../api/contract';
import type { MediaKey, MediaKind } from '../api/media';
import type { TableLook } from '../tables/look';

export type PanelType = 'line' | 'scatter' | 'bar' | 'parallel' | 'importance' | 'comparer' | 'media' | 'histogram' | 'table' | 'markdown' | 'text';

/** How lines are drawn; a page has one, and a panel may differ in some of it. */
export interface ChartSettings {
  /** `step`, `relative`, `time`, or a metric's key. */
  x: string;
  smoothing: SmoothingKind;
  amount: number;
  raw: boolean;
  outliers: boolean;
  logX: boolean;
  logY: boolean;
  spread: boolean;
  band: Band;
  legend: string;
}

export const DEFAULT_SETTINGS: ChartSettings = {
  x: 'step', smoothing: 'none', amount: 0, raw: true, outliers: false, logX: false, logY: false, spread: true, band: 'std', legend: '{name}',
};

export interface Panel {
  id: string;
  type: PanelType;
  title?: string | undefined;
  section: string;
  /** Columns of the grid it spans, and height in pixels. */
  span: number;
  height: number;
  /** The metrics of a line panel; the columns of the others, as `config.lr`. */
  keys: string[];
  kind?: 'metric' | 'system' | undefined;
  settings?: Partial<ChartSettings> | undefined;
  range?: Range | null | undefined;
  yRange?: Range | undefined;
  text?: string | undefined;
  /** What a table shows, where that is not as usual. */
  table?: Partial<TableLook> | undefined;
  media?: MediaLook | undefined;
}

/** What a panel of media shows, and how. */
export interface MediaLook {
  kind?: MediaKind | undefined;
  /** Null follows the latest. */
  step?: number | null;
  /** The least width of a cell, in pixels. */
  size?: number;
  /** Overlays that are switched off, and the least scores of boxes. */
  hidden?: string[];
  least?: Record<string, number>;
  /** The run whose histograms are shown. */
  run?: string;
}

export interface Layout {
  panels: Record<string, Partial<Panel>>;
  added: Panel[];
  removed: string[];
  order: Record<string, string[]>;
  closed: string[];
  opened: string[];
}

export interface Section {
  name: string;
  panels: Panel[];
  open: boolean;
}

export const HEIGHT = 260;
export const OWN_SECTION = 'Panels';
const PLAIN_SECTION = 'Charts';
const MEDIA_SECTION = 'Media';
const MEDIA_HEIGHT = 340;
const TABLE_SECTION = 'Tables';
export const TABLE_HEIGHT = 480;
/** As wide as the page. */
export const TABLE_SPAN = 6;
/** Sections beyond this many panels start closed, so that a project with thousands of metrics opens at once. */
const OPEN_PANELS = 60;

export function emptyLayout(): Layout {
  return { panels: {}, added: [], removed: [], order: {}, closed: [], opened: [] };
}

/** What shows media of a kind; kinds that are left out get no panel by themselves. */
const PANELS_OF_KINDS: Partial<Record<MediaKind, PanelType>> = {
  image: 'media', audio: 'media', video: 'media', html: 'media', text: 'media', figure: 'media', plotly: 'media', object3d: 'media', molecule: 'media', graph: 'media', chart: 'media',
  histogram: 'histogram',
};
/** Kinds of which lists are logged, or that are wide. */
const WIDE_KINDS: readonly MediaKind[] = ['image', 'video'];

/** The section a metric's panel goes into: what stands before its first slash, or a reading's first dot. */
export function sectionOf(key: string, kind: 'metric' | 'system' = 'metric'): string {
  const end = key.indexOf(kind === 'metric' ? '/' : '.');
  return end > 0 ? key.slice(0, end) : PLAIN_SECTION;
}

/** The pattern of a search: a regular expression, or the text itself while it isn't one yet. */
export function pattern(search: string): RegExp {
  try {
    return new RegExp(search, 'i');
  } catch {
    return new RegExp(search.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'), 'i');
  }
}

/** The panel of a key of media, beside the charts that its prefix names or among its like; null for kinds that are shown elsewhere. */
export function mediaPanel({ key, kind }: Pick<MediaKey, 'key' | 'kind'>): Panel | null {
  if (kind === 'table') return { id: `table:${key}`, type: 'table', section: key.indexOf('/') > 0 ? sectionOf(key) : TABLE_SECTION, span: TABLE_SPAN, height: TABLE_HEIGHT, keys: [key] };
  const type = PANELS_OF_KINDS[kind];
  if (type === undefined) return null;
  const section = key.indexOf('/') > 0 ? sectionOf(key) : MEDIA_SECTION;
  return { id: `auto:${kind}:${key}`, type, section, span: WIDE_KINDS.includes(kind) ? 2 : 1, height: MEDIA_HEIGHT, keys: [key], media: { kind } };
}

/** The sections of a page, in order, with the panels that the search leaves. */
export function arrange(keys: readonly string[], layout: Layout, search = '', kind: 'metric' | 'system' = 'metric', media: readonly Pick<MediaKey, 'key' | 'kind'>[] = []): Section[] {
  const removed = new Set(layout.removed);
  const automatic = [
    ...keys.map((key): Panel => ({ id: `auto:${key}`, type: 'line', section: sectionOf(key, kind), span: 1, height: HEIGHT, keys: [key], kind })),
    ...media.map(mediaPanel).filter((panel) => panel !== null),
  ];
  const panels = [...layout.added, ...automatic.filter((panel) => !removed.has(panel.id))].map((panel) => ({ ...panel, ...layout.panels[panel.id] }));
  const wanted = pattern(search);
  const sections = new Map<string, Panel[]>();
  for (const panel of panels) {
    if (search !== '' && !wanted.test(titleOf(panel)) && !panel.keys.some((key) => wanted.test(key))) continue;
    const section = sections.get(panel.section);
    if (section === undefined) sections.set(panel.section, [panel]);
    else section.push(panel);
  }
  let before = 0;
  return [...sections]
    .sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b))
    .map(([name, members]) => {
      const open = search !== '' || (layout.opened.includes(name) || before < OPEN_PANELS) && !layout.closed.includes(name);
      before += members.length;
      return { name, panels: inOrder(members, layout.order[name] ?? []), open };
    });
}

function rank(section: string): number {
  return { [OWN_SECTION]: 0, [PLAIN_SECTION]: 1, [MEDIA_SECTION]: 2, [TABLE_SECTION]: 3 }[section] ?? 4;
}

function inOrder(panels: Panel[], order: readonly string[]): Panel[] {
  if (order.length === 0) return panels;
  const place = new Map(order.map((id, index) => [id, index]));
  // New panels come after those the person put in order.
  return panels
    .map((panel, index) => ({ panel, at: place.get(panel.id) ?? order.length + index }))
    .sort((a, b) => a.at - b.at)
    .map(({ panel }) => panel);
}

export function titleOf(panel: Panel): string {
  if (panel.title) return panel.title;
  const names = panel.keys.map((key) => key.replace(/^(config|summary)\./, ''));
  switch (panel.type) {
    case 'line': case 'media': case 'histogram': return panel.keys.join(', ');
    case 'scatter': return `${names[1] ?? '?'} by ${names[0] ?? '?'}`;
    case 'bar': return names[0] ?? 'Bars';
    case 'parallel': return 'Parallel coordinates';
    case 'importance': return `What matters for ${names[0] ?? '?'}`;
    case 'comparer': return 'Run comparer';
    case 'table': return panel.keys[0] ?? 'Table';
    case 'markdown': case 'text': return 'Notes';
  }
}

// Changes: each gives a new layout.

export function changePanel(layout: Layout, id: string, change: Partial<Panel>): Layout {
  const added = layout.added.find((panel) => panel.id === id);
  if (added !== undefined) return { ...layout, added: layout.added.map((panel) => (panel.id === id ? { ...panel, ...change } : panel)) };
  return { ...layout, panels: { ...layout.panels, [id]: { ...layout.panels[id], ...change } } };
}

/** Every panel shows all of its x axis again: a stretch of steps is none of hours. */
export function withoutRanges(layout: Layout): Layout {
  const panels = Object.fromEntries(Object.entries(layout.panels).map(([id, panel]) => [id, { ...panel, range: null }]));
  return { ...layout, panels, added: layout.added.map((panel) => ({ ...panel, range: null })) };
}

export function addPanel(layout: Layout, panel: Panel): Layout {
  return { ...layout, added: [panel, ...layout.added] };
}

export function removePanel(layout: Layout, id: string): Layout {
  if (layout.added.some((panel) => panel.id === id)) return { ...layout, added: layout.added.filter((panel) => panel.id !== id) };
  return { ...layout, removed: [...layout.removed, id] };
}

/** Put a panel before another of its section, or last where `before` is null. */
export function movePanel(layout: Layout, section: Section, id: string, before: string | null): Layout {
  const ids = section.panels.map((panel) => panel.id).filter((other) => other !== id);
  const at = before === null ? ids.length : ids.indexOf(before);
  ids.splice(at < 0 ? ids.length : at, 0, id);
  return { ...changePanel(layout, id, { section: section.name }), order: { ...layout.order, [section.name]: ids } };
}

export function toggleSection(layout: Layout, section: Section): Layout {
  const without = (names: string[]): string[] => names.filter((name) => name !== section.name);
  return section.open
    ? { ...layout, closed: [...without(layout.closed), section.name], opened: without(layout.opened) }
    : { ...layout, opened: [...without(layout.opened), section.name], closed: without(layout.closed) };
}

export function freshId(): string {
  return Math.random().toString(36).slice(2, 10);
}
