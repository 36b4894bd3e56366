import { describe, expect, test } from 'vitest';
import { plainText, render, Transcript } from './terminal';

const piece = (text: string, stream = 'stdout', writer = 'w') => ({ time: 1, stream, writer, text });

describe('a transcript', () => {
  test('joins pieces to lines', () => {
    const transcript = new Transcript();
    transcript.add(piece('one\ntw'));
    transcript.add(piece('o\r\nthree'));

    expect(transcript.lines.map((line) => line.raw)).toEqual(['one', 'two', 'three']);
  });

  test('keeps the open lines of streams and writers apart', () => {
    const transcript = new Transcript();
    transcript.add(piece('out '));
    transcript.add(piece('err\n', 'stderr'));
    transcript.add(piece('other\n', 'stdout', 'v'));
    transcript.add(piece('put\n'));

    expect(transcript.lines.map((line) => line.raw)).toEqual(['out put', 'err', 'other']);
  });

  test('keeps empty lines', () => {
    const transcript = new Transcript();
    transcript.add(piece('a\n\nb\n'));

    expect(transcript.lines.map((line) => line.raw)).toEqual(['a', '', 'b']);
  });
});

describe('a line', () => {
  test('shows what a progress bar wrote last', () => {
    expect(plainText(' 10%|#   |\r 50%|##  |\r100%|####|')).toBe('100%|####|');
  });

  test('keeps the end of a longer text that was written over', () => {
    expect(plainText('abcdef\rXY')).toBe('XYcdef');
    expect(plainText('abcdef\rXY\x1b[K')).toBe('XY');
    expect(plainText('abcdef\x1b[2K\rXY')).toBe('XY');
  });

  test('has its colours and weights', () => {
    expect(render('a\x1b[1;31mb\x1b[0mc').map(({ text, style }) => [text, style.color, style.bold])).toEqual([
      ['a', null, false],
      ['b', 1, true],
      ['c', null, false],
    ]);
  });

  test('has colours of 256 and of 16 million', () => {
    expect(render('\x1b[38;5;196mx')[0]!.style.color).toBe('#ff0000');
    expect(render('\x1b[48;2;1;2;3mx')[0]!.style.ground).toBe('#010203');
    expect(render('\x1b[38;5;9mx')[0]!.style.color).toBe(9);
  });

  test('hides what only a terminal understands', () => {
    expect(plainText('\x1b]0;title\x07text\x1b[?25l')).toContain('text');
    expect(plainText('\x1b]0;title\x07text')).toBe('text');
  });
});
