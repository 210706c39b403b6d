// What settings call a start picture or a mask.

import { sumOf } from "../content.js";

/** By size and pixels. @param {import("../protocol.js").Pixels} pixels @returns {Promise<string>} 16 hexadecimal digits */
export async function nameOf({ width, height, rgba }) {
  const bytes = new Uint8Array(8 + rgba.byteLength);
  new DataView(bytes.buffer).setUint32(0, width);
  new DataView(bytes.buffer).setUint32(4, height);
  bytes.set(rgba, 8);
  return (await sumOf(bytes)).slice(0, 16);
}
