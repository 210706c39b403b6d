// Masks as numbers: what a file says, what is painted, how much of it. Pure.

/** What A1111 takes for white in a mask's alpha. */
const SOLID = 128;

/**
 * How much of each pixel is painted anew: of a picture with transparency its alpha says it, of another one its grey.
 * @param {Uint8ClampedArray} rgba @returns {Uint8ClampedArray<ArrayBuffer>} 0 to 255
 */
export function paintedBy(rgba) {
  const painted = new Uint8ClampedArray(rgba.length / 4);
  const hasAlpha = rgba.some((value, i) => i % 4 === 3 && value < 255);
  for (let i = 0, at = 0; i < painted.length; i += 1, at += 4) {
    if (hasAlpha) painted[i] = rgba[at + 3] > SOLID ? 255 : 0;
    else painted[i] = (299 * rgba[at] + 587 * rgba[at + 1] + 114 * rgba[at + 2]) / 1000; // ITU-R 601, as Pillow has it
  }
  return painted;
}

/** A mask as the engine takes it, of how opaque a canvas is. @param {ImageData} image @returns {import("../protocol.js").Pixels} */
export function maskOf({ width, height, data }) {
  const rgba = new Uint8ClampedArray(data.length);
  for (let at = 0; at < data.length; at += 4) {
    rgba[at] = rgba[at + 1] = rgba[at + 2] = data[at + 3];
    rgba[at + 3] = 255;
  }
  return { width, height, rgba };
}

/** The share of a mask that is white, 0 to 1. @param {import("../protocol.js").Pixels} mask */
export function shareOf({ rgba }) {
  let sum = 0;
  for (let at = 0; at < rgba.length; at += 4) sum += rgba[at];
  return sum / 255 / (rgba.length / 4);
}
