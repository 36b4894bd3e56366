import { get, query } from './client';
import type { RunState } from './contract';
import { Queue } from './queue';

/** A table: under a key of a run, at a step or the last one; or a file of an artifact's version. */
export interface TableReference {
  run?: string;
  key?: string;
  step?: number | null;
  version?: string;
  path?: string;
}

export type ColumnKind = 'number' | 'text' | 'bool' | 'time' | 'json' | 'binary' | (string & {});

export interface TableColumn {
  name: string;
  type: ColumnKind;
}

export interface TableInfo {
  run: string;
  key: string;
  version: string;
  path: string;
  step: number | null;
  log_mode: string;
  increments: number;
  rows: number;
  columns: TableColumn[];
  steps: number[];
}

/** What a cell of media holds. */
export interface MediaCell {
  kind: string;
  digest: string;
  path: string;
  size: number;
  metadata: Record<string, unknown>;
}

export type Cell = null | boolean | number | string | MediaCell | MediaCell[];

export interface TableRow {
  number: number;
  cells: Cell[];
}

export interface RowsQuery {
  columns: string[];
  sort: string[];
  filter: string;
  search: string;
}

export interface Aggregate {
  column: string;
  function: AggregateFunction;
}

export type AggregateFunction = 'count' | 'distinct' | 'mean' | 'sum' | 'min' | 'max' | 'median' | 'std';

export interface TableGroup {
  values: Cell[];
  count: number;
  aggregates: Cell[];
}

export interface Distribution {
  name: string;
  type: ColumnKind;
  rows: number;
  missing: number;
  nan: number;
  distinct: number | null;
  /** Of bins, in numbers or seconds since the epoch; without any, `values` has what is most frequent. */
  edges: number[];
  counts: number[];
  values: { value: Cell; count: number }[];
}

export interface ComparedSide {
  number: number;
  cells: Cell[];
  /** Places in `cells` that differ from the first side's. */
  changed: number[];
}

export interface ComparedRow {
  key: Cell[];
  sides: (ComparedSide | null)[];
}

export interface Comparison {
  columns: string[];
  total: number;
  same: number;
  missing: number;
  rows: ComparedRow[];
}

/** A run that logged a table. */
export interface TableRun {
  id: string;
  name: string;
  state: RunState;
  project: string;
  last_step: number;
  steps: number;
}


type RunSelection = { runs: string[] } | { project: string; filter?: string; limit: number };

// Browsers open six connections to a host, which charts share: no table takes them all.
const queue = new Queue(3);

function ask<T>(path: string, spec: object, signal?: AbortSignal): Promise<T> {
  return queue.run(() => get<T>(`${path}${query({ spec: JSON.stringify(spec) })}`, signal), signal);
}

export async function tableRuns(selection: RunSelection, key: string, signal?: AbortSignal): Promise<TableRun[]> {
  return (await ask<{ runs: TableRun[] }>('/tables/runs', { ...selection, key }, signal)).runs;
}

export function tableInfo(table: TableReference, signal?: AbortSignal): Promise<TableInfo> {
  return ask('/tables', table, signal);
}

export function tableRows(table: TableReference, rows: RowsQuery, offset: number, limit: number, signal?: AbortSignal): Promise<{ columns: string[]; matching: number; rows: TableRow[] }> {
  return ask('/tables/rows', { ...table, ...rows, offset, limit }, signal);
}

export function tableGroups(table: TableReference, spec: { by: string[]; aggregates: Aggregate[]; sort: string; filter: string; search: string }, offset: number, limit: number, signal?: AbortSignal): Promise<{ groups: TableGroup[]; total: number }> {
  return ask('/tables/groups', { ...table, ...spec, offset, limit }, signal);
}

export async function tableDistributions(table: TableReference, columns: string[], bins: number, narrowed: { filter: string; search: string }, signal?: AbortSignal): Promise<Distribution[]> {
  return (await ask<{ columns: Distribution[] }>('/tables/distributions', { ...table, ...narrowed, columns, bins }, signal)).columns;
}

export function tableRow(table: TableReference, number: number, signal?: AbortSignal): Promise<{ columns: string[]; row: TableRow }> {
  return ask('/tables/row', { ...table, number }, signal);
}

export function tableComparison(sides: TableReference[], spec: { on: string[]; filter: string; changed: boolean }, offset: number, limit: number, signal?: AbortSignal): Promise<Comparison> {
  return ask('/tables/comparison', { sides, ...spec, offset, limit }, signal);
}

/** Where rows or groups can be taken along from. */
export function exportAddress(table: TableReference, spec: { columns?: string[]; sort: string[]; by?: string[]; aggregates?: Aggregate[]; filter: string; search: string; format: 'csv' | 'parquet' }): string {
  return `/api/v1/tables/export${query({ spec: JSON.stringify({ ...table, ...spec }) })}`;
}

/** Where the content of a cell lies: a run knows it by its digest, an artifact by its path. */
export function cellAddress(table: TableReference, cell: MediaCell): string {
  if (table.version) return `/api/v1/artifacts/${table.version}/content/${cell.path.split('/').map(encodeURIComponent).join('/')}?inline=1`;
  return `/api/v1/runs/${encodeURIComponent(table.run ?? '')}/content/${cell.digest}?inline=1`;
}

// Tables in artifacts

export interface ArtifactName {
  project: string;
  name: string;
  type: string;
}

export interface ArtifactVersion {
  id: string;
  name: string;
  number: number;
  aliases: string[];
}

export async function artifactNames(project: string, signal?: AbortSignal): Promise<ArtifactName[]> {
  return (await get<{ collections: ArtifactName[] }>(`/artifacts${query({ project })}`, signal)).collections;
}

export async function artifactVersions(project: string, name: string, signal?: AbortSignal): Promise<ArtifactVersion[]> {
  return (await get<{ versions: ArtifactVersion[] }>(`/artifacts/versions${query({ project, name })}`, signal)).versions;
}

export async function artifactTables(version: string, signal?: AbortSignal): Promise<string[]> {
  return (await get<{ entries: { path: string }[] }>(`/artifacts/${version}/entries${query({ suffix: '.parquet' })}`, signal)).entries.map(({ path }) => path);
}
