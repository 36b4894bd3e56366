// Models in glTF that carry their buffer as base64 text: nothing on the page may be fetched from a data: address.

const MAGIC = 0x46546c67;
const JSON_CHUNK = 0x4e4f534a;
const BINARY_CHUNK = 0x004e4942;

/** The model as a binary one; as it is where it names no buffer in itself, or several. */
export function toBinary(text: string): ArrayBuffer | string {
  const model = JSON.parse(text) as { buffers?: { uri?: string; byteLength: number }[] };
  const [only, ...others] = model.buffers ?? [];
  const data = /^data:[^,]*;base64,(.*)$/s.exec(only?.uri ?? '')?.[1];
  if (only === undefined || data === undefined || others.length > 0) return text;
  const binary = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const json = new TextEncoder().encode(JSON.stringify({ ...model, buffers: [{ byteLength: binary.length }] }));
  const [jsonRoom, binaryRoom] = [Math.ceil(json.length / 4) * 4, Math.ceil(binary.length / 4) * 4];
  const whole = new Uint8Array(12 + 8 + jsonRoom + 8 + binaryRoom);
  const view = new DataView(whole.buffer);
  [MAGIC, 2, whole.length, jsonRoom, JSON_CHUNK].forEach((word, index) => view.setUint32(index * 4, word, true));
  whole.fill(0x20, 20, 20 + jsonRoom);
  whole.set(json, 20);
  view.setUint32(20 + jsonRoom, binaryRoom, true);
  view.setUint32(24 + jsonRoom, BINARY_CHUNK, true);
  whole.set(binary, 28 + jsonRoom);
  return whole.buffer;
}
