// Going through the steps at which something was logged.

/** The place of the last step that is not after another; the very last for null, 0 where all are after it. */
export function placeOf(steps: readonly number[], step: number | null): number {
  if (step === null) return Math.max(0, steps.length - 1);
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle]! <= step) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}

/** The step at a place; null at the last one, which stands for whatever comes after it. */
export function stepAt(steps: readonly number[], place: number): number | null {
  return place >= steps.length - 1 ? null : (steps[Math.max(0, place)] ?? null);
}
