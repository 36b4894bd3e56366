import { untrack } from 'svelte';

export interface Shortcut {
  /** As on the key: `?`, `/`, `mod+k`, `Escape`. */
  key: string;
  does: string;
  run: () => void;
}

class Shortcuts {
  list = $state<Shortcut[]>([]);

  constructor() {
    addEventListener('keydown', (event) => this.press(event));
  }

  /** Add shortcuts; the function returned takes them away again, so it fits an effect. */
  add(...shortcuts: Shortcut[]): () => void {
    // A page that mounts before the last one is gone wins, so the newest come first.
    // Untracked: an effect that adds must not run again because it added.
    this.list = [...shortcuts, ...untrack(() => this.list)];
    return () => {
      this.list = this.list.filter((shortcut) => !shortcuts.includes(shortcut));
    };
  }

  private press(event: KeyboardEvent): void {
    if (event.altKey || event.defaultPrevented) return;
    // Escape closes an open menu first, which it does only where nobody else takes it.
    if (event.key === 'Escape' && document.querySelector(':popover-open') !== null) return;
    const modified = event.ctrlKey || event.metaKey;
    if (!modified && isTyping(event.target)) return;
    const key = modified ? `mod+${event.key.toLowerCase()}` : event.key;
    const found = this.list.find((shortcut) => shortcut.key === key);
    if (found === undefined) return;
    event.preventDefault();
    found.run();
  }
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.closest('dialog') !== null);
}

export const shortcuts = new Shortcuts();
