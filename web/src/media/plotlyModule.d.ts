// The strict build comes without types; this is what of it is used.
declare module 'plotly.js-strict-dist-min' {
  interface Given { data: object[]; layout: object; frames: unknown[]; config: object }
  const Plotly: {
    newPlot(host: HTMLElement, given: Given): Promise<unknown>;
    purge(host: HTMLElement): void;
    Plots: { resize(host: HTMLElement): Promise<unknown> | void };
  };
  export default Plotly;
}
