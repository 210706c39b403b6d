// How often something may be tried again by itself.

/** Leave for a few tries in a while. */
export class Tries {
  #most;
  #within;
  #taken = [];

  /** @param {number} most @param {number} within milliseconds */
  constructor(most, within) {
    this.#most = most;
    this.#within = within;
  }

  /** @returns {boolean} whether once more is all right; counts it if so */
  take(now = performance.now()) {
    this.#taken = this.#taken.filter((then) => now - then < this.#within);
    if (this.#taken.length >= this.#most) return false;
    this.#taken.push(now);
    return true;
  }
}
