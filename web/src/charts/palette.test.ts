import { describe, expect, test } from 'vitest';
import { ColorBox, fade, PALETTE } from './palette';

type Rgb = [number, number, number];
// Machado, Oliveira and Fernandes (2009), severity 1.
const SIGHTS: Record<string, Rgb[]> = {
  normal: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protan: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deutan: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
};

function linear(color: string): Rgb {
  return [1, 3, 5].map((at) => {
    const value = Number.parseInt(color.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }) as Rgb;
}

function oklab([r, g, b]: Rgb): Rgb {
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

describe('the palette', () => {
  test('has at least twenty colours', () => {
    expect(new Set(PALETTE).size).toBeGreaterThanOrEqual(20);
  });

  test.each(Object.keys(SIGHTS))('tells any two colours apart with %s sight', (sight) => {
    const seen = PALETTE.map((color) => {
      const light = linear(color);
      const mixed = SIGHTS[sight]!.map((row) => Math.min(1, Math.max(0, row[0] * light[0] + row[1] * light[1] + row[2] * light[2])));
      return oklab(mixed as Rgb);
    });
    const distances = seen.flatMap((a, index) => seen.slice(index + 1).map((b) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2])));

    // A difference of 0.02 in OKLab is about what a person just notices.
    expect(Math.min(...distances)).toBeGreaterThan(0.04);
  });
});

describe('a run', () => {
  const ids = Array.from({ length: 20 }, (_, index) => `run${index}`);

  test('shares its colour with none of twenty shown beside it', () => {
    const box = new ColorBox();
    box.give(ids);

    expect(new Set(ids.map((id) => box.of(id))).size).toBe(20);
  });

  test('keeps its colour when others come and go', () => {
    const box = new ColorBox();
    box.give(ids);
    const before = box.of('run7');
    box.give(['run7', 'another', 'one more']);

    expect(box.of('run7')).toBe(before);
    expect(new ColorBox(box.entries()).of('run7')).toBe(before);
  });
});

test('a faded colour has its opacity at the end', () => {
  expect(fade('#102030', 0.5)).toBe('#10203080');
});
