import type { RunHint } from './contract';

type Listener = (hints: RunHint[]) => void;
type Message = { kind: 'hints'; hints: RunHint[] };

const EVENTS = '/api/v1/events';
/** Hints of a busy run come many times a second; what shows them need not change more often than this. */
const GATHER_MS = 1000;
const POLL_MS = 5000;
const RETRY_MS = 10_000;

/**
 * Tells of runs that have changed, over one connection shared by all tabs: browsers allow few to a host.
 * The tab holding a lock streams and tells the others. Where streaming fails, every tab is told to look
 * again every few seconds (an empty list of hints).
 */
export class Live {
  private readonly listeners = new Set<Listener>();
  private readonly channel = new BroadcastChannel('trackkit-live');
  private readonly pending = new Map<string, RunHint>();
  private gathering: ReturnType<typeof setTimeout> | undefined;
  private polling: ReturnType<typeof setInterval> | undefined;
  private started = false;

  subscribe(listener: Listener): () => void {
    this.listeners.add(listener);
    this.start();
    return () => this.listeners.delete(listener);
  }

  private start(): void {
    if (this.started) return;
    this.started = true;
    this.channel.addEventListener('message', (event: MessageEvent<Message>) => this.hear(event.data));
    if (navigator.locks === undefined) {
      // Plain http on another host than this one has no locks: each tab streams for itself.
      this.stream(false);
      return;
    }
    // The lock is held for as long as the tab lives; the browser passes it on when the tab closes.
    void navigator.locks.request('trackkit-live', () => {
      this.stream(true);
      return new Promise<never>(() => {});
    });
  }

  private hear(message: Message): void {
    if (message.kind === 'hints') this.deliver(message.hints);
  }

  private stream(leads: boolean): void {
    const source = new EventSource(EVENTS);
    const take = (event: MessageEvent<string>): void => {
      const hint = JSON.parse(event.data) as RunHint;
      this.pending.set(hint.run, hint);
      this.gathering ??= setTimeout(() => this.flush(leads), GATHER_MS);
    };
    source.addEventListener('run', take);
    source.addEventListener('gone', take);
    source.addEventListener('open', () => this.stopPolling());
    source.addEventListener('error', () => {
      this.startPolling(leads);
      // A source still connecting tries again by itself; one closed by an answer that was no stream does not.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.stream(leads), RETRY_MS);
    });
  }

  private flush(leads: boolean): void {
    this.gathering = undefined;
    const hints = [...this.pending.values()];
    this.pending.clear();
    if (leads) this.channel.postMessage({ kind: 'hints', hints } satisfies Message);
    this.deliver(hints);
  }

  private deliver(hints: RunHint[]): void {
    for (const listener of this.listeners) listener(hints);
  }

  private startPolling(leads: boolean): void {
    this.polling ??= setInterval(() => {
      if (leads) this.channel.postMessage({ kind: 'hints', hints: [] } satisfies Message);
      this.deliver([]);
    }, POLL_MS);
  }

  private stopPolling(): void {
    clearInterval(this.polling);
    this.polling = undefined;
  }
}

export const live = new Live();
