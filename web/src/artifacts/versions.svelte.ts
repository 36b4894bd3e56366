import { isAbort, sentence } from '../api/client';
import { versions as ask, type Version } from '../api/artifacts';

const PAGE = 200;

/**
 * The versions of a collection, the newest first, of which as many are loaded as were asked for: there may be
 * thousands. A search, or a reload, begins anew, and what is shown stays until its first page has come.
 */
export class VersionList {
  rows = $state.raw<Version[]>([]);
  done = $state(false);
  loaded = $state(false);
  problem = $state('');
  protected = $state.raw<string[]>([]);
  search = $state('');
  private controller: AbortController | null = null;
  private asking = false;

  constructor(
    readonly project: string,
    readonly name: string,
  ) {}

  /** Ask anew for as many as there are now, at least a page. */
  async reload(): Promise<void> {
    this.controller?.abort();
    const controller = (this.controller = new AbortController());
    this.asking = true;
    try {
      const limit = Math.min(500, Math.max(PAGE, this.rows.length));
      const page = await ask({ project: this.project, name: this.name, limit, search: this.search }, controller.signal);
      this.rows = page.versions;
      this.done = page.done;
      this.protected = page.protected;
      this.problem = '';
    } catch (error) {
      if (isAbort(error) || controller.signal.aborted) return;
      this.problem = sentence(error);
    }
    this.loaded = true;
    this.asking = false;
  }

  /** See to it that the rows up to a place are there. */
  async need(last: number): Promise<void> {
    if (this.asking || this.done || !this.loaded || last < this.rows.length) return;
    this.asking = true;
    const controller = (this.controller = new AbortController());
    try {
      const page = await ask({ project: this.project, name: this.name, limit: 500, search: this.search, before: this.rows.at(-1)?.number }, controller.signal);
      this.rows = [...this.rows, ...page.versions];
      this.done = page.done;
    } catch (error) {
      if (isAbort(error) || controller.signal.aborted) return;
      this.problem = sentence(error);
      this.done = true;
    }
    this.asking = false;
    await this.need(last);
  }

  stop(): void {
    this.controller?.abort();
    this.asking = false;
  }
}
