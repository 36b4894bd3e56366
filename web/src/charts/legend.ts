import type { RunRow, Value } from '../api/contract';
import { formatValue } from '../text/format';

export const DEFAULT_LEGEND = '{name}';

/**
 * The legend of a line from a template such as `{name} lr={config.lr}`.
 *
 * `{key}` is the metric's name; a key of several parts names the series when a chart has several.
 */
export function legend(template: string, run: Pick<RunRow, 'id' | 'name' | 'group' | 'job_type' | 'state' | 'tags' | 'host' | 'values'> | undefined, key: string): string {
  return template.replace(/\{([^{}]+)\}/g, (_, name: string) => {
    const wanted = name.trim();
    if (wanted === 'key') return key;
    if (run === undefined) return '–';
    if (wanted === 'tags') return run.tags.join(', ');
    const own = run[wanted as 'name'] as Value | undefined;
    return formatValue(own !== undefined && wanted !== 'values' ? own : run.values[wanted]) || '–';
  });
}

/** The columns a template needs, as `config.lr`. */
export function legendColumns(template: string): string[] {
  return [...template.matchAll(/\{\s*((?:config|summary)\.[^{}]+?)\s*\}/g)].map((match) => match[1]!);
}

/** What a group is called where space is short: its value alone, where the runs are grouped by one key. */
export function shortGroupName(values: Record<string, Value>): string {
  const all = Object.values(values);
  return all.length === 1 ? formatValue(all[0]) || 'none' : groupName(values);
}

/** What a group of runs is called: the values they have in common. */
export function groupName(values: Record<string, Value>): string {
  return Object.entries(values)
    .map(([key, value]) => `${key.replace(/^(config|summary)\./, '')}=${formatValue(value) || 'none'}`)
    .join(' ');
}
