// Where in a table a scrollbar stands. Browsers lay out some millions of pixels at most, which a few hundred thousand rows
// pass: then the scrollbar spans the whole table, while the wheel and the keys still move by pixels.

export const MOST_PIXELS = 8_000_000;
/** At both ends pixels are pixels, so that the first and the last rows are reached without a jump. */
const ENDS = 100_000;
/** A wheel and a finger move by less at a time; a dragged scrollbar by more, where pixels are scarce. */
const LEAST_JUMP = 5000;

export class Track {
  private top = 0;
  private scroll = 0;

  constructor(
    private full = 0,
    private view = 0,
    private readonly most = MOST_PIXELS,
  ) {}

  /** The table has another height, or is seen through another window. */
  resize(full: number, view: number): void {
    this.full = full;
    this.view = view;
    this.top = Math.min(this.top, this.furthest);
  }

  /** The height to lay out. */
  get laidOut(): number {
    return Math.min(this.full, this.most);
  }

  /** Where the table is seen from, in its own pixels, when the scrollbar is at a place. */
  scrolled(scroll: number): number {
    const moved = scroll - this.scroll;
    this.scroll = scroll;
    const jumped = Math.abs(moved) > Math.max(this.view, LEAST_JUMP) || scroll <= 0 || scroll >= this.laidOut - this.view;
    this.top = this.full <= this.most || jumped ? this.toTable(scroll) : clamp(this.top + moved, this.furthest);
    return this.top;
  }

  /** Where the scrollbar has to be to show the table from a pixel on. */
  place(top: number): number {
    this.top = clamp(top, this.furthest);
    this.scroll = this.toScroll(this.top);
    return this.scroll;
  }

  /** Where the scrollbar belongs after small moves: where a jump would have brought the same rows. */
  settled(): number {
    return this.place(this.top);
  }

  private get furthest(): number {
    return Math.max(0, this.full - this.view);
  }

  private toTable(scroll: number): number {
    const last = Math.max(0, this.laidOut - this.view);
    if (this.full <= this.most || scroll <= ENDS) return clamp(scroll, this.furthest);
    if (scroll >= last - ENDS) return clamp(this.furthest - (last - scroll), this.furthest);
    return ENDS + ((scroll - ENDS) * (this.furthest - 2 * ENDS)) / (last - 2 * ENDS);
  }

  private toScroll(top: number): number {
    const last = Math.max(0, this.laidOut - this.view);
    if (this.full <= this.most || top <= ENDS) return top;
    if (top >= this.furthest - ENDS) return last - (this.furthest - top);
    return ENDS + ((top - ENDS) * (last - 2 * ENDS)) / (this.furthest - 2 * ENDS);
  }
}

function clamp(value: number, most: number): number {
  return Math.max(0, Math.min(value, most));
}
