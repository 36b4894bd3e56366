import { untrack } from 'svelte';
import { mediaKeys, type MediaKey } from '../api/media';
import { Question } from '../panels/question.svelte';

/** Keys of media are few and change seldom; they are looked for again this long after news. */
const AGAIN_MS = 2000;
const MOST_RUNS = 500;

/** Which media some runs logged; asked for again when the runs are others, and a while after each news. */
export class MediaCatalogue {
  private readonly question = new Question<MediaKey[]>();
  private due: ReturnType<typeof setTimeout> | undefined;
  private last: MediaKey[] = [];
  /** The same array while nothing has changed, so that no panel is laid out again. */
  readonly keys = $derived.by(() => {
    const found = this.question.answer ?? [];
    if (named(found) !== named(this.last)) this.last = found;
    return this.last;
  });

  /** Make it while a component is being made: it rests when that is gone. */
  constructor(
    private readonly runs: () => string[],
    news: () => number,
  ) {
    const chosen = $derived(runs().join('\n'));
    $effect(() => {
      void chosen;
      untrack(() => this.load());
    });
    $effect(() => {
      if (news() === 0) return;
      this.due ??= setTimeout(() => {
        this.due = undefined;
        this.load();
      }, AGAIN_MS);
    });
    $effect(() => () => {
      clearTimeout(this.due);
      this.question.stop();
    });
  }

  private load(): void {
    const runs = this.runs().slice(0, MOST_RUNS);
    if (runs.length === 0) return;
    void this.question.ask((signal) => mediaKeys({ runs }, signal));
  }
}

function named(keys: MediaKey[]): string {
  return JSON.stringify(keys.map(({ key, kind }) => [key, kind]));
}
