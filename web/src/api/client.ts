import type {
  Alert, Columns, ConsolePage, PanelSpec, Project, RunAction, RunDetail, RunFile, RunGroup, RunPage, RunPatch,
  SearchResult, Session, Value, View,
} from './contract';
import { restoreEntries, restoreNumbers } from './numbers';
import { decodePanel, type PanelData } from './panel';
import { Queue } from './queue';

const ROOT = '/api/v1';

/** What went wrong with a request, as a sentence for the person who sees it. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

let csrf = 'none';
let onUnauthorized: () => void = () => {};

/** Call back when the server no longer knows who is asking. */
export function whenUnauthorized(callback: () => void): void {
  onUnauthorized = callback;
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

export function sentence(error: unknown): string {
  if (error instanceof ApiError) return error.message;
  if (error instanceof TypeError) return 'The server does not answer. Is it still running?';
  return error instanceof Error ? error.message : String(error);
}

export async function request(method: string, path: string, body?: unknown, signal?: AbortSignal, headers: Record<string, string> = {}): Promise<Response> {
  if (method !== 'GET') headers['X-Trackkit-CSRF'] = csrf;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const response = await fetch(ROOT + path, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  });
  if (response.ok || response.status === 304) return response;
  if (response.status === 401 && path !== '/session') onUnauthorized();
  throw await errorOf(response);
}

async function errorOf(response: Response): Promise<ApiError> {
  try {
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    return new ApiError(response.status, error.code, error.message);
  } catch {
    return new ApiError(response.status, 'unknown', `The server answered ${response.status} ${response.statusText}.`);
  }
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await request('GET', path, undefined, signal)).json()) as T;
}

export async function send<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await request(method, path, body);
  const text = await response.text();
  return (text === '' ? null : JSON.parse(text)) as T;
}

export async function fetchText(path: string, signal?: AbortSignal, headers: Record<string, string> = {}): Promise<string> {
  return (await request('GET', path, undefined, signal, headers)).text();
}

type Params = Record<string, string | number | boolean | string[] | undefined>;

export function query(params: Params): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value === undefined || value === '') continue;
    for (const item of Array.isArray(value) ? value : [value]) search.append(name, String(item));
  }
  const text = search.toString();
  return text === '' ? '' : `?${text}`;
}

const name = encodeURIComponent;

// Session

export async function session(): Promise<Session> {
  return remember(await get<Session>('/session'));
}

export async function logIn(token: string): Promise<Session> {
  return remember(await send<Session>('POST', '/session', { token }));
}

export async function logOut(): Promise<void> {
  await send('DELETE', '/session');
}

function remember(answer: Session): Session {
  if (answer.csrf) csrf = answer.csrf;
  return answer;
}

// Projects and runs

export async function projects(signal?: AbortSignal): Promise<Project[]> {
  return (await get<{ projects: Project[] }>('/projects', signal)).projects;
}

export interface RunsQuery {
  project?: string | undefined;
  filter?: string | undefined;
  order?: string | undefined;
  limit?: number;
  offset?: number;
  columns?: string[];
}

export async function runs(options: RunsQuery, signal?: AbortSignal): Promise<RunPage> {
  const { columns = [], ...rest } = options;
  const page = await get<RunPage>(`/runs${query({ ...rest, columns: columns.join(',') })}`, signal);
  return { ...page, runs: page.runs.map((row) => ({ ...row, values: restoreEntries(row.values) })) };
}

export async function run(id: string, signal?: AbortSignal): Promise<RunDetail> {
  const { run: detail } = await get<{ run: RunDetail }>(`/runs/${name(id)}`, signal);
  const numbers = (key: RunDetail['keys']['metric'][number]) => ({
    ...key,
    last: restoreNumbers(key.last) as number,
    min: restoreNumbers(key.min) as number,
    max: restoreNumbers(key.max) as number,
  });
  return {
    ...detail,
    config: restoreEntries(detail.config),
    summary: restoreEntries(detail.summary),
    keys: { ...detail.keys, metric: detail.keys.metric.map(numbers), system: detail.keys.system.map(numbers) },
  };
}

