import { isAbort } from '../api/client';
import type { Distribution } from '../api/tables';

/** Columns asked for at a time: the first heads are drawn before the last are counted. */
const AT_ONCE = 4;
const SOON_MS = 120;

/** What the columns that are seen are like, asked for behind the rows. */
export class Distributions {
  found = $state.raw<ReadonlyMap<string, Distribution>>(new Map());
  private of = '';
  private done = new Set<string>();
  private wanted: string[] = [];
  private controller: AbortController | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** Have the distributions of columns; `of` says of which rows, and what is known of others is shown until then. */
  ask(of: string, columns: string[], fetch: (columns: string[], signal: AbortSignal) => Promise<Distribution[]>): void {
    if (of !== this.of) {
      this.stop();
      this.of = of;
      this.done = new Set();
    }
    this.wanted = columns;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.work(fetch), SOON_MS);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.controller?.abort();
    this.controller = null;
    this.of = '';
  }

  private async work(fetch: (columns: string[], signal: AbortSignal) => Promise<Distribution[]>): Promise<void> {
    if (this.controller !== null) return;
    const controller = new AbortController();
    this.controller = controller;
    const { done } = this;
    try {
      for (;;) {
        const next = this.wanted.filter((name) => !done.has(name)).slice(0, AT_ONCE);
        if (next.length === 0) break;
        const answer = await fetch(next, controller.signal);
        if (controller.signal.aborted) return;
        for (const name of next) done.add(name);
        this.found = new Map([...[...this.found].filter(([name]) => done.has(name) || this.wanted.includes(name)), ...answer.map((one): [string, Distribution] => [one.name, one])]);
      }
    } catch (error) {
      // The rows tell what is wrong; the heads stay as they are.
      if (!isAbort(error)) this.of = '';
    }
    if (this.controller === controller) this.controller = null;
  }
}
