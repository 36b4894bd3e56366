// What the server answers with, as documented in its OpenAPI description. Times are seconds since the epoch.

export type RunState = 'running' | 'finished' | 'failed' | 'crashed' | 'killed';

/** A config or summary value; numbers JSON can't hold have been mapped back by the client. */
export type Value = null | boolean | number | string | Value[] | { [key: string]: Value };

export interface Session {
  authenticated: boolean;
  auth_required: boolean;
  name: string;
  scope: 'read' | 'write' | 'admin';
  projects: string[] | null;
  csrf: string;
  version: string;
  store: string;
}

export interface Project {
  name: string;
  runs: number;
  running: number;
  updated: number;
  /** Runs created on each of the last 30 days, oldest first. */
  sparkline: number[];
}

export interface RunRow {
  id: string;
  project: string;
  name: string;
  state: RunState;
  group: string;
  job_type: string;
  notes: string;
  tags: string[];
  created: number;
  updated: number;
  ended: number | null;
  exit_code: number | null;
  /** The first line in a list, all of it in a run's own answer. */
  error: string;
  host: string;
  values: Record<string, Value>;
}

export interface RunPage {
  total: number;
  version: number;
  runs: RunRow[];
}

export interface EntryColumn {
  key: string;
  count: number;
  kinds: string[];
  min: number | null;
  max: number | null;
}

export interface MetricColumn {
  key: string;
  runs: number;
}

export interface Count {
  value: string;
  count: number;
}

export interface Columns {
  config: EntryColumn[];
  summary: EntryColumn[];
  metrics: MetricColumn[];
  tags: Count[];
  groups: Count[];
}

export interface Aggregate {
  count: number;
  mean: number;
  min: number;
  max: number;
  std: number;
}

export interface RunGroup {
  values: Record<string, Value>;
  count: number;
  running: number;
  aggregates: Record<string, Aggregate>;
}

export type RunAction = 'stop' | 'delete' | 'restore' | 'tag' | 'untag' | 'move';

export interface Writer {
  id: string;
  role: string;
  label: string;
  host: string;
  pid: number;
  state: string;
  started: number | null;
  ended: number | null;
  accounting: Record<string, Value>;
}

export interface SeriesKey {
  key: string;
  count: number;
  last: number;
  min: number;
  max: number;
  last_step: number | null;
}

export interface RunDetail extends RunRow {
  config: Record<string, Value>;
  summary: Record<string, Value>;
  metadata: Record<string, Value>;
  stop_requested: boolean;
  writers: Writer[];
  metrics: { name: string; step_metric: string | null; summary: Value; goal: string | null; hidden: boolean }[];
  keys: { metric: SeriesKey[]; system: SeriesKey[]; text: string[] };
  version: number;
}

export interface RunPatch {
  name?: string;
  notes?: string;
  tags?: string[];
  group?: string;
  job_type?: string;
}

export interface ConsoleLine {
  time: number;
  stream: string;
  writer: string;
  text: string;
}

export interface ConsolePage {
  lines: ConsoleLine[];
  cursor: string;
  done: boolean;
}

export interface RunFile {
  path: string;
  kind: string;
  key: string;
  size: number;
  digest: string;
  time: number;
  step: number | null;
  metadata: Record<string, Value>;
}

export interface Alert {
  time: number;
  level: string;
  title: string;
  text: string;
}

export interface SearchResult {
  projects: string[];
  runs: { id: string; name: string; project: string; state: RunState; created: number }[];
  artifacts: { project: string; name: string; type: string; updated: number }[];
}

export interface View {
  id: string;
  name: string;
  project: string;
  created: number;
  updated: number;
  content: Record<string, unknown>;
}

/** A stretch of an axis; an end that is null is where the data ends. */
export type Range = [number | null, number | null];

export type PanelStat = 'mean' | 'min' | 'max' | 'last';
export type Band = 'std' | 'sem' | 'minmax';

/** One question for the data of a chart: series of some runs on one grid of buckets. */
export interface PanelSpec {
  runs?: string[];
  project?: string;
  filter?: string;
  order?: string;
  limit?: number;
  keys: string[];
  kind: 'metric' | 'system';
  /** `step`, `time`, `relative`, or `metric:KEY`. */
  x: string;
  /** How wide the buckets are: all alike, or each wider than the one before by the same factor. */
  scale: 'linear' | 'log';
  range: Range | null;
  buckets: number;
  stats: PanelStat[];
  group: { by: string[]; band: Band } | null;
}

export interface PanelSeriesHeader {
  run: string | null;
  key: string;
  name: string;
  group: Record<string, Value> | null;
  runs?: number;
  points: number;
  arrays: Record<string, number>;
}

export interface PanelHeader {
  /** Which array holds the place of every bucket, and how wide a bucket is: 0 where the points stand for themselves. */
  x: { array: number; width: number };
  series: PanelSeriesHeader[];
  arrays: number;
  length: number;
  version: number;
}

export interface RunHint {
  run: string;
  project: string;
  version: number;
  state: RunState;
}
