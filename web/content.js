// Which file is which, by what is in it: names and sizes say little.

import { Sha256 } from "./library/sha256.js";

/** Bytes that are in memory at once. */
const PIECE = 8 << 20;

/**
 * The SHA-256 of each piece, in a row: equal for equal bytes, and for no others.
 * @param {Blob} file
 * @returns {Promise<string>}
 */
export async function contentOf(file) {
  const sums = [];
  for (let at = 0; at < file.size; at += PIECE) sums.push(await sumOf(await file.slice(at, at + PIECE).arrayBuffer()));
  return sums.join(" ");
}

/** The SHA-256 of what is in memory. @param {BufferSource} bytes @returns {Promise<string>} */
export async function sumOf(bytes) {
  if (!globalThis.crypto?.subtle) { // a host without https
    const sum = new Sha256();
    sum.update(bytes instanceof Uint8Array ? bytes : new Uint8Array(/** @type {ArrayBuffer} */ (bytes)));
    return sum.hex();
  }
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
