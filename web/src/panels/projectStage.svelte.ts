import { MediaCatalogue } from '../media/catalogue.svelte';
import { dashOf } from '../charts/lines';
import { groupName, legend } from '../charts/legend';
import type { Stage } from './stage.svelte';
import type { Workspace } from './workspace.svelte';

/** The most runs that go into the means of groups. */
const MOST_GROUPED = 1000;

/** A project's page as a stage for panels. */
export function projectStage(workspace: Workspace): Stage {
  const entries = $derived([
    ...(workspace.columns?.config ?? []).map(({ key }) => `config.${key}`),
    ...(workspace.columns?.summary ?? []).map(({ key }) => `summary.${key}`),
  ]);
  const media = new MediaCatalogue(() => workspace.charted.map((run) => run.id), () => workspace.news);
  const byId = $derived(new Map(workspace.charted.map((run) => [run.id, run])));
  return {
    project: workspace.project,
    get runs() { return workspace.charted; },
    get settings() { return workspace.look.settings; },
    get layout() { return workspace.look.layout; },
    get metricKeys() { return workspace.metricKeys; },
    get mediaKeys() { return media.keys; },
    get entries() { return entries; },
    get filter() { return workspace.look.filter; },
    get highlight() { return workspace.highlight; },
    get news() { return workspace.news; },
    setHighlight: (id) => (workspace.highlight = id),
    setLayout: (layout) => workspace.change({ layout }),
    selection(_panel, settings) {
      if (workspace.grouped) {
        const { filter, group, order } = workspace.look;
        workspace.giveColors(workspace.groups.groups.map(({ values }) => groupName(values)));
        return { project: workspace.project, filter, order: order.join(','), limit: MOST_GROUPED, group: { by: group, band: settings.band } };
      }
      return workspace.charted.length === 0 ? null : { runs: workspace.charted.map((run) => run.id), group: null };
    },
    style(series, panel, settings) {
      const dash = dashOf(Math.max(0, panel.keys.indexOf(series.key)));
      const several = panel.keys.length > 1 && !settings.legend.includes('{key}') ? ` ${series.key}` : '';
      if (series.group !== null) {
        const name = groupName(series.group);
        return workspace.look.hidden.includes(name) ? null : { id: name, color: workspace.colorOf(name), label: `${name}${several} (${series.runs})`, dash };
      }
      const run = byId.get(series.run ?? '');
      return run === undefined ? null : { id: run.id, color: run.color, label: legend(settings.legend, run.row, series.key) + several, dash };
    },
  };
}
