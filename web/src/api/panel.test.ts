import { describe, expect, test } from 'vitest';
import { decodePanel } from './panel';

function encode(header: object, arrays: number[][]): ArrayBuffer {
  let text = JSON.stringify(header);
  while ((4 + text.length) % 8 !== 0) text += ' ';
  const length = arrays[0]?.length ?? 0;
  const buffer = new ArrayBuffer(4 + text.length + arrays.length * length * 8);
  new DataView(buffer).setUint32(0, text.length, true);
  new Uint8Array(buffer, 4).set(new TextEncoder().encode(text));
  arrays.forEach((array, index) => new Float64Array(buffer, 4 + text.length + index * length * 8, length).set(array));
  return buffer;
}

const HEADER = {
  x: { array: 0, width: 1 },
  series: [{ run: 'a1', key: 'loss', name: 'calm-1', group: null, runs: 1, points: 9, arrays: { mean: 1, min: 2, max: 3 } }],
  arrays: 4,
  length: 3,
  version: 17,
};
const ARRAYS = [[0, 1, 2], [5, Number.NaN, 3], [4, Number.NaN, 2], [6, Number.NaN, 4]];

describe('a panel', () => {
  test('comes back with its x, its lines and their bands', () => {
    const panel = decodePanel(encode(HEADER, ARRAYS));

    expect([...panel.x]).toEqual([0, 1, 2]);
    expect(panel.version).toBe(17);
    expect(panel.series[0]).toMatchObject({ run: 'a1', key: 'loss', points: 9 });
    expect([...panel.series[0]!.mean]).toEqual([5, Number.NaN, 3]);
    expect([...panel.series[0]!.high!]).toEqual([6, Number.NaN, 4]);
  });

  test('of groups has its bands in low and high', () => {
    const series = [{ run: null, key: 'loss', name: '', group: { 'config.lr': 0.1 }, runs: 4, points: 40, arrays: { mean: 1, low: 2, high: 3 } }];
    const panel = decodePanel(encode({ ...HEADER, series }, ARRAYS));

    expect(panel.series[0]).toMatchObject({ run: null, runs: 4, group: { 'config.lr': 0.1 } });
    expect([...panel.series[0]!.low!]).toEqual([4, Number.NaN, 2]);
  });

  test('without any series is empty', () => {
    const panel = decodePanel(encode({ ...HEADER, series: [], length: 0 }, []));

    expect(panel.series).toEqual([]);
    expect(panel.x).toHaveLength(0);
  });

  test('that was cut is refused', () => {
    const whole = encode(HEADER, ARRAYS);

    expect(() => decodePanel(whole.slice(0, whole.byteLength - 8))).toThrow('ends too early');
    expect(() => decodePanel(new ArrayBuffer(0))).toThrow('empty panel');
  });
});
