// The size that a second, larger pass comes to (hires fix). Pure.

/** Pixels of a side, which the engine draws at most. */
export const MOST_SIDE = 2048;

/**
 * In whole latents, as the engine has it.
 * @param {{width: number, height: number}} first @param {?{scale: number}|undefined} hires
 * @returns {{width: number, height: number}}
 */
export function sizeAfter({ width, height }, hires) {
  const side = (pixels) => 8 * Math.trunc(pixels * hires.scale / 8);
  return hires ? { width: side(width), height: side(height) } : { width, height };
}
