import { expect, test } from 'vitest';
import { toBinary } from './gltf';

test('a model that carries its buffer as text becomes a binary one', () => {
  const model = { asset: { version: '2.0' }, buffers: [{ byteLength: 3, uri: `data:application/octet-stream;base64,${btoa('abc')}` }] };
  const found = toBinary(JSON.stringify(model)) as ArrayBuffer;
  const view = new DataView(found);
  const length = view.getUint32(12, true);

  expect(new TextDecoder().decode(new Uint8Array(found, 0, 4))).toBe('glTF');
  expect(view.getUint32(8, true)).toBe(found.byteLength);
  expect(JSON.parse(new TextDecoder().decode(new Uint8Array(found, 20, length)))).toEqual({ asset: { version: '2.0' }, buffers: [{ byteLength: 3 }] });
  expect(new TextDecoder().decode(new Uint8Array(found, 28 + length, 3))).toBe('abc');
});

test('a model whose buffer lies elsewhere stays as it is', () => {
  const text = JSON.stringify({ buffers: [{ byteLength: 3, uri: 'model.bin' }] });

  expect(toBinary(text)).toBe(text);
});
