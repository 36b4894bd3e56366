import { ApiError, isAbort, sentence } from '../api/client';

export const PAGE = 100;
/** Pages kept around what is looked at; the rest is asked for again. */
const MOST_KEPT = 40;
/** A dragged scrollbar passes many pages a second, of which none is asked for. */
const REST_MS = 40;

export interface Answer<Row> {
  total: number;
  rows: Row[];
}

export type Fetch<Row> = (offset: number, limit: number, signal: AbortSignal) => Promise<Answer<Row>>;

/** Rows that the server has, of which the pages that are looked at are here. */
export class Pages<Row> {
  total = $state(0);
  /** Whether an answer to anything has come. */
  loaded = $state(false);
  /** Whether the rows are those of the question before. */
  stale = $state(false);
  problem = $state('');
  /** Whether the server could not take the question as it was put. */
  refused = $state(false);
  /** Rows by their place; replaced whole, so that reading it follows every change. */
  rows = $state.raw<ReadonlyMap<number, Row>>(new Map());
  private fetch: Fetch<Row> | null = null;
  private readonly asked = new Map<number, AbortController | null>();
  private window: [number, number] = [0, PAGE - 1];
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** Ask for other rows; those before stay until the first of these have come. */
  ask(fetch: Fetch<Row>): void {
    this.stop();
    this.fetch = fetch;
    this.stale = true;
    this.fetchWindow();
  }

  /** Have the rows from first to last fetched, and forget about pages that were passed. */
  need(first: number, last: number): void {
    this.window = [first, last];
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fetchWindow(), REST_MS);
  }

  /** Ask for what is looked at once more, after a failure. */
  again(): void {
    if (this.fetch !== null) this.ask(this.fetch);
  }

  /** Abort all that is under way. */
  stop(): void {
    clearTimeout(this.timer);
    for (const controller of this.asked.values()) controller?.abort();
    this.asked.clear();
  }

  private fetchWindow(): void {
    // Rows before the first answer are as many as those of the last question: there may be fewer now.
    const last = this.loaded && !this.stale ? Math.min(this.window[1], this.total - 1) : this.window[1];
    const [from, to] = [Math.floor(this.window[0] / PAGE), Math.floor(Math.max(last, 0) / PAGE)];
    for (const [page, controller] of this.asked) {
      if (controller === null || (page >= from - 1 && page <= to + 1)) continue;
      controller.abort();
      this.asked.delete(page);
    }
    for (let page = from; page <= to; page++) this.fetchPage(page);
  }

  private fetchPage(page: number): void {
    if (this.fetch === null || this.asked.has(page)) return;
    const controller = new AbortController();
    this.asked.set(page, controller);
    this.fetch(page * PAGE, PAGE, controller.signal).then(
      (answer) => {
        if (controller.signal.aborted) return;
        this.asked.set(page, null);
        this.take(page, answer);
      },
      (error: unknown) => {
        if (isAbort(error) || controller.signal.aborted) return;
        this.asked.delete(page);
        this.problem = sentence(error);
        this.refused = error instanceof ApiError && error.status === 400;
        this.loaded = true;
      },
    );
  }

  private take(page: number, answer: Answer<Row>): void {
    const rows = new Map(this.stale ? [] : this.rows);
    answer.rows.forEach((row, place) => rows.set(page * PAGE + place, row));
    if (rows.size > MOST_KEPT * PAGE) this.forget(rows);
    const before = this.stale;
    Object.assign(this, { rows, total: answer.total, loaded: true, stale: false, problem: '', refused: false });
    if (before && this.window[0] >= answer.total) this.window = [0, PAGE - 1];
    if (before) this.fetchWindow();
  }

  private forget(rows: Map<number, Row>): void {
    const middle = (this.window[0] + this.window[1]) / 2 / PAGE;
    const pages = [...new Set([...rows.keys()].map((index) => Math.floor(index / PAGE)))].sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
    for (const page of pages.slice(MOST_KEPT / 2)) {
      for (let place = 0; place < PAGE; place++) rows.delete(page * PAGE + place);
      if (this.asked.get(page) === null) this.asked.delete(page);
    }
  }
}
