// Seeds: a random one, those after one, and what asks for a random one.

/** What other programs take for "a random one". */
export const RANDOM = "-1";
/** The field holds 19 digits; after its last number comes 0. */
const END = 10n ** 19n;

/** @returns {string} */
export function randomSeed() {
  return String(crypto.getRandomValues(new Uint32Array(1))[0]);
}

/** As A1111 counts: picture i of several has seed + i. @param {string} seed @param {number} by @returns {string} */
export function seedAfter(seed, by = 1) {
  return String((BigInt(seed) + BigInt(by)) % END);
}
