import { expect, test } from 'vitest';
import { decodePoints } from './npy';

function npy(header: string, values: number[], cut = 0): ArrayBuffer {
  const text = header.padEnd(117, ' ') + '\n';
  const bytes = new Uint8Array(10 + text.length + values.length * 4);
  bytes.set([0x93, ...new TextEncoder().encode('NUMPY'), 1, 0]);
  new DataView(bytes.buffer).setUint16(8, text.length, true);
  bytes.set(new TextEncoder().encode(text), 10);
  bytes.set(new Uint8Array(new Float32Array(values).buffer), 10 + text.length);
  return bytes.buffer.slice(0, bytes.length - cut);
}

const HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";

test('points are read as rows of numbers', () => {
  expect(decodePoints(npy(HEADER, [1, 2, 3, 4, 5, 6]))).toEqual({ rows: 2, columns: 3, values: new Float32Array([1, 2, 3, 4, 5, 6]) });
});

test('what are no points is refused in words', () => {
  expect(() => decodePoints(npy(HEADER, [1, 2, 3, 4, 5, 6], 4))).toThrow('ends too early');
  expect(() => decodePoints(npy(HEADER.replace('<f4', '<f8'), []))).toThrow('32-bit');
  expect(() => decodePoints(new ArrayBuffer(20))).toThrow('NumPy');
});
