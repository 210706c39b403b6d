// Which part of a picture is drawn where the masked part alone is, as A1111 has it (modules/masking.py). Pure.

/** @typedef {{left: number, top: number, right: number, bottom: number}} Box   right and bottom lie outside */

/**
 * What is drawn anew, with its soft edge as far as that reaches.
 * @param {import("../protocol.js").Pixels} mask @param {import("../protocol.js").Inpaint} inpaint
 * @returns {?Box} null: nothing is
 */
export function boxOf({ width, height, rgba }, { blur, inverted }) {
  const box = { left: width, top: height, right: 0, bottom: 0 };
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 4) {
      if (rgba[at] === (inverted ? 255 : 0)) continue;
      if (x < box.left) box.left = x;
      if (x >= box.right) box.right = x + 1;
      if (y < box.top) box.top = y;
      box.bottom = y + 1;
    }
  }
  if (box.right === 0) return null;
  return widened(box, Math.trunc(2.5 * blur + 0.5), { width, height });
}

/**
 * That part with what lies around it, in the shape that is drawn.
 * @param {Box} box @param {number} padding
 * @param {{width: number, height: number}} picture @param {{width: number, height: number}} drawn
 * @returns {Box}
 */
export function cropOf(box, padding, picture, drawn) {
  const { left, top, right, bottom } = widened(box, padding, picture);
  const ratio = drawn.width / drawn.height;
  if ((right - left) / (bottom - top) > ratio) {
    const [from, to] = grown([top, bottom], (right - left) / ratio, picture.height);
    return { left, right, top: from, bottom: to };
  }
  const [from, to] = grown([left, right], (bottom - top) * ratio, picture.width);
  return { left: from, right: to, top, bottom };
}

function widened({ left, top, right, bottom }, by, { width, height }) {
  return {
    left: Math.max(0, left - by), top: Math.max(0, top - by),
    right: Math.min(width, right + by), bottom: Math.min(height, bottom + by),
  };
}

/** On both sides, and away from an edge that is in the way. */
function grown([first, last], wanted, limit) {
  let [low, high] = [first, last];
  const more = Math.trunc(wanted - (high - low));
  low -= Math.floor(more / 2);
  high += more - Math.floor(more / 2);
  if (high >= limit) {
    low -= high - limit;
    high = limit;
  }
  if (low < 0) {
    high -= low;
    low = 0;
  }
  return [low, Math.min(high, limit)];
}
