import { sentence } from '../api/client';

export interface Toast {
  id: number;
  text: string;
  tone: 'info' | 'error';
  action?: { label: string; run: () => void };
}

const STAYS_MS = 8000;

class Toasts {
  list = $state<Toast[]>([]);
  private last = 0;

  /** Say something at the foot of the page, with at most one thing to do about it, such as undo. */
  show(text: string, action?: Toast['action'], tone: Toast['tone'] = 'info'): void {
    const toast: Toast = { id: ++this.last, text, tone, ...(action === undefined ? {} : { action }) };
    this.list = [...this.list.slice(-3), toast];
    setTimeout(() => this.close(toast.id), STAYS_MS);
  }

  fail(error: unknown): void {
    this.show(sentence(error), undefined, 'error');
  }

  close(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id);
  }
}

export const toasts = new Toasts();
