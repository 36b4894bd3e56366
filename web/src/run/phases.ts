// The phases of a run: before its first metric, while it logs, and after its last.

import { panel } from '../api/client';
import type { Alert, RunDetail } from '../api/contract';
import type { PanelData } from '../api/panel';
import type { Timeline } from '../charts/timeline';

const MOST_KEYS = 20;
/** As many as a panel has at most, so that an edge is told to a pixel. */
const BUCKETS = 1500;

/** When a run's first and last metrics came, in seconds since it began; null where it has logged none. */
export async function loggedSpan(run: RunDetail, signal: AbortSignal): Promise<[number, number] | null> {
  const keys = [...run.keys.metric].sort((a, b) => b.count - a.count).slice(0, MOST_KEYS).map(({ key }) => key);
  if (keys.length === 0) return null;
  const spec = { runs: [run.id], keys, kind: 'metric', x: 'relative', scale: 'linear', range: null, buckets: BUCKETS, stats: ['mean'], group: null } as const;
  return spanOf(await panel({ ...spec, runs: [...spec.runs], stats: [...spec.stats] }, signal));
}

export function spanOf({ x, series }: Pick<PanelData, 'x' | 'series'>): [number, number] | null {
  const isFilled = (_: number, index: number): boolean => series.some(({ mean }) => !Number.isNaN(mean[index]!));
  const first = x.findIndex(isFilled);
  return first < 0 ? null : [x[first]!, x[x.findLastIndex(isFilled)]!];
}

/** The run's phases and alerts on a relative axis, or on one of wall time. */
export function timelineOf(run: Pick<RunDetail, 'created' | 'ended'>, span: [number, number] | null, alerts: readonly Alert[], x: string): Timeline | null {
  if (x !== 'relative' && x !== 'time') return null;
  const origin = x === 'time' ? run.created : 0;
  const end = run.ended === null ? null : Math.max(run.ended - run.created, span?.[1] ?? 0);
  const phases = span === null ? [] : [
    { name: 'setup', from: 0, to: span[0] },
    { name: 'training', from: span[0], to: end === null ? Number.MAX_VALUE : span[1] },
    ...(end === null ? [] : [{ name: 'wrap-up', from: span[1], to: end }]),
  ];
  return {
    phases: phases.map(({ name, from, to }) => ({ name, from: origin + from, to: origin + to })),
    alerts: alerts.map(({ time, title }) => ({ at: origin + time - run.created, title })),
  };
}