export function columns(project: string, signal?: AbortSignal): Promise<Columns> {
  return get<Columns>(`/columns${query({ project })}`, signal);
}

/** Values of a config or summary entry that begin as given. */
export async function values(project: string, key: string, prefix: string, signal?: AbortSignal): Promise<Value[]> {
  const answer = await get<{ values: Value[] }>(`/values${query({ project, key, prefix, limit: 12 })}`, signal);
  return answer.values.map(restoreNumbers);
}

export async function groups(project: string, filter: string, by: string[], columns: string[], signal?: AbortSignal): Promise<RunGroup[]> {
  const path = `/groups${query({ project, filter, by: by.join(','), columns: columns.join(',') })}`;
  const answer = await get<{ groups: RunGroup[] }>(path, signal);
  return answer.groups.map((group) => ({ ...group, values: restoreEntries(group.values) }));
}

export function act(action: RunAction, ids: string[], tags: string[] = []): Promise<{ changed: string[] }> {
  return send('POST', '/runs/actions', { action, runs: ids, tags });
}

export function patchRun(id: string, patch: RunPatch): Promise<unknown> {
  return send('PATCH', `/runs/${name(id)}`, patch);
}

export function search(text: string, signal?: AbortSignal): Promise<SearchResult> {
  return get(`/search${query({ q: text, limit: 20 })}`, signal);
}

// What a run holds

export function consoleLines(id: string, after: string, signal?: AbortSignal): Promise<ConsolePage> {
  return get(`/runs/${name(id)}/console${query({ after, limit: 5000 })}`, signal);
}

export async function files(id: string, signal?: AbortSignal): Promise<RunFile[]> {
  return (await get<{ files: RunFile[] }>(`/runs/${name(id)}/files`, signal)).files;
}

export function fileAddress(id: string, path: string, inline = false): string {
  return `${ROOT}/runs/${name(id)}/files/${path.split('/').map(name).join('/')}${inline ? '?inline=1' : ''}`;
}

export async function fileText(id: string, path: string, signal?: AbortSignal): Promise<string> {
  const response = await request('GET', fileAddress(id, path, true).slice(ROOT.length), undefined, signal);
  return response.text();
}

export async function alerts(id: string, signal?: AbortSignal): Promise<Alert[]> {
  return (await get<{ alerts: Alert[] }>(`/runs/${name(id)}/alerts`, signal)).alerts;
}

// Charts

// Browsers open six connections to a host, of which one streams events: keep the rest from clogging.
const panelQueue = new Queue(4);
const panelCache = new Map<string, { etag: string; data: PanelData }>();
const PANELS_KEPT = 200;

/** The data of a chart. The server is asked whether it has changed; what has not is not sent again. */
export function panel(spec: PanelSpec, signal?: AbortSignal): Promise<PanelData> {
  return panelQueue.run(async () => {
    const path = `/panel?spec=${name(JSON.stringify(spec))}`;
    const known = panelCache.get(path);
    const response = await request('GET', path, undefined, signal, known === undefined ? {} : { 'If-None-Match': known.etag });
    if (response.status === 304 && known !== undefined) return known.data;
    const data = decodePanel(await response.arrayBuffer());
    panelCache.delete(path);
    panelCache.set(path, { etag: response.headers.get('ETag') ?? '', data });
    if (panelCache.size > PANELS_KEPT) panelCache.delete(panelCache.keys().next().value!);
    return data;
  }, signal);
}

// Saved views

export async function views(project: string, signal?: AbortSignal): Promise<View[]> {
  return (await get<{ views: View[] }>(`/views${query({ project })}`, signal)).views;
}

export function saveView(id: string, project: string, viewName: string, content: object): Promise<unknown> {
  return send('PUT', `/views/${name(id)}`, { project, name: viewName, content });
}

export function deleteView(id: string): Promise<void> {
  return send('DELETE', `/views/${name(id)}`);
}
