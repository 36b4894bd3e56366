// Artifacts: collections, their versions, files and lineage.

import { fetchText, get, query, send } from './client';
import type { RunState, Value } from './contract';

export interface Collection {
  project: string;
  name: string;
  type: string;
  description: string;
  created: number;
  updated: number;
  versions: number;
  size: number;
  latest: number | null;
  /** Of the newest version, as the two below. */
  aliases: string[];
  tags: string[];
  run: string;
  run_name: string;
}

export interface Version {
  id: string;
  project: string;
  name: string;
  type: string;
  number: number;
  digest: string;
  size: number;
  count: number;
  created: number;
  description: string;
  metadata: Record<string, Value>;
  aliases: string[];
  tags: string[];
  expires: number | null;
  run: string;
  run_name: string;
  /** The version it was linked from, as `project/name:v3`. */
  source: string;
  protected: string[];
}

export interface VersionPage {
  versions: Version[];
  protected: string[];
  done: boolean;
}

export interface Entry {
  path: string;
  size: number;
  digest: string;
  ref: string;
  checksum: string;
}

export interface FolderItem {
  name: string;
  count: number;
  size: number;
  /** Null for a folder. */
  entry: Entry | null;
}

export interface Folder {
  path: string;
  items: FolderItem[];
  count: number;
  size: number;
  done: boolean;
}

export interface Change {
  path: string;
  change: 'added' | 'removed' | 'changed';
  before: Entry | null;
  after: Entry | null;
}

export interface Difference {
  changes: Change[];
  added: number;
  removed: number;
  changed: number;
  unchanged: number;
  metadata: Record<string, [Value, Value]>;
}

export interface FileRows {
  columns: { name: string; type: string }[];
  rows: { number: number; cells: Value[] }[];
  matching: number;
  total: number;
}

export interface RunName {
  project: string;
  id: string;
  name: string;
  state: RunState;
}

export interface Move {
  alias: string;
  before: number | null;
  after: number | null;
  actor: string;
  time: number;
}

export interface Freed {
  blobs: number;
  bytes: number;
  exact: boolean;
}

export interface VersionPatch {
  description?: string;
  tags?: string[];
  aliases_added?: string[];
  aliases_removed?: string[];
}

export interface LineageRun {
  id: string;
  project: string;
  name: string;
  state: RunState;
  job_type: string;
  created: number;
}

export interface LineageEdge {
  source: string;
  target: string;
  kind: 'logged' | 'used' | 'linked';
}

export interface Lineage {
  start: string;
  runs: LineageRun[];
  artifacts: Version[];
  edges: LineageEdge[];
  complete: boolean;
}

const name = encodeURIComponent;
const pathOf = (path: string): string => path.split('/').map(name).join('/');

// Collections

export async function collections(project: string, signal?: AbortSignal): Promise<Collection[]> {
  return (await get<{ collections: Collection[] }>(`/artifacts${query({ project })}`, signal)).collections;
}

export async function collection(project: string, artifact: string, signal?: AbortSignal): Promise<Collection> {
  return (await get<{ collection: Collection }>(`/collections${query({ project, name: artifact })}`, signal)).collection;
}

export function describeCollection(project: string, artifact: string, description: string): Promise<unknown> {
  return send('PATCH', `/collections${query({ project, name: artifact })}`, { description });
}

export function deleteCollection(project: string, artifact: string): Promise<{ versions: number }> {
  return send('DELETE', `/collections${query({ project, name: artifact })}`);
}

export function freedByCollection(project: string, artifact: string): Promise<Freed> {
  return get(`/collections/freed${query({ project, name: artifact })}`);
}

export async function history(project: string, artifact: string, signal?: AbortSignal): Promise<Move[]> {
  return (await get<{ moves: Move[] }>(`/collections/history${query({ project, name: artifact })}`, signal)).moves;
}

// Versions

export interface VersionsQuery {
  project: string;
  name: string;
  before?: number | undefined;
  limit?: number;
  search?: string;
}

