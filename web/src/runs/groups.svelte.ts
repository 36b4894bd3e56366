import { groups as ask, isAbort, runs, sentence } from '../api/client';
import type { RunGroup, RunRow } from '../api/contract';
import { groupName } from '../charts/legend';
import { both, groupFilter } from './columns';
import type { ListQuery } from './list.svelte';

export type GroupItem =
  | { kind: 'group'; group: RunGroup; name: string; open: boolean }
  | { kind: 'run'; row: RunRow; group: string }
  | { kind: 'more'; text: string };

const MOST_SHOWN = 100;

/** The runs of a project in groups that share some values; the members of a group are fetched when it is opened. */
export class GroupList {
  groups = $state.raw<RunGroup[]>([]);
  loaded = $state(false);
  problem = $state('');
  private open = $state.raw<ReadonlySet<string>>(new Set());
  private members = $state.raw<ReadonlyMap<string, RunRow[]>>(new Map());
  private query: ListQuery | null = null;
  private by: string[] = [];
  private controller = new AbortController();

  items = $derived.by(() => {
    const out: GroupItem[] = [];
    for (const group of this.groups) {
      const name = groupName(group.values);
      const open = this.open.has(name);
      out.push({ kind: 'group', group, name, open });
      if (!open) continue;
      const members = this.members.get(name);
      if (members === undefined) out.push({ kind: 'more', text: 'Loading…' });
      for (const row of members ?? []) out.push({ kind: 'run', row, group: name });
      if (members && members.length < group.count) out.push({ kind: 'more', text: `${group.count - members.length} more: filter by this group to see them` });
    }
    return out;
  });

  ask(query: ListQuery, by: string[]): void {
    this.query = query;
    this.by = by;
    this.refresh();
  }

  toggle(name: string): void {
    const open = new Set(this.open);
    if (!open.delete(name)) open.add(name);
    this.open = open;
    if (open.has(name)) void this.fetchMembers(name);
  }

  refresh(): void {
    const query = this.query;
    if (query === null) return;
    this.controller.abort();
    this.controller = new AbortController();
    const { signal } = this.controller;
    ask(query.project, query.filter, this.by, query.columns, signal)
      .then((groups) => {
        this.groups = groups.sort((a, b) => b.count - a.count);
        this.loaded = true;
        this.problem = '';
        for (const name of this.open) void this.fetchMembers(name);
      })
      .catch((error: unknown) => {
        if (isAbort(error)) return;
        this.problem = sentence(error);
        this.loaded = true;
      });
  }

  private async fetchMembers(name: string): Promise<void> {
    const group = this.groups.find((candidate) => groupName(candidate.values) === name);
    if (group === undefined || this.query === null) return;
    try {
      const page = await runs({ ...this.query, filter: both(this.query.filter, groupFilter(group.values)), limit: MOST_SHOWN }, this.controller.signal);
      this.members = new Map([...this.members, [name, page.runs]]);
    } catch (error) {
      if (!isAbort(error)) this.problem = sentence(error);
    }
  }
}
