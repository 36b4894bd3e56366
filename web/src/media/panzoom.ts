// A view of something larger or smaller than its window: how it is scaled, and where it lies.

/** A content pixel p is seen at p × scale + (x, y) of the window. */
export interface View {
  scale: number;
  x: number;
  y: number;
}

export interface Size {
  width: number;
  height: number;
}

const MOST = 64;

/** All of the content, in the middle; pixels of small images are enlarged, up to `most` times. */
export function fitted(content: Size, room: Size, most = MOST): View {
  if (content.width <= 0 || content.height <= 0 || room.width <= 0 || room.height <= 0) return { scale: 1, x: 0, y: 0 };
  const scale = Math.min(room.width / content.width, room.height / content.height, most);
  return { scale, x: (room.width - content.width * scale) / 2, y: (room.height - content.height * scale) / 2 };
}

/** Scaled by a factor around a place of the window, which stays where it is. */
export function zoomed(view: View, factor: number, at: { x: number; y: number }, least: number): View {
  const scale = Math.max(least, Math.min(MOST, view.scale * factor));
  const by = scale / view.scale;
  return { scale, x: at.x - (at.x - view.x) * by, y: at.y - (at.y - view.y) * by };
}

/** Moved, but never out of sight: a part of the content stays in the window. */
export function moved(view: View, dx: number, dy: number, content: Size, room: Size): View {
  return { ...view, x: kept(view.x + dx, content.width * view.scale, room.width), y: kept(view.y + dy, content.height * view.scale, room.height) };
}

function kept(place: number, size: number, room: number): number {
  const seen = Math.min(40, size / 2, room / 2);
  return Math.max(seen - size, Math.min(room - seen, place));
}
