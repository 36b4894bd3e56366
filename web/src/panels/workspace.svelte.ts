import { getContext, setContext } from 'svelte';
import { SvelteSet } from 'svelte/reactivity';
import { act, columns as askColumns, isAbort, patchRun, runs, sentence } from '../api/client';
import type { Columns, RunAction, RunHint, RunPatch, RunRow } from '../api/contract';
import { account } from '../app/session.svelte';
import { toasts } from '../app/toasts.svelte';
import { legend, legendColumns } from '../charts/legend';
import type { ColorBox } from '../charts/palette';
import { rememberColors, rememberedColors } from '../charts/rememberedColors';
import { isEntry, usualColumns } from '../runs/columns';
import { GroupList } from '../runs/groups.svelte';
import { RunList, type ListQuery } from '../runs/list.svelte';
import { plural } from '../text/format';
import { complete, defaultLook, type Look } from './look';

export interface ChartRun {
  id: string;
  name: string;
  color: string;
  row: RunRow;
}

/** The table is fetched again at most this often while runs go on. */
const TABLE_MS = 3000;
/** With thousands of runs coming and going, new metrics need not be looked for with every hint; a first one is waited for. */
const COLUMNS_MS = 15_000;
const FIRST_COLUMNS_MS = 1500;

/** Everything a project's page is about: its look, its runs, and which of them are charted. */
export class Workspace {
  look = $state.raw<Look>(defaultLook());
  columns = $state.raw<Columns | null>(null);
  readonly list = new RunList();
  readonly groups = new GroupList();
  readonly selected = new SvelteSet<string>();
  /** The run or group under the pointer, anywhere on the page. */
  highlight = $state<string | null>(null);
  problem = $state('');
  /** Rises when something has changed in what the charts show. */
  news = $state(0);
  private due: ReturnType<typeof setTimeout> | undefined;
  private columnsDue: ReturnType<typeof setTimeout> | undefined;
  private lastCharted: ChartRun[] = [];
  private extra = $state.raw<ReadonlyMap<string, RunRow>>(new Map());
  private readonly box: ColorBox;

  readonly shownColumns = $derived(this.look.columns.length > 0 ? this.look.columns : usualColumns(this.columns));
  readonly grouped = $derived(this.look.group.length > 0);
  readonly metricKeys = $derived((this.columns?.metrics ?? []).map((metric) => metric.key));

  readonly charted = $derived.by(() => {
    const hidden = new Set(this.look.hidden);
    const rows: RunRow[] = [];
    for (let index = 0; index < Math.min(this.look.count, this.list.total); index++) {
      const row = this.list.rows.get(index);
      if (row !== undefined && !hidden.has(row.id)) rows.push(row);
    }
    const there = new Set(rows.map((row) => row.id));
    for (const id of this.look.shown) {
      const row = this.extra.get(id);
      if (row !== undefined && !there.has(id)) rows.push(row);
    }
    this.box.give(rows.map((row) => row.id));
    const charted = rows.map((row): ChartRun => ({ id: row.id, name: row.name, color: this.colorOf(row.id), row }));
    // The same array while nothing a chart shows of them has changed: pages of the table come and go.
    const same = charted.length === this.lastCharted.length && charted.every((run, index) => this.looksSame(run, this.lastCharted[index]!));
    if (!same) this.lastCharted = charted;
    return this.lastCharted;
  });

  readonly query = $derived.by((): ListQuery => ({
    project: this.project,
    filter: this.look.filter,
    order: this.look.order.join(','),
    columns: [...new Set([...this.shownColumns.filter(isEntry), ...legendColumns(this.look.settings.legend), ...this.panelColumns()])],
  }));

  constructor(readonly project: string) {
    this.box = rememberedColors(project);
  }

  change(part: Partial<Look>): void {
    this.look = { ...this.look, ...part };
  }

  load(look: Record<string, unknown>): void {
    this.look = complete(look);
  }

  async loadColumns(): Promise<void> {
    try {
      this.columns = await askColumns(this.project);
      this.problem = '';
    } catch (error) {
      if (!isAbort(error)) this.problem = sentence(error);
    }
  }

  /** Fetch the runs that are charted although they are not at the top. */
  async loadExtra(): Promise<void> {
    const missing = this.look.shown.filter((id) => !this.extra.has(id));
    if (missing.length === 0) return;
    const inTable = [...this.list.rows.values()].filter((row) => missing.includes(row.id));
    const rest = missing.filter((id) => !inTable.some((row) => row.id === id));
    const found = rest.length === 0 ? [] : (await runs({ filter: `id in (${rest.map((id) => JSON.stringify(id)).join(', ')})`, limit: 1000, columns: this.query.columns })).runs;
    this.extra = new Map([...this.extra, ...[...inTable, ...found].map((row): [string, RunRow] => [row.id, row])]);
  }

