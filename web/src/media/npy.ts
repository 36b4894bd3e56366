/** A matrix of 32-bit floats in NumPy's format. */
export interface Points {
  rows: number;
  columns: number;
  values: Float32Array;
}

const MAGIC = '\x93NUMPY';

/**
 * Decode a two-dimensional array of `<f4` in C order, as point clouds are kept.
 *
 * Throws an Error in a sentence where it is anything else.
 */
export function decodePoints(buffer: ArrayBuffer): Points {
  const bytes = new Uint8Array(buffer);
  const start = String.fromCharCode(...bytes.subarray(0, 6));
  if (start !== MAGIC) throw new Error('The point cloud is not in NumPy’s format.');
  const view = new DataView(buffer);
  const long = bytes[6]! > 1;
  const offset = long ? 12 : 10;
  const length = long ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder('latin1').decode(bytes.subarray(offset, offset + length));
  const type = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const shape = /'shape':\s*\((\d+),\s*(\d+)\)/.exec(header);
  if (type !== '<f4' || shape === null || /'fortran_order':\s*True/.test(header)) throw new Error('The point cloud is not points × numbers of 32-bit floats.');
  const [rows, columns] = [Number(shape[1]), Number(shape[2])];
  if (offset + length + rows * columns * 4 > buffer.byteLength) throw new Error('The point cloud ends too early.');
  return { rows, columns, values: new Float32Array(buffer.slice(offset + length, offset + length + rows * columns * 4)) };
}
