import { getContext, setContext } from 'svelte';
import type { PanelSpec } from '../api/contract';
import type { MediaKey } from '../api/media';
import type { PanelData } from '../api/panel';
import type { LineStyle } from '../charts/lines';
import type { Timeline } from '../charts/timeline';
import type { ChartRun } from './workspace.svelte';
import type { ChartSettings, Layout, Panel } from './layout';

/** Where panels stand: a project's page, a run's, or a comparison. It says whose data they show and how it looks. */
export interface Stage {
  readonly project: string;
  readonly runs: ChartRun[];
  readonly settings: ChartSettings;
  readonly layout: Layout;
  readonly metricKeys: string[];
  readonly mediaKeys: readonly MediaKey[];
  /** The config and summary entries there are, as `config.lr`. */
  readonly entries: string[];
  readonly filter: string;
  readonly highlight: string | null;
  /** Counts the news of the runs shown. */
  readonly news: number;
  /** The step that media are first shown at; null for the latest. */
  readonly step?: number | null;
  setHighlight(id: string | null): void;
  setLayout(layout: Layout): void;
  /** The selection of a panel's question; null while there is nothing to ask for. */
  selection(panel: Panel, settings: ChartSettings): Pick<PanelSpec, 'runs' | 'project' | 'filter' | 'order' | 'limit' | 'group'> | null;
  /** What happened along the x axis; null where that is not told. */
  timeline?(settings: ChartSettings): Timeline | null;
  /** How a line looks; null hides it. */
  style(series: PanelData['series'][number], panel: Panel, settings: ChartSettings): (LineStyle & { id: string }) | null;
}

const KEY = Symbol('stage');

export function provideStage(stage: Stage): Stage {
  return setContext(KEY, stage);
}

export function useStage(): Stage {
  return getContext(KEY);
}
