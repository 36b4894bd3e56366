// Chosen greedily for the largest distance between any two in OKLab, as seen with normal sight, without red cones
// and without green cones, at lightnesses that stand out on both a white and a dark ground.
export const PALETTE = [
  '#3778d7', '#e2781f', '#4ac06c', '#884783', '#d02e1e', '#2fc3b6', '#eea0db', '#457650',
  '#9b8bfb', '#aab51b', '#b25977', '#5dcdfa', '#a77c51', '#773ac1', '#8bd737', '#7a9aca',
  '#63a283', '#ee6bd3', '#2d8385', '#6a73fb', '#9fcc9d', '#9678a9', '#93adfe', '#6c61b0',
] as const;

const REMEMBERED = 400;

/** A small hash that spreads similar ids (FNV-1a). */
export function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  }
  return value >>> 0;
}

/**
 * Gives runs colours: a run keeps the one it was given, and a new one gets that of its id unless a run it is
 * shown beside has it, then the next free.
 */
export class ColorBox {
  private readonly given: Map<string, number>;

  constructor(remembered: Iterable<[string, number]> = []) {
    this.given = new Map(remembered);
  }

  /** Colours for runs shown together; true where any was new. */
  give(ids: readonly string[]): boolean {
    const unknown = ids.filter((id) => !this.given.has(id));
    if (unknown.length === 0) return false;
    const taken = new Set(ids.map((id) => this.given.get(id)));
    for (const id of unknown) {
      const wanted = hash(id) % PALETTE.length;
      let index = wanted;
      for (let tries = 0; tries < PALETTE.length && taken.has(index); tries++) index = (wanted + tries * 7) % PALETTE.length;
      taken.add(index);
      this.given.set(id, index);
    }
    return true;
  }

  of(id: string): string {
    return PALETTE[this.given.get(id) ?? hash(id) % PALETTE.length]!;
  }

  /** The newest of what was given, to be remembered. */
  entries(): [string, number][] {
    return [...this.given].slice(-REMEMBERED);
  }
}

/** A colour with an opacity between 0 and 1; `color` as #rrggbb. */
export function fade(color: string, opacity: number): string {
  return color + Math.round(opacity * 255).toString(16).padStart(2, '0');
}
