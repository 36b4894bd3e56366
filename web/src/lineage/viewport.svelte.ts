const LEAST = 0.1;
const MOST = 2.5;

/** A window onto a large drawing: moved by dragging, zoomed about the pointer or two fingers. */
export class Viewport {
  x = $state(0);
  y = $state(0);
  scale = $state(1);
  width = $state(800);
  height = $state(500);
  private readonly pointers = new Map<number, { x: number; y: number }>();
  /** Whether the drawing was moved since the pointer went down, so that letting go is no click. */
  moved = false;

  /** Show a whole drawing, at most in its own size, and at least so large that it can be read. */
  fit(width: number, height: number, least = LEAST): void {
    this.scale = Math.max(least, Math.min(1, this.width / Math.max(1, width), this.height / Math.max(1, height)));
    this.x = (this.width - width * this.scale) / 2;
    this.y = (this.height - height * this.scale) / 2;
  }

  /** Move a place of the drawing to the middle. */
  center(x: number, y: number): void {
    this.x = this.width / 2 - x * this.scale;
    this.y = this.height / 2 - y * this.scale;
  }

  /** Move as little as it takes to see a place with some room around it. */
  reveal(x: number, y: number, room: number): void {
    const [left, top] = [this.x + x * this.scale, this.y + y * this.scale];
    this.x += clamp(left, room, this.width - room) - left;
    this.y += clamp(top, room, this.height - room) - top;
  }

  /** Zoom about a place of the window, the middle if none is named. */
  zoom(factor: number, x = this.width / 2, y = this.height / 2): void {
    const scale = clamp(this.scale * factor, LEAST, MOST);
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
  }

  down(event: PointerEvent): void {
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.moved = false;
  }

  move(event: PointerEvent, element: HTMLElement): void {
    const last = this.pointers.get(event.pointerId);
    if (last === undefined) return;
    const now = { x: event.clientX, y: event.clientY };
    const [dx, dy] = [now.x - last.x, now.y - last.y];
    if (!this.moved && Math.hypot(dx, dy) < 3) return;
    // Only once it moves, since a captured pointer clicks nothing.
    if (!this.moved) element.setPointerCapture(event.pointerId);
    this.moved = true;
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other === undefined) {
      this.x += dx;
      this.y += dy;
    } else {
      const box = element.getBoundingClientRect();
      const factor = distance(now, other) / Math.max(1, distance(last, other));
      this.zoom(factor, (now.x + other.x) / 2 - box.left, (now.y + other.y) / 2 - box.top);
    }
    this.pointers.set(event.pointerId, now);
  }

  up(event: PointerEvent): void {
    this.pointers.delete(event.pointerId);
  }
}

function clamp(value: number, least: number, most: number): number {
  return least > most ? (least + most) / 2 : Math.max(least, Math.min(most, value));
}

function distance(a: { x: number; y: number }, b: { x: number; y: number }): number {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
