// What a terminal would show of a stream of text: ANSI colours, and carriage returns that write over a line.

export interface Style {
  /** An index of the 16 colours, or a colour of its own as #rrggbb. */
  color: number | string | null;
  ground: number | string | null;
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
}

export interface Piece {
  text: string;
  style: Style;
}

export interface Line {
  time: number;
  stream: string;
  writer: string;
  /** As written, without the end of the line. */
  raw: string;
}

export const PLAIN: Style = { color: null, ground: null, bold: false, dim: false, italic: false, underline: false };

/** Puts pieces of text together to lines; every writer and stream has an open line of its own. */
export class Transcript {
  readonly lines: Line[] = [];
  private readonly open = new Map<string, Line>();

  add(piece: { time: number; stream: string; writer: string; text: string }): void {
    const source = `${piece.writer}/${piece.stream}`;
    const parts = piece.text.replaceAll('\r\n', '\n').split('\n');
    parts.forEach((text, index) => {
      const last = index === parts.length - 1;
      let line = this.open.get(source);
      if (line === undefined) {
        if (last && text === '') return;
        line = { time: piece.time, stream: piece.stream, writer: piece.writer, raw: '' };
        this.lines.push(line);
        this.open.set(source, line);
      }
      line.raw += text;
      if (!last) this.open.delete(source);
    });
  }
}

// eslint-disable-next-line no-control-regex
const ESCAPE = /\x1b(?:\[([0-9;:]*)([A-Za-z])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])/g;

/** The pieces a line shows, one for each change of style. */
export function render(raw: string): Piece[] {
  if (!/[\x1b\r\b]/.test(raw)) return raw === '' ? [] : [{ text: raw, style: PLAIN }];
  const cells: { text: string; style: Style }[] = [];
  let at = 0;
  let style = PLAIN;
  const write = (text: string): void => {
    for (const character of text) {
      if (character === '\r') at = 0;
      else if (character === '\b') at = Math.max(0, at - 1);
      else cells[at++] = { text: character, style };
    }
  };
  let from = 0;
  for (const match of raw.matchAll(ESCAPE)) {
    write(raw.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] === 'm') style = restyled(style, match[1] ?? '');
    else if (match[2] === 'K') erase(cells, at, match[1] ?? '');
    else if (match[2] === 'G') at = Math.max(0, Number(match[1] || 1) - 1);
  }
  write(raw.slice(from));
  return joined(cells);
}

/** What a line says, for searching and copying. */
export function plainText(raw: string): string {
  return render(raw).map((piece) => piece.text).join('');
}

function erase(cells: { text: string; style: Style }[], at: number, mode: string): void {
  if (mode === '2') cells.length = 0;
  else if (mode === '1') for (let i = 0; i < Math.min(at, cells.length); i++) cells[i] = { text: ' ', style: PLAIN };
  else cells.length = Math.min(cells.length, at);
}

function joined(cells: { text: string; style: Style }[]): Piece[] {
  const out: Piece[] = [];
  for (let i = 0; i < cells.length; i++) {
    const cell = cells[i] ?? { text: ' ', style: PLAIN };
    const last = out.at(-1);
    if (last !== undefined && last.style === cell.style) last.text += cell.text;
    else out.push({ ...cell });
  }
  return out;
}

function restyled(style: Style, codes: string): Style {
  const list = codes === '' ? [0] : codes.split(/[;:]/).map(Number);
  let out = { ...style };
  for (let i = 0; i < list.length; i++) {
    const code = list[i]!;
    if (code === 0) out = { ...PLAIN };
    else if (code === 1) out.bold = true;
    else if (code === 2) out.dim = true;
    else if (code === 3) out.italic = true;
    else if (code === 4) out.underline = true;
    else if (code === 22) out.bold = out.dim = false;
    else if (code === 23) out.italic = false;
    else if (code === 24) out.underline = false;
    else if (code >= 30 && code <= 37) out.color = code - 30;
    else if (code >= 90 && code <= 97) out.color = code - 82;
    else if (code === 39) out.color = null;
    else if (code >= 40 && code <= 47) out.ground = code - 40;
    else if (code >= 100 && code <= 107) out.ground = code - 92;
    else if (code === 49) out.ground = null;
    else if (code === 38 || code === 48) {
      const [color, used] = extended(list.slice(i + 1));
      if (code === 38) out.color = color;
      else out.ground = color;
      i += used;
    }
  }
  return out;
}

/** A colour of 256 or of 16 million, and how many codes it took. */
function extended(codes: number[]): [number | string | null, number] {
  if (codes[0] === 2) return [hex(codes[1] ?? 0, codes[2] ?? 0, codes[3] ?? 0), 4];
  if (codes[0] !== 5) return [null, 1];
  const index = codes[1] ?? 0;
  if (index < 16) return [index, 2];
  if (index >= 232) {
    const level = 8 + (index - 232) * 10;
    return [hex(level, level, level), 2];
  }
  const level = (part: number): number => (part === 0 ? 0 : 55 + part * 40);
  const cube = index - 16;
  return [hex(level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)), 2];
}

function hex(...parts: number[]): string {
  return `#${parts.map((part) => Math.min(255, Math.max(0, part | 0)).toString(16).padStart(2, '0')).join('')}`;
}
