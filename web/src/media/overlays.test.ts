import { describe, expect, test } from 'vitest';
import { classesIn, colorOf, isShown, layersOf, merged, overlaysOf, paint, scoresOf, textOf, type Box } from './overlays';
import { unpacked } from './masks';

const METADATA = {
  width: 200, height: 100, classes: { '7': 'bus' },
  boxes: {
    predictions: { labels: { '1': 'car' }, boxes: [
      { position: [0.1, 0.2, 0.5, 0.6], domain: 'fraction', class: 1, scores: { p: 0.9 } },
      { position: [20, 10, 100, 50], domain: 'pixel', class: 7, caption: 'number 12', scores: { p: 0.3 } },
    ] },
    truth: { labels: { '1': 'car' }, boxes: [{ position: [0, 0, 1, 1], domain: 'fraction', class: 1 }] },
  },
  masks: { road: { labels: { '1': 'asphalt' }, digest: 'd1', size: 3, path: 'media/part/x.png' } },
};
const URL = '/api/v1/runs/r/content/w/1';

async function boxes(): Promise<Box[]> {
  return (await overlaysOf(METADATA, URL)).boxes;
}

describe('boxes', () => {
  test('are fractions of the image, whichever way they were logged', async () => {
    expect((await boxes()).map((box) => box.corners)).toEqual([[0.1, 0.2, 0.5, 0.6], [0.1, 0.1, 0.5, 0.5], [0, 0, 1, 1]]);
  });

  test('say their caption, or their class and scores', async () => {
    expect((await boxes()).map((box) => textOf(box, String))).toEqual(['car 0.9', 'number 12', 'car']);
  });

  test('are hidden by their class, and by a score they have', async () => {
    const shown = async (look: Parameters<typeof isShown>[1]): Promise<boolean[]> => (await boxes()).map((box) => isShown(box, look));

    expect(await shown({ hidden: ['box:predictions:1'], least: {} })).toEqual([false, true, true]);
    expect(await shown({ hidden: [], least: { p: 0.5 } })).toEqual([true, false, true]);
    expect(scoresOf(await boxes())).toEqual({ p: { low: 0.3, high: 0.9 } });
  });
});

describe('layers', () => {
  test('are one for each class of a set, a class having one colour in all of them', async () => {
    const layers = layersOf(await overlaysOf(METADATA, URL), { road: [1, 3] });

    expect(layers.map(({ id, label, dashed }) => [id, label, dashed])).toEqual([
      ['box:predictions:1', 'car', false], ['box:predictions:7', 'bus', false], ['box:truth:1', 'car', true], ['mask:road:1', 'asphalt', false], ['mask:road:3', 'class 3', false],
    ]);
    expect(layers[0]!.color).toBe(layers[2]!.color);
  });

  test('of several images are listed once', async () => {
    const layers = layersOf(await overlaysOf(METADATA, URL));

    expect(merged([layers, layers])).toEqual(layers);
  });
});

describe('a mask', () => {
  test('lies beside its image', async () => {
    expect((await overlaysOf(METADATA, URL)).masks).toEqual([{ set: 'road', labels: { '1': 'asphalt', '7': 'bus' }, url: '/api/v1/runs/r/content/d1' }]);
  });

  test('shows classes in their colours, and an unnamed 0 not at all', () => {
    const pixels = paint([0, 1, 2, 1], 'road', {}, new Set(['mask:road:2']));

    expect([0, 1, 2, 3].map((pixel) => pixels[pixel * 4 + 3])).toEqual([0, 140, 0, 140]);
    expect([...pixels.subarray(4, 7)]).toEqual([1, 3, 5].map((at) => Number.parseInt(colorOf(1).slice(at, at + 2), 16)));
    expect(classesIn([0, 5, 5, 0], {})).toEqual([5]);
    expect(classesIn([0, 5], { '0': 'sky' })).toEqual([0, 5]);
  });

  test('of fewer than eight bits a pixel is unpacked row by row', () => {
    expect([...unpacked([0b01100000, 0b10010000], 4, 2, 1, 1)]).toEqual([0, 1, 1, 0, 1, 0, 0, 1]);
    expect([...unpacked([0x12, 0x30, 0x45, 0x60], 3, 2, 4, 4)]).toEqual([1, 2, 3, 4, 5, 6]);
  });
});
