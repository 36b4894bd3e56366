import { describe, expect, test } from 'vitest';
import { decodeMatrices } from './matrix';

function encode(header: object, doubles: number[]): ArrayBuffer {
  let text = JSON.stringify(header);
  while ((4 + text.length) % 8 !== 0) text += ' ';
  const buffer = new ArrayBuffer(4 + text.length + doubles.length * 8);
  new DataView(buffer).setUint32(0, text.length, true);
  new Uint8Array(buffer, 4).set(new TextEncoder().encode(text));
  new Float64Array(buffer, 4 + text.length).set(doubles);
  return buffer;
}

const lengths = (header: { rows: number; columns: number }): number[] => [header.columns, header.rows * header.columns];

describe('matrices', () => {
  test('come back with their header and each array', () => {
    const { header, arrays } = decodeMatrices(encode({ rows: 2, columns: 3 }, [0, 10, 20, 1, 2, Number.NaN, 4, 5, 6]), lengths);

    expect(header).toEqual({ rows: 2, columns: 3 });
    expect(arrays.map((array) => [...array])).toEqual([[0, 10, 20], [1, 2, Number.NaN, 4, 5, 6]]);
  });

  test('that were cut are told', () => {
    const whole = encode({ rows: 2, columns: 3 }, [0, 10, 20, 1, 2, 3, 4, 5, 6]);

    expect(() => decodeMatrices(whole.slice(0, -8), lengths)).toThrow('ends too early');
    expect(() => decodeMatrices(whole.slice(0, 10), lengths)).toThrow('damaged');
    expect(() => decodeMatrices(new ArrayBuffer(0), lengths)).toThrow('empty');
  });
});
