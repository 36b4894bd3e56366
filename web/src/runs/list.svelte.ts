import { isAbort, runs, sentence } from '../api/client';
import type { RunRow } from '../api/contract';

export interface ListQuery {
  project: string;
  filter: string;
  order: string;
  columns: string[];
}

const PAGE = 100;

/** Runs of a project, of which the pages that are looked at have been fetched. */
export class RunList {
  total = $state(0);
  loaded = $state(false);
  problem = $state('');
  /** Runs by their place in the order; replaced whole, so that reading it follows every change. */
  rows = $state.raw<ReadonlyMap<number, RunRow>>(new Map());
  private query: ListQuery | null = null;
  private controller = new AbortController();
  private readonly asked = new Set<number>();
  private window: [number, number] = [0, PAGE - 1];

  /** Show another selection; the rows of the last stay until the first of the new have come. */
  ask(query: ListQuery): void {
    this.query = query;
    this.restart();
  }

  /** Fetch again what is looked at: it may have changed. */
  refresh(): void {
    if (this.query !== null) this.restart();
  }

  /** Have the rows from first to last fetched. */
  need(first: number, last: number): void {
    this.window = [first, last];
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page++) this.fetchPage(page);
  }

  /** Put a changed run in place of the old at once, before the server tells of it. */
  patch(id: string, change: Partial<RunRow>): void {
    this.rows = new Map([...this.rows].map(([index, row]) => [index, row.id === id ? { ...row, ...change } : row]));
  }

  private restart(): void {
    this.controller.abort();
    this.controller = new AbortController();
    this.asked.clear();
    // The first page feeds the charts, whatever the table shows.
    this.fetchPage(0, true);
    this.need(...this.window);
  }

  private fetchPage(page: number, first = false): void {
    if (this.query === null || this.asked.has(page) || (this.loaded && !first && page * PAGE >= this.total && page > 0)) return;
    this.asked.add(page);
    const { signal } = this.controller;
    const asked = this.asked;
    runs({ ...this.query, limit: PAGE, offset: page * PAGE }, signal)
      .then((answer) => {
        if (signal.aborted) return;
        const kept = [...this.rows].filter(([index]) => asked.has(Math.floor(index / PAGE)) && index < answer.total);
        const rows = new Map(kept);
        for (let offset = 0; offset < PAGE; offset++) {
          const row = answer.runs[offset];
          if (row === undefined) rows.delete(page * PAGE + offset);
          else rows.set(page * PAGE + offset, row);
        }
        this.rows = rows;
        this.total = answer.total;
        this.loaded = true;
        this.problem = '';
      })
      .catch((error: unknown) => {
        if (isAbort(error) || signal.aborted) return;
        asked.delete(page);
        this.problem = sentence(error);
        this.loaded = true;
      });
  }
}