export function versions(options: VersionsQuery, signal?: AbortSignal): Promise<VersionPage> {
  return get(`/artifacts/versions${query({ ...options })}`, signal);
}

/** The version a reference such as `project/name:v3` means. */
export async function findVersion(reference: string, signal?: AbortSignal): Promise<Version> {
  return (await get<{ version: Version }>(`/artifacts/find${query({ reference })}`, signal)).version;
}

export async function patchVersion(id: string, patch: VersionPatch): Promise<Version> {
  return (await send<{ version: Version }>('PATCH', `/artifacts/${name(id)}`, patch)).version;
}

/** Have an alias mean a version; `protect` says whether administrators alone may move it from now on. */
export async function setAlias(id: string, alias: string, protect?: boolean): Promise<Version> {
  const body = protect === undefined ? {} : { protected: protect };
  return (await send<{ version: Version }>('PUT', `/artifacts/${name(id)}/aliases/${name(alias)}`, body)).version;
}

export async function dropAlias(id: string, alias: string): Promise<Version> {
  return (await send<{ version: Version }>('DELETE', `/artifacts/${name(id)}/aliases/${name(alias)}`)).version;
}

export async function linkVersion(id: string, project: string, artifact: string, aliases: string[]): Promise<Version> {
  return (await send<{ version: Version }>('POST', `/artifacts/${name(id)}/link`, { project, name: artifact, aliases })).version;
}

export function deleteVersion(id: string): Promise<void> {
  return send('DELETE', `/artifacts/${name(id)}${query({ aliases: true })}`);
}

export function freedByVersion(id: string): Promise<Freed> {
  return get(`/artifacts/${name(id)}/freed`);
}

export function runsOf(id: string, signal?: AbortSignal): Promise<{ logged_by: RunName | null; used_by: RunName[] }> {
  return get(`/artifacts/${name(id)}/runs`, signal);
}

// Files of a version

export function folder(id: string, path: string, after = '', signal?: AbortSignal): Promise<Folder> {
  return get(`/artifacts/${name(id)}/folder${query({ path, after, limit: 500 })}`, signal);
}

export function contentAddress(id: string, path: string, inline = false): string {
  return `/api/v1/artifacts/${name(id)}/content/${pathOf(path)}${inline ? '?inline=1' : ''}`;
}

export function archiveAddress(id: string): string {
  return `/api/v1/artifacts/${name(id)}/archive`;
}

/** The first bytes of a file as text. */
export function fileStart(id: string, path: string, size: number, most: number, signal?: AbortSignal): Promise<string> {
  const headers: Record<string, string> = size > most ? { Range: `bytes=0-${most - 1}` } : {};
  return fetchText(`/artifacts/${name(id)}/content/${pathOf(path)}`, signal, headers);
}

export function fileRows(id: string, path: string, options: { sort: string; search: string; offset: number; limit: number }, signal?: AbortSignal): Promise<FileRows> {
  return get(`/artifacts/${name(id)}/rows/${pathOf(path)}${query(options)}`, signal);
}

export function difference(before: string, after: string, limit: number, signal?: AbortSignal): Promise<Difference> {
  return get(`/artifacts/${name(before)}/diff/${name(after)}${query({ limit })}`, signal);
}

// What runs made and used

export function artifactsOfRun(run: string, signal?: AbortSignal): Promise<{ logged: Version[]; used: Version[] }> {
  return get(`/runs/${name(run)}/artifacts`, signal);
}

/** The runs and artifacts around a run or a version, up to `depth` edges away. */
export function lineage(start: { kind: 'run' | 'artifact'; id: string }, depth: number, limit: number, signal?: AbortSignal): Promise<Lineage> {
  const path = start.kind === 'run' ? `/runs/${name(start.id)}/lineage` : `/artifacts/${name(start.id)}/lineage`;
  return get(`${path}${query({ depth, limit })}`, signal);
}
