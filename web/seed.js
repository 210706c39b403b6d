// Seeds: a random one, and what asks for it.

/** What other programs take for "a random one". */
export const RANDOM = "-1";

/** @returns {string} */
export function randomSeed() {
  return String(crypto.getRandomValues(new Uint32Array(1))[0]);
}
