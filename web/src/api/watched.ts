import { get, query, request } from './client';
import { decodeMatrices } from './matrix';

/** What a run watched under a key: gradients, parameters or activations. */
export interface WatchedKey {
  key: string;
  steps: number;
  first_step: number;
  last_step: number;
  statistics: string[];
  layers: { name: string; kind: string; shape: number[]; elements: number }[];
}

/** A statistic of layers (rows) over buckets of steps (columns). */
export interface HeatMapData {
  layers: string[];
  /** The first step of each column. */
  steps: Float64Array;
  /** Steps in a column; 0 where each is one step. */
  width: number;
  values: Float64Array;
  /** NaN and infinite elements. */
  nonfinite: Float64Array;
}

/** The histogram of a layer over buckets of steps: shares of its elements, by sign and power of two. */
export interface DistributionData {
  steps: Float64Array;
  width: number;
  low: number;
  high: number;
  rows: number;
  shares: Float64Array;
}

interface Header { rows: number; columns: number; width: number; layers: string[]; low: number; high: number }

const path = (run: string): string => `/runs/${encodeURIComponent(run)}/watched`;

export async function watchedKeys(run: string, signal?: AbortSignal): Promise<WatchedKey[]> {
  return (await get<{ watched: WatchedKey[] }>(path(run), signal)).watched;
}

export async function heatMap(run: string, key: string, statistic: string, buckets: number, signal?: AbortSignal): Promise<HeatMapData> {
  const response = await request('GET', `${path(run)}/${encodeURIComponent(key)}/heatmap${query({ statistic, buckets })}`, undefined, signal);
  const { header, arrays } = decodeMatrices<Header>(await response.arrayBuffer(), ({ rows, columns }) => [columns, rows * columns, rows * columns]);
  return { layers: header.layers, width: header.width, steps: arrays[0]!, values: arrays[1]!, nonfinite: arrays[2]! };
}

export async function distribution(run: string, key: string, layer: string, buckets: number, signal?: AbortSignal): Promise<DistributionData> {
  const response = await request('GET', `${path(run)}/${encodeURIComponent(key)}/distribution${query({ layer, buckets })}`, undefined, signal);
  const { header, arrays } = decodeMatrices<Header>(await response.arrayBuffer(), ({ rows, columns }) => [columns, rows * columns]);
  return { width: header.width, low: header.low, high: header.high, rows: header.rows, steps: arrays[0]!, shares: arrays[1]! };
}
