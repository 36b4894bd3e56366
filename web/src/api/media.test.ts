import { expect, test } from 'vitest';
import { besides, decodeHistograms } from './media';

function encoded(header: object, counts: number[], cut = 0): ArrayBuffer {
  let text = JSON.stringify(header);
  text += ' '.repeat((8 - ((4 + text.length) % 8)) % 8);
  const bytes = new Uint8Array(4 + text.length + counts.length * 4);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(new TextEncoder().encode(text), 4);
  bytes.set(new Uint8Array(new Float32Array(counts).buffer), 4 + text.length);
  return bytes.buffer.slice(0, bytes.length - cut);
}

test('histograms are decoded as rows of counts', () => {
  const found = decodeHistograms(encoded({ steps: [0, 10], low: -1, high: 1, bins: 2, total: 2 }, [1, 2, 3, 4]));

  expect(found).toMatchObject({ steps: [0, 10], low: -1, high: 1, bins: 2, total: 2 });
  expect([...found.counts]).toEqual([1, 2, 3, 4]);
});

test('an answer cut off is told as such', () => {
  const header = { steps: [0, 10], low: 0, high: 1, bins: 2, total: 2 };

  expect(() => decodeHistograms(encoded(header, [1, 2, 3, 4], 4))).toThrow('end too early');
  expect(() => decodeHistograms(new ArrayBuffer(2))).toThrow('empty');
});

test('what lies beside a content is of the same run', () => {
  expect(besides('/api/v1/runs/r%201/content/w-1/17', 'abc')).toBe('/api/v1/runs/r%201/content/abc');
});
