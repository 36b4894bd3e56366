import { untrack } from 'svelte';
import { mediaItems, mediaSteps, type MediaItem, type MediaItems, type MediaKind } from '../api/media';
import { Question } from '../panels/question.svelte';

export interface Wanted {
  runs: string[];
  key: string;
  kind: MediaKind;
  /** Null for the latest. */
  step: number | null;
  most: number;
}

/** Of an answer, and of the runs that are asked about. */
const MOST_ITEMS = 1000;
const MOST_RUNS = 500;
/** While a run logs, what it logged is looked for again at most this often. */
const AGAIN_MS = 1000;

/** What runs logged under a key: the steps there are, and the media of the one that is wanted. */
export class MediaSeries {
  readonly steps = new Question<number[]>();
  readonly items = new Question<MediaItems>();
  private due: ReturnType<typeof setTimeout> | undefined;
  private missed = false;

  /** Make it while a component is being made. `visible` keeps what is out of sight from asking. */
  constructor(
    private readonly wanted: () => Wanted,
    news: () => number,
    private readonly visible: () => boolean,
  ) {
    const series = $derived(JSON.stringify([wanted().runs, wanted().key, wanted().kind]));
    const place = $derived(JSON.stringify([wanted().step, wanted().most]));
    $effect(() => {
      void series;
      if (visible()) untrack(() => this.loadSteps());
    });
    $effect(() => {
      void series;
      void place;
      if (visible()) untrack(() => this.loadItems());
    });
    $effect(() => {
      if (news() === 0) return;
      untrack(() => this.hear());
    });
    $effect(() => {
      if (visible() && this.missed) untrack(() => this.hear());
    });
    $effect(() => () => {
      clearTimeout(this.due);
      this.steps.stop();
      this.items.stop();
    });
  }

  of(run: string): MediaItem[] {
    return (this.items.answer?.items ?? []).filter((item) => item.run === run);
  }

  load(): void {
    this.loadSteps();
    this.loadItems();
  }

  private hear(): void {
    if (!this.visible()) {
      this.missed = true;
      return;
    }
    this.missed = false;
    this.due ??= setTimeout(() => {
      this.due = undefined;
      this.load();
    }, AGAIN_MS);
  }

  private loadSteps(): void {
    const { key } = this.wanted();
    const runs = this.wanted().runs.slice(0, MOST_RUNS);
    if (runs.length > 0) void this.steps.ask((signal) => mediaSteps(runs, key, signal));
  }

  private loadItems(): void {
    const { key, kind, step, most } = this.wanted();
    const runs = this.wanted().runs.slice(0, MOST_RUNS);
    const each = Math.max(1, Math.min(most, Math.floor(MOST_ITEMS / Math.max(1, runs.length))));
    if (runs.length > 0) void this.items.ask((signal) => mediaItems(runs, key, kind, step, each, signal));
  }
}
