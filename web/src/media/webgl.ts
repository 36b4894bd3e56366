let known: boolean | undefined;

/** Whether this browser draws in three dimensions; servers and old machines often don't. */
export function hasWebGL(): boolean {
  known ??= document.createElement('canvas').getContext('webgl2') !== null;
  return known;
}
