import { contentBytes } from '../api/media';

export interface MaskPixels {
  width: number;
  height: number;
  /** The class of every pixel, row by row. */
  ids: ArrayLike<number>;
}

const kept = new Map<string, Promise<MaskPixels>>();
const MOST_KEPT = 64;
const PNG = [0x89, 0x50, 0x4e, 0x47];

/** The class ids of a mask; what was decoded last is kept, as steps are gone through back and forth. */
export function maskPixels(url: string): Promise<MaskPixels> {
  const known = kept.get(url);
  if (known !== undefined) return known;
  const pixels = decode(url);
  kept.set(url, pixels);
  if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value!);
  pixels.catch(() => kept.delete(url));
  return pixels;
}

async function decode(url: string): Promise<MaskPixels> {
  const buffer = await contentBytes(url);
  const start = new Uint8Array(buffer, 0, Math.min(4, buffer.byteLength));
  if (PNG.every((byte, index) => start[index] === byte)) return decodePng(buffer);
  const bitmap = await createImageBitmap(new Blob([buffer]));
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d')!;
  context.drawImage(bitmap, 0, 0);
  return firstChannel(bitmap.width, bitmap.height, context.getImageData(0, 0, bitmap.width, bitmap.height).data, 4);
}

/** Canvases know 8 bits a channel and colours that browsers may adapt; class ids must come out as they went in. */
async function decodePng(buffer: ArrayBuffer): Promise<MaskPixels> {
  const { decode: decodeImage } = await import('fast-png');
  const image = decodeImage(buffer);
  return firstChannel(image.width, image.height, image.depth < 8 ? unpacked(image.data, image.width, image.height, image.depth * image.channels, image.depth) : image.data, image.depth < 8 ? 1 : image.channels);
}

function firstChannel(width: number, height: number, data: ArrayLike<number>, channels: number): MaskPixels {
  return { width, height, ids: channels === 1 ? data : Uint16Array.from({ length: width * height }, (_, pixel) => data[pixel * channels]!) };
}

/** Numbers of less than a byte, one each; rows begin at whole bytes. */
export function unpacked(data: ArrayLike<number>, width: number, height: number, bits: number, depth: number): Uint8Array {
  const stride = Math.ceil((width * bits) / 8);
  return Uint8Array.from({ length: width * height }, (_, pixel) => {
    const at = (pixel % width) * bits;
    const byte = data[Math.floor(pixel / width) * stride + (at >> 3)]!;
    return (byte >> (8 - depth - (at & 7))) & (2 ** depth - 1);
  });
}
