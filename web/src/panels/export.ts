// A chart as a file: a picture as it is on the screen, or as lines that scale.

import type { Drawing } from '../charts/lines';
import { logTicks, ticks } from '../charts/ranges';
import { formatNumber } from '../text/format';

export function download(name: string, content: Blob | string, type = 'text/plain'): void {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = document.createElement('a');
  link.href = address;
  link.download = name.replace(/[^\w.-]+/g, '-');
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** The canvas on its ground, with a title above. */
export async function pictureOf(canvas: HTMLCanvasElement, title: string, ground: string, ink: string): Promise<Blob> {
  const head = 32 * devicePixelRatio;
  const picture = document.createElement('canvas');
  picture.width = canvas.width;
  picture.height = canvas.height + head;
  const context = picture.getContext('2d')!;
  context.fillStyle = ground;
  context.fillRect(0, 0, picture.width, picture.height);
  context.fillStyle = ink;
  context.font = `600 ${14 * devicePixelRatio}px system-ui, sans-serif`;
  context.fillText(title, 12 * devicePixelRatio, head * 0.66);
  context.drawImage(canvas, 0, head);
  return new Promise((resolve, reject) => picture.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('The browser could not make a picture of this chart.')))));
}

const WIDTH = 800;
const HEIGHT = 420;
const PLOT = { left: 64, right: 16, top: 40, bottom: 40 };

/** The chart as SVG, with its axes and a legend, in colours that suit paper. */
export function svgOf(drawing: Drawing, title: string, yRange: [number, number], logX: boolean, logY: boolean): string {
  const xs = drawing.x.filter((value) => !logX || value > 0);
  const xRange: [number, number] = [xs[0] ?? 0, xs.at(-1) ?? 1];
  const legendHeight = drawing.lines.length * 16 + 8;
  const place = (range: [number, number], log: boolean, from: number, to: number) => (value: number) => {
    const [low, high, at] = log ? [Math.log(range[0]), Math.log(range[1]), Math.log(value)] : [range[0], range[1], value];
    return from + ((at - low) / (high - low || 1)) * (to - from);
  };
  const px = place(xRange, logX, PLOT.left, WIDTH - PLOT.right);
  const py = place(yRange, logY, HEIGHT - PLOT.bottom, PLOT.top);
  const parts = [`<text x="${PLOT.left}" y="24" font-size="15" font-weight="600">${escape(title)}</text>`];
  for (const tick of logX ? logTicks(xRange) : ticks(xRange, 8)) {
    parts.push(`<path d="M${px(tick).toFixed(1)} ${PLOT.top}V${HEIGHT - PLOT.bottom}" stroke="#e5e7eb"/>`, `<text x="${px(tick).toFixed(1)}" y="${HEIGHT - 20}" text-anchor="middle">${escape(formatNumber(tick))}</text>`);
  }
  for (const tick of logY ? logTicks(yRange) : ticks(yRange, 6)) {
    parts.push(`<path d="M${PLOT.left} ${py(tick).toFixed(1)}H${WIDTH - PLOT.right}" stroke="#e5e7eb"/>`, `<text x="${PLOT.left - 8}" y="${(py(tick) + 4).toFixed(1)}" text-anchor="end">${escape(formatNumber(tick))}</text>`);
  }
  parts.push(`<clipPath id="plot"><rect x="${PLOT.left}" y="${PLOT.top}" width="${WIDTH - PLOT.left - PLOT.right}" height="${HEIGHT - PLOT.top - PLOT.bottom}"/></clipPath>`);
  drawing.lines.forEach((line, index) => {
    const dash = line.dash.length > 0 ? ` stroke-dasharray="${line.dash.join(' ')}"` : '';
    if (line.raw) parts.push(`<path clip-path="url(#plot)" d="${path(drawing.x, line.raw, px, py)}" fill="none" stroke="${line.color}" stroke-opacity="0.28"/>`);
    parts.push(`<path clip-path="url(#plot)" d="${path(drawing.x, line.values, px, py)}" fill="none" stroke="${line.color}" stroke-width="1.6"${dash}/>`);
    const y = HEIGHT + 8 + index * 16;
    parts.push(`<path d="M${PLOT.left} ${y - 4}h24" stroke="${line.color}" stroke-width="2"${dash}/>`, `<text x="${PLOT.left + 32}" y="${y}">${escape(line.label)}</text>`);
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT + legendHeight}" font-family="system-ui, sans-serif" font-size="11" fill="#374151"><rect width="100%" height="100%" fill="#fff"/>${parts.join('')}</svg>\n`;
}

function path(x: number[], values: (number | null)[], px: (value: number) => number, py: (value: number) => number): string {
  let out = '';
  values.forEach((value, index) => {
    if (value !== null && Number.isFinite(px(x[index]!))) out += `${out === '' ? 'M' : 'L'}${px(x[index]!).toFixed(1)} ${py(value).toFixed(1)}`;
  });
  return out;
}

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[character]!);
}