  // Which runs are charted, and how

  private readonly chartedIds = $derived(new Set(this.charted.map((run) => run.id)));

  isCharted(id: string): boolean {
    return this.chartedIds.has(id);
  }

  private looksSame(a: ChartRun, b: ChartRun): boolean {
    const template = this.look.settings.legend;
    return a.id === b.id && a.color === b.color && (a.row === b.row || legend(template, a.row, '') === legend(template, b.row, ''));
  }

  toggle(row: RunRow): void {
    const { hidden, shown, count } = this.look;
    const top = [...this.list.rows].some(([index, other]) => index < count && other.id === row.id);
    if (this.isCharted(row.id)) this.change({ shown: shown.filter((id) => id !== row.id), hidden: top ? [...hidden, row.id] : hidden });
    else if (top) this.change({ hidden: hidden.filter((id) => id !== row.id) });
    else this.change({ shown: [...shown, row.id] });
  }

  toggleGroup(name: string): void {
    const { hidden } = this.look;
    this.change({ hidden: hidden.includes(name) ? hidden.filter((other) => other !== name) : [...hidden, name] });
  }

  colorOf(id: string): string {
    return this.look.colors[id] ?? this.box.of(id);
  }

  giveColors(ids: string[]): void {
    this.box.give(ids);
  }

  setColor(id: string, color: string | null): void {
    const colors = Object.fromEntries(Object.entries(this.look.colors).filter(([other]) => other !== id));
    this.change({ colors: color === null ? colors : { ...colors, [id]: color } });
  }

  rememberColors(): void {
    rememberColors(this.project, this.box);
  }

  // Live

  /** Hear of runs that have changed; no hints at all means that any may have. */
  take(hints: RunHint[]): void {
    const ours = hints.filter((hint) => hint.project === undefined || hint.project === this.project);
    if (hints.length > 0 && ours.length === 0) return;
    if (hints.length === 0 || this.grouped || ours.some((hint) => this.isCharted(hint.run))) this.news++;
    // The table is larger than a chart's answer, and its numbers are read less closely.
    this.due ??= setTimeout(() => {
      this.due = undefined;
      if (!document.hidden) this.refresh();
    }, TABLE_MS);
    this.columnsDue ??= setTimeout(() => {
      this.columnsDue = undefined;
      if (!document.hidden) void this.loadColumns();
    }, this.metricKeys.length === 0 ? FIRST_COLUMNS_MS : COLUMNS_MS);
  }

  /** Ask for nothing any more: the page has gone. */
  rest(): void {
    clearTimeout(this.due);
    clearTimeout(this.columnsDue);
  }

  refresh(): void {
    if (this.grouped) this.groups.refresh();
    this.list.refresh();
  }

  // Actions on runs

  async act(action: RunAction, ids: string[], tags: string[] = []): Promise<void> {
    try {
      const { changed } = await act(action, ids, tags);
      this.refresh();
      const runsText = plural(changed.length, 'run');
      if (action === 'delete') {
        for (const id of changed) this.selected.delete(id);
        toasts.show(`Deleted ${runsText}.`, { label: 'Undo', run: () => void this.act('restore', changed) });
      } else if (action === 'stop') toasts.show(`Asked ${runsText} to stop.`);
      else if (action === 'restore') toasts.show(`Restored ${runsText}.`);
      else if (action === 'tag') toasts.show(`Tagged ${runsText} ${tags.join(', ')}.`, { label: 'Undo', run: () => void this.act('untag', changed, tags) });
      else if (action === 'untag') toasts.show(`Took ${tags.join(', ')} from ${runsText}.`);
    } catch (error) {
      toasts.fail(error);
    }
  }

  async edit(row: RunRow, patch: RunPatch): Promise<void> {
    this.list.patch(row.id, patch as Partial<RunRow>);
    try {
      await patchRun(row.id, patch);
    } catch (error) {
      toasts.fail(error);
    }
    this.refresh();
  }

  get canWrite(): boolean {
    return account.canWrite;
  }

  /** The config and summary entries that panels other than line charts need of every run. */
  private panelColumns(): string[] {
    return [...this.look.layout.added, ...Object.values(this.look.layout.panels)].flatMap((panel) =>
      [...(panel.keys ?? []), ...legendColumns(panel.settings?.legend ?? '')].filter(isEntry),
    );
  }
}

const KEY = Symbol('workspace');

export function provideWorkspace(workspace: Workspace): Workspace {
  return setContext(KEY, workspace);
}

export function useWorkspace(): Workspace {
  return getContext(KEY);
}
