// Prompts that were drawn, each with its negative, the newest first; and going through them from the one that stands there.
// Lists alone: where they are kept is for storage.js.

/** @typedef {{prompt: string, negative: string}} Pair */
/** @typedef {{name: string, text: string}} Preset */

export const MOST = 50;

/** @param {Pair} one @param {Pair} other */
export function same(one, other) {
  return one.prompt === other.prompt && one.negative === other.negative;
}

/** @param {Pair[]} list @param {Pair} pair @returns {Pair[]} with the pair in front, and once */
export function withNewest(list, pair) {
  if (!pair.prompt) return list;
  return [pair, ...list.filter((other) => !same(other, pair))].slice(0, MOST);
}

/** What a browser has kept, whoever wrote it. @param {any} kept @returns {Pair[]} */
export function readPairs(kept) {
  const good = (one) => typeof one?.prompt === "string" && typeof one.negative === "string" && one.prompt;
  return Array.isArray(kept) ? kept.filter(good).slice(0, MOST).map(({ prompt, negative }) => ({ prompt, negative })) : [];
}

/** @param {any} kept @returns {Preset[]} */
export function readPresets(kept) {
  const good = (one) => typeof one?.name === "string" && typeof one.text === "string" && one.name && one.text;
  return Array.isArray(kept) ? kept.filter(good).map(({ name, text }) => ({ name, text })) : [];
}

/** @param {Preset[]} list @param {Preset} preset @returns {Preset[]} one of the same name makes way */
export function withPreset(list, preset) {
  const rest = list.filter(({ name }) => name !== preset.name);
  return [...rest, preset].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
}

/** Where somebody is who goes through the list: what was being written is its nearest end. */
export class Walk {
  #at = -1;
  /** @type {?Pair} */
  #draft = null;

  /**
   * @param {Pair[]} list
   * @param {Pair} now   what the fields say
   * @param {1|-1} by    1: to an older one
   * @returns {?Pair} null: there is none
   */
  step(list, now, by) {
    // something was written meanwhile: the walk begins anew, from there
    if (this.#at < 0 || !list[this.#at] || !same(list[this.#at], now)) {
      this.#at = list.length > 0 && same(list[0], now) ? 0 : -1;
      this.#draft = this.#at < 0 ? now : null;
    }
    const to = this.#at + by;
    if (to < (this.#draft ? -1 : 0) || to >= list.length) return null;
    this.#at = to;
    return to < 0 ? this.#draft : list[to];
  }
}
