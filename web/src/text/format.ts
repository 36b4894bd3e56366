// Numbers, times and sizes as people read them. The exact value always stays at hand: see `exact`.

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Made once: making one costs a hundred times what using it does, and axes are drawn every second. */
const COUNTS = new Intl.NumberFormat('en-US');

/** A number in at most `digits` significant digits, in scientific notation where it is very large or small. */
export function formatNumber(value: number, digits = 4): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return minus(COUNTS.format(value));
  if (size >= 1e6 || size < 1e-4) return minus(value.toExponential(digits - 1).replace(/\.?0+e/, 'e').replace('e+', 'e'));
  const text = value.toPrecision(digits);
  return minus(text.includes('.') ? text.replace(/\.?0+$/, '') : text);
}

/** A count with thousands separated; 12,345. */
export function formatCount(value: number): string {
  return COUNTS.format(value);
}

/** A large count in three digits; 12.3k. */
export function formatShortCount(value: number): string {
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['k', 1e3]] as const) {
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))}${unit}`;
  }
  return String(value);
}

/** Any config or summary value on one line. */
export function formatValue(value: unknown, digits = 4): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number') return formatNumber(value, digits);
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return value ? 'true' : 'false';
  return JSON.stringify(value);
}

/** The value with every digit it has, for a title or a file. */
export function exact(value: unknown): string {
  if (typeof value === 'number') return String(value);
  return formatValue(value);
}

/** A length of time in its two largest units; 2h 5m. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '–';
  if (seconds < 1) return `${Math.round(seconds * 1000)}ms`;
  if (seconds < 10) return `${Number(seconds.toFixed(1))}s`;
  const total = Math.round(seconds);
  if (total < MINUTE) return `${total}s`;
  if (total < HOUR) return pair(total, MINUTE, 'm', 1, 's');
  if (total < DAY) return pair(total, HOUR, 'h', MINUTE, 'm');
  return pair(total, DAY, 'd', HOUR, 'h');
}

/** How long ago, or ahead, a time is; both in seconds since the epoch. */
export function formatAgo(time: number, now: number): string {
  const passed = now - time;
  if (Math.abs(passed) < 10) return 'just now';
  const length = Math.abs(passed);
  const text =
    length < MINUTE ? `${Math.round(length)}s`
    : length < HOUR ? `${Math.round(length / MINUTE)}m`
    : length < DAY ? `${Math.round(length / HOUR)}h`
    : length < 30 * DAY ? `${Math.round(length / DAY)}d`
    : length < 365 * DAY ? `${Math.round(length / (30 * DAY))}mo`
    : `${Math.round(length / (365 * DAY))}y`;
  return passed >= 0 ? `${text} ago` : `in ${text}`;
}

/** The local date and time to the second. */
export function formatTime(time: number): string {
  const date = new Date(time * 1000);
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-');
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** A size in binary units; 3.4 MiB. On an axis `digits` tell neighbours apart. */
export function formatBytes(bytes: number, digits?: number): string {
  if (bytes < 0) return `−${formatBytes(-bytes, digits)}`;
  if (bytes < 1024) return `${Number(bytes.toPrecision(3))} B`;
  let size = bytes;
  for (const unit of ['KiB', 'MiB', 'GiB', 'TiB']) {
    size /= 1024;
    if (size < 1024 && digits !== undefined) return `${Number(size.toPrecision(digits))} ${unit}`;
    if (size < 1024) return `${size < 10 ? size.toFixed(1) : Math.round(size)} ${unit}`;
  }
  return `${Math.round(size)} TiB`;
}

/** "1 run", "2 runs". */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

function pair(total: number, large: number, largeUnit: string, small: number, smallUnit: string): string {
  const rest = Math.floor((total % large) / small);
  return rest === 0 ? `${Math.floor(total / large)}${largeUnit}` : `${Math.floor(total / large)}${largeUnit} ${rest}${smallUnit}`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

function minus(text: string): string {
  return text.startsWith('-') ? `−${text.slice(1)}` : text;
}
