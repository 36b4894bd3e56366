// Shades of a heat map: from a number to a colour, and from a matrix to the pixels of an image.

const LIGHT = ['#edf2fa', '#a9c5f0', '#3f7fdb', '#1f4a97', '#0c1f42'];
const DARK = ['#1f2937', '#234b8d', '#3f82e0', '#93bcff', '#eef4ff'];
/** A cell with NaN or an infinity in it stands out on both grounds. */
const NONFINITE: Rgb = [214, 60, 44];

type Rgb = [number, number, number];

export type Scale = 'linear' | 'log';

/** Which numbers have the lightest and the darkest shade. */
export interface Range {
  low: number;
  high: number;
}

function rgb(color: string): Rgb {
  return [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16)) as Rgb;
}

/** 256 colours from little to much. */
export function ramp(dark: boolean): Rgb[] {
  const stops = (dark ? DARK : LIGHT).map(rgb);
  return Array.from({ length: 256 }, (_, index) => {
    const place = (index / 255) * (stops.length - 1);
    const at = Math.min(Math.floor(place), stops.length - 2);
    return stops[at]!.map((from, channel) => Math.round(from + (stops[at + 1]![channel]! - from) * (place - at))) as Rgb;
  });
}

/** The ramp as a background for a legend. */
export function gradient(dark: boolean): string {
  return `linear-gradient(90deg, ${(dark ? DARK : LIGHT).join(', ')})`;
}

/** The smallest and the largest of the finite numbers, on a log scale of the positive ones; null if there is none. */
export function rangeOf(values: Float64Array, scale: Scale): Range | null {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value) || (scale === 'log' && value <= 0)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? null : { low, high };
}

/** Where a number lies in a range, from 0 to 1; null if it has no shade. On a log scale 0 is as little as can be. */
export function shade(value: number, range: Range | null, scale: Scale): number | null {
  if (!Number.isFinite(value) || range === null) return null;
  if (scale === 'log' && value <= 0) return value === 0 ? 0 : null;
  const of = scale === 'log' ? Math.log : (number: number): number => number;
  const span = of(range.high) - of(range.low);
  return span > 0 ? Math.max(0, Math.min(1, (of(value) - of(range.low)) / span)) : 0.5;
}

/** The pixels of a matrix, one a cell, row by row; nothing is drawn where there is no number. */
export function pixels(values: Float64Array, nonfinite: Float64Array | null, range: Range | null, scale: Scale, colors: Rgb[]): Uint8ClampedArray<ArrayBuffer> {
  const image = new Uint8ClampedArray(values.length * 4);
  for (let cell = 0; cell < values.length; cell++) {
    const place = shade(values[cell]!, range, scale);
    const color = (nonfinite?.[cell] ?? 0) > 0 ? NONFINITE : place === null ? null : colors[Math.round(place * 255)]!;
    if (color === null) continue;
    image.set(color, cell * 4);
    image[cell * 4 + 3] = 255;
  }
  return image;
}

/** The scale that shows a statistic best. */
export function scaleOf(statistic: string): Scale {
  return statistic === 'norm' || statistic === 'std' || statistic === 'update_ratio' ? 'log' : 'linear';
}

/** Names of rows to write, at most so many, evenly spread. */
export function labelled(rows: number, most: number): number[] {
  if (rows === 0 || most < 1) return [];
  const every = Math.ceil(rows / most);
  return Array.from({ length: Math.ceil(rows / every) }, (_, index) => index * every);
}

/** What a row of a distribution holds: its bounds as text, by its place among `rows` of which the middle one is zero. */
export function octave(row: number, rows: number, low: number, write: (value: number) => string): string {
  const away = row - (rows - 1) / 2;
  if (away === 0) return `±${write(2 ** low)}`;
  const near = 2 ** (low + Math.abs(away) - 1);
  return away > 0 ? `${write(near)} to ${write(2 * near)}` : `−${write(2 * near)} to −${write(near)}`;
}

/** The steps of a column, as text. */
export function stepsOf(first: number, width: number): string {
  const last = Math.ceil(first + width) - 1;
  return width > 1 && last > Math.ceil(first) ? `steps ${Math.ceil(first)} to ${last}` : `step ${Math.ceil(first)}`;
}
