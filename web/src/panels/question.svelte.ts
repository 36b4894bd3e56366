import { isAbort, sentence } from '../api/client';

/**
 * An answer that follows its question: a new question aborts the one before, and the last answer stays
 * until the new one has come, so that nothing flickers.
 */
export class Question<T> {
  answer = $state.raw<T | null>(null);
  problem = $state('');
  asking = $state(false);
  private controller: AbortController | null = null;

  async ask(fetch: (signal: AbortSignal) => Promise<T>): Promise<void> {
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    this.asking = true;
    try {
      const answer = await fetch(controller.signal);
      if (controller.signal.aborted) return;
      this.answer = answer;
      this.problem = '';
    } catch (error) {
      if (isAbort(error) || controller.signal.aborted) return;
      this.problem = sentence(error);
    }
    this.asking = false;
  }

  stop(): void {
    this.controller?.abort();
    this.asking = false;
  }
}
