import { expect, test } from 'vitest';
import { layoutOf, mapIn } from './plotly';

const ink = (token: string): string => token;

test('maps, whose tiles are elsewhere, are told from other figures', () => {
  expect(mapIn({ data: [{ type: 'scatter' }, { type: 'heatmap' }, {}] })).toBeNull();
  expect(mapIn({ data: [{ type: 'scatter' }, { type: 'scattermapbox' }] })).toBe('scattermapbox');
  expect(mapIn({ data: [{ type: 'choropleth' }] })).toBe('choropleth');
});

test('a figure keeps what it says of itself, and fills its place', () => {
  const layout = layoutOf({ layout: { title: { text: 'Mine' }, width: 700, height: 500, font: { color: 'red' }, template: { layout: { colorway: ['red'], plot_bgcolor: '#E5ECF6' } } } }, ink);

  expect(layout).toMatchObject({ title: { text: 'Mine' }, font: { color: 'red' }, autosize: true, template: { layout: { colorway: ['red'], plot_bgcolor: 'rgba(0,0,0,0)', font: { color: '--ink-soft' } } } });
  expect(layout).not.toHaveProperty('width');
});

test('pictures of a layout are left out: they may be asked for elsewhere', () => {
  expect(layoutOf({ layout: { images: [{ source: 'https://example.com/a.png' }] } }, ink)).not.toHaveProperty('images');
});
