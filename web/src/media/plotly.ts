// What of a Plotly figure is changed before it is drawn here.

export interface PlotlyFigure {
  data?: Trace[];
  layout?: Record<string, unknown>;
  frames?: unknown[];
}

type Trace = Record<string, unknown> & { type?: string };

/** Traces that draw on maps, whose tiles and borders come from servers elsewhere. */
const MAPS = /^(scatter|choropleth|density)(geo|map|mapbox)$|^choropleth$/;

/** Why a figure can't be drawn without asking other servers; null where it can. */
export function mapIn({ data = [] }: PlotlyFigure): string | null {
  return data.find(({ type }) => type !== undefined && MAPS.test(type))?.type ?? null;
}

/** The layout in the dashboard's inks, where the figure has none of its own; it fills its place. */
export function layoutOf(figure: PlotlyFigure, ink: (token: string) => string): Record<string, unknown> {
  const { template, width: _width, height: _height, images: _images, ...layout } = figure.layout ?? {};
  const base = (template as { layout?: Record<string, unknown>; data?: unknown } | undefined) ?? {};
  const axis = { gridcolor: ink('--grid'), linecolor: ink('--line'), zerolinecolor: ink('--line-strong') };
  const known = (base.layout ?? {}) as Record<string, Record<string, unknown> | undefined>;
  return {
    margin: { l: 48, r: 16, t: layout.title === undefined ? 16 : 44, b: 40 },
    ...layout,
    autosize: true,
    template: {
      ...base,
      layout: {
        ...base.layout,
        paper_bgcolor: 'rgba(0,0,0,0)',
        plot_bgcolor: 'rgba(0,0,0,0)',
        font: { ...known.font, color: ink('--ink-soft'), family: ink('--font'), size: 11 },
        xaxis: { ...known.xaxis, ...axis },
        yaxis: { ...known.yaxis, ...axis },
      },
    },
  };
}
