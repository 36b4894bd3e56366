// What happened along a chart's x axis besides its values: the phases of a run, and its alerts.

import type uPlot from 'uplot';

export interface Timeline {
  /** In order and without gaps; `to` of one is `from` of the next. In units of the x axis. */
  phases: { name: string; from: number; to: number }[];
  alerts: { at: number; title: string }[];
}

/** What stands at a place of the x axis, in words; empty where nothing is known of it. */
export function momentOf(timeline: Timeline | null, at: number, reach: number): string {
  if (timeline === null) return '';
  const phase = timeline.phases.find(({ from, to }) => at >= from && at < to) ?? timeline.phases.findLast(({ to }) => at >= to);
  const alerts = timeline.alerts.filter((alert) => Math.abs(alert.at - at) <= reach).map(({ title }) => `⚠ ${title}`);
  return [phase?.name ?? '', ...alerts].filter(Boolean).join(' · ');
}

const AIR = 6;

/** Lines where a phase begins, its name where there is room for it, and a sign for every alert. */
export function drawTimeline(plot: uPlot, { phases, alerts }: Timeline, token: (name: string) => string): void {
  const { ctx, bbox } = plot;
  const scale = devicePixelRatio;
  const place = (at: number): number => plot.valToPos(at, 'x', true);
  const right = bbox.left + bbox.width;
  ctx.save();
  ctx.font = `${10.5 * scale}px ${token('--font')}`;
  ctx.textBaseline = 'top';
  ctx.textAlign = 'left';
  ctx.lineWidth = scale;
  ctx.setLineDash([3 * scale, 3 * scale]);
  phases.forEach((phase, index) => {
    const [from, to] = [Math.max(bbox.left, place(phase.from)), Math.min(right, place(phase.to))];
    if (to <= bbox.left || from >= right) return;
    if (index > 0 && from > bbox.left) line(from, token('--line-strong'));
    ctx.fillStyle = token('--ink-faint');
    if (ctx.measureText(phase.name).width + 2 * AIR * scale < to - from) ctx.fillText(phase.name, from + AIR * scale, bbox.top + 2 * scale);
  });
  ctx.fillStyle = token('--warn');
  for (const alert of alerts) {
    const at = place(alert.at);
    if (at < bbox.left || at > right) continue;
    line(at, token('--warn'));
    ctx.beginPath();
    ctx.moveTo(at - 4 * scale, bbox.top);
    ctx.lineTo(at + 4 * scale, bbox.top);
    ctx.lineTo(at, bbox.top + 6 * scale);
    ctx.fill();
  }
  ctx.restore();

  function line(at: number, color: string): void {
    ctx.strokeStyle = color;
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
  }
}
