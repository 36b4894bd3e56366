import { isAbort } from '../api/client';
import { tableKeys } from '../api/tables';

/** New tables are rare beside new points: the keys are asked for at most this often while runs go on. */
const NEWS_MS = 5000;
const MOST_RUNS = 500;

/** The keys under which a page's runs logged tables. */
export class TableKeys {
  keys = $state.raw<string[]>([]);
  private due: ReturnType<typeof setTimeout> | undefined;
  private controller: AbortController | null = null;

  constructor(private readonly selection: () => string[] | string) {}

  async ask(): Promise<void> {
    clearTimeout(this.due);
    this.due = undefined;
    this.controller?.abort();
    const controller = (this.controller = new AbortController());
    const chosen = this.selection();
    if (chosen.length === 0) return;
    try {
      const found = await tableKeys(typeof chosen === 'string' ? { project: chosen, limit: MOST_RUNS } : { runs: chosen }, controller.signal);
      if (JSON.stringify(found.map(({ key }) => key)) !== JSON.stringify(this.keys)) this.keys = found.map(({ key }) => key);
    } catch (error) {
      // The charts tell that the server is away; the panels that are there stay.
      if (!isAbort(error) && !controller.signal.aborted) this.hear();
    }
  }

  /** Something has changed in the runs. */
  hear(): void {
    this.due ??= setTimeout(() => {
      this.due = undefined;
      if (!document.hidden) void this.ask();
    }, NEWS_MS);
  }

  rest(): void {
    clearTimeout(this.due);
    this.controller?.abort();
  }
}
