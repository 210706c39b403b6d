// Pictures as the engine takes them, and as it gives them.

import { pixelsOf } from "../web/decode.js";

/** Longest side of a picture that is read from a file. */
const LARGEST = 4096;

/** @typedef {ImageData | Blob | import("../web/protocol.js").Pixels} Picture   a Blob: a PNG, JPEG, WebP or whatever the browser reads */

/** The pixels are its own. @param {Picture} picture @returns {Promise<import("../web/protocol.js").Pixels>} */
export async function pixelsFrom(picture) {
  if (picture instanceof Blob) return pixelsOf(picture, LARGEST);
  const { width, height } = picture;
  const bytes = picture instanceof ImageData ? picture.data : picture.rgba;
  return { width, height, rgba: new Uint8ClampedArray(bytes) };
}

/** @param {import("../web/protocol.js").Pixels} pixels */
export function imageOf({ width, height, rgba }) {
  return new ImageData(rgba, width, height);
}
