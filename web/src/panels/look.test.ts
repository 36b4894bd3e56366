import { describe, expect, test } from 'vitest';
import { changePanel, emptyLayout } from './layout';
import { complete, defaultLook, fromAddress, toAddress, type Look } from './look';

const LOOK: Look = {
  ...defaultLook(),
  filter: 'config.lr < 0.1 and tags has "a,b"',
  order: ['-summary.loss', '+config.my,key'],
  hidden: ['r1'],
  count: 25,
  settings: { ...defaultLook().settings, smoothing: 'ema', amount: 0.9, legend: '{name} — λ={config.lr}' },
  layout: changePanel(emptyLayout(), 'auto:loss', { span: 2 }),
};

describe('a look', () => {
  test('comes back from its address as it was', () => {
    const { search, hash } = toAddress(LOOK);

    expect(fromAddress(search, hash)).toEqual(LOOK);
  });

  test('as usual leaves the address bare', () => {
    expect(toAddress(defaultLook())).toEqual({ search: '', hash: '' });
    expect(fromAddress('', '')).toBeNull();
  });

  test('from a damaged address is as usual where it is damaged', () => {
    expect(fromAddress('?filter=x', '#look=%%%')).toMatchObject({ filter: 'x', count: 10 });
  });

  test('from an older view has what was added since', () => {
    expect(complete({ filter: 'x', settings: { logY: true }, order: 'broken' })).toMatchObject({
      filter: 'x',
      order: ['-created'],
      settings: { logY: true, x: 'step' },
    });
  });
});
