// What a start picture's strength comes to. Pure.

/** A side's pixels are a multiple of these. */
const GRID = 8;

/**
 * How many steps are made, as A1111 counts (modules/sd_samplers_common.py, setup_img2img_steps).
 * @param {number} strength @param {number} steps @param {boolean} exact   all of them, whatever the strength
 */
export function stepsMade(strength, steps, exact) {
  if (exact) return steps;
  return Math.trunc(Math.min(strength, 0.999) * steps) + 1;
}

/**
 * The size to draw at that is nearest to a picture's.
 * @param {{width: number, height: number}} picture @param {{least: number, most: number}} limits   of a side
 */
export function sizeNear({ width, height }, { least, most }) {
  const scale = Math.min(1, most / Math.max(width, height));
  const side = (pixels) => Math.min(most, Math.max(least, GRID * Math.round(pixels * scale / GRID)));
  return { width: side(width), height: side(height) };
}
