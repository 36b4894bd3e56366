export type Range = [number, number];

/** The least and greatest finite value of some arrays; null where there is none. */
export function extent(arrays: Iterable<ArrayLike<number | null>>, positive = false): Range | null {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const array of arrays) {
    for (let i = 0; i < array.length; i++) {
      const value = array[i];
      if (value === null || value === undefined || !Number.isFinite(value) || (positive && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : null;
}

const SAMPLE = 5000;

/** The extent of the middle 98 % of the values, so that a spike does not flatten everything else. */
export function extentWithoutOutliers(arrays: readonly ArrayLike<number | null>[], positive = false): Range | null {
  const count = arrays.reduce((sum, array) => sum + array.length, 0);
  const stride = Math.max(1, Math.ceil(count / SAMPLE));
  const values: number[] = [];
  let at = 0;
  for (const array of arrays) {
    for (let i = 0; i < array.length; i++) {
      const value = array[i];
      if (at++ % stride === 0 && value !== null && value !== undefined && Number.isFinite(value) && !(positive && value <= 0)) values.push(value);
    }
  }
  if (values.length === 0) return null;
  values.sort((a, b) => a - b);
  const cut = Math.floor(values.length * 0.01);
  return [values[cut]!, values[values.length - 1 - cut]!];
}

/** The extent with some air around it; a single value gets a range around it. */
export function padded([low, high]: Range, logarithmic = false): Range {
  if (logarithmic) return low === high ? [low / 2, high * 2] : [low / (high / low) ** 0.03, high * (high / low) ** 0.03];
  if (low === high) return low === 0 ? [-1, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
  const air = (high - low) * 0.05;
  // A quantity that never goes below zero should not seem to.
  return [low >= 0 && low - air < 0 ? 0 : low - air, high + air];
}

/** Round numbers across a range, at most about `count` of them. */
export function ticks([low, high]: Range, count: number): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) ?? 10 * power;
  const out: number[] = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index++) out.push(Number((index * step).toPrecision(12)));
  return out;
}

/** Powers of ten across a range of positive numbers. */
export function logTicks([low, high]: Range): number[] {
  const out: number[] = [];
  for (let power = Math.ceil(Math.log10(low) - 1e-9); power <= Math.log10(high) + 1e-9; power++) out.push(10 ** power);
  return out.length >= 2 ? out : [low, high];
}
