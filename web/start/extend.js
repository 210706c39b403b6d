// A picture with more around it (outpainting). Pure.

/** So far the part that is drawn anew reaches into the old picture. */
export const OVERLAP = 16;

/** @typedef {{left: number, right: number, top: number, bottom: number}} Sides   pixels */

/**
 * @param {import("../protocol.js").Pixels} picture @param {Sides} sides
 * @param {"edge"|"noise"} filling   what the new part holds until it is drawn
 * @returns {import("../protocol.js").Pixels}
 */
export function extended({ width, height, rgba }, { left, right, top, bottom }, filling) {
  const wide = width + left + right;
  const high = height + top + bottom;
  const grown = new Uint8ClampedArray(4 * wide * high);
  const inside = (value, size) => Math.min(size - 1, Math.max(0, value));
  const random = randoms();
  for (let y = 0, at = 0; y < high; y += 1) {
    const row = inside(y - top, height) * width;
    for (let x = 0; x < wide; x += 1, at += 4) {
      const isOld = x >= left && x < left + width && y >= top && y < top + height;
      const from = 4 * (row + inside(x - left, width));
      const isNoise = filling === "noise" && !isOld;
      for (let channel = 0; channel < 3; channel += 1) grown[at + channel] = isNoise ? random() : rgba[from + channel];
      grown[at + 3] = 255;
    }
  }
  return { width: wide, height: high, rgba: grown };
}

/** What stays of the old picture, in the new one. @param {{width: number, height: number}} picture @param {Sides} sides */
export function keptOf({ width, height }, { left, right, top, bottom }) {
  const [fromLeft, fromTop] = [left, top].map((side) => (side > 0 ? OVERLAP : 0));
  const [fromRight, fromBottom] = [right, bottom].map((side) => (side > 0 ? OVERLAP : 0));
  return {
    x: left + fromLeft, y: top + fromTop,
    width: Math.max(0, width - fromLeft - fromRight), height: Math.max(0, height - fromTop - fromBottom),
  };
}

/** The same numbers each time, so that undo and redo come to the same picture: xorshift32 (Marsaglia 2003). */
function randoms() {
  let state = 2463534242;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 255;
  };
}
