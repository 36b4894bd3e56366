// Vega without code made from text: the page's policy forbids it, and specifications are whatever somebody logged.

import { expressionInterpreter } from 'vega-interpreter';
import { loader, None as SILENT, parse, View, type Config, type Runtime, type Spec as VegaSpec } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import type { Drawable } from './chart';

export interface Told { x: number; y: number; rows: [string, string][] }

/** Draw a chart into an element; what it returns takes the chart away. `ontell` hears what lies under the pointer. */
export async function drawVega(host: HTMLElement, { language, spec }: Drawable, config: Record<string, unknown>, ontell: (told: Told | null) => void): Promise<() => void> {
  const silent = { level: () => silent, error: () => silent, warn: () => silent, info: () => silent, debug: () => silent };
  const whole = language === 'vega' ? (spec as unknown as VegaSpec) : (compile(spec as unknown as TopLevelSpec, { config: config as never, logger: silent as never }).spec as VegaSpec);
  const runtime: Runtime = parse(whole, language === 'vega' ? (config as Config) : undefined, { ast: true } as never);
  const view = new View(runtime, {
    expr: expressionInterpreter,
    loader: nothingFromElsewhere(),
    renderer: 'svg',
    container: host,
    hover: true,
    logLevel: SILENT,
    tooltip: (_handler: unknown, event: MouseEvent, _item: unknown, value: unknown) => ontell(toldOf(event, value)),
  } as never);
  await view.runAsync();
  return () => view.finalize();
}

/** Data, pictures and links of a specification lead nowhere. */
function nothingFromElsewhere(): ReturnType<typeof loader> {
  const refuse = (): Promise<never> => Promise.reject(new Error('This chart asks for something from elsewhere, which is not loaded.'));
  return { ...loader(), load: refuse, sanitize: refuse, http: refuse, file: refuse } as unknown as ReturnType<typeof loader>;
}

function toldOf(event: MouseEvent, value: unknown): Told | null {
  if (value === null || value === undefined || value === '') return null;
  const rows = typeof value === 'object' && !Array.isArray(value) ? Object.entries(value as Record<string, unknown>).map(([name, each]): [string, string] => [name, String(each)]) : [['', String(value)] as [string, string]];
  return { x: event.clientX, y: event.clientY, rows };
}
