import type { PanelHeader, Value } from './contract';

/** One line of a chart; every array is as long as the panel's `x`, and an empty bucket is NaN. */
export interface PanelSeries {
  run: string | null;
  key: string;
  name: string;
  group: Record<string, Value> | null;
  runs: number;
  points: number;
  mean: Float64Array;
  low: Float64Array | null;
  high: Float64Array | null;
}

export interface PanelData {
  x: Float64Array;
  version: number;
  series: PanelSeries[];
}

/**
 * Decode `application/x-trackkit-panel`: a length, a JSON header padded to 8 bytes, and arrays of doubles.
 * The arrays are views of the answer, so nothing is copied.
 */
export function decodePanel(buffer: ArrayBuffer): PanelData {
  if (buffer.byteLength < 4) throw new Error('The server sent an empty panel.');
  const headerLength = new DataView(buffer).getUint32(0, true);
  const start = 4 + headerLength;
  if (start > buffer.byteLength || start % 8 !== 0) throw new Error('The server sent a panel whose header is damaged.');
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, headerLength))) as PanelHeader;
  const array = (index: number | undefined): Float64Array | null => {
    if (index === undefined) return null;
    const offset = start + index * header.length * 8;
    if (offset + header.length * 8 > buffer.byteLength) throw new Error('The server sent a panel that ends too early.');
    return new Float64Array(buffer, offset, header.length);
  };
  return {
    x: array(header.x.array) ?? new Float64Array(),
    version: header.version,
    series: header.series.map((series) => ({
      run: series.run,
      key: series.key,
      name: series.name,
      group: series.group,
      runs: series.runs ?? 1,
      points: series.points,
      mean: array(series.arrays.mean ?? series.arrays.last) ?? new Float64Array(header.length).fill(Number.NaN),
      low: array(series.arrays.low ?? series.arrays.min),
      high: array(series.arrays.high ?? series.arrays.max),
    })),
  };
}
