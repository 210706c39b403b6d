// Numbers that follow from a seed, the same in every browser: SplitMix64 (Steele, Lea, Flood 2014).

const GAMMA = 0x9e3779b97f4a7c15n;
const u64 = (/** @type {bigint} */ value) => BigInt.asUintN(64, value);

export class Dice {
  #state;

  /** @param {string|number|bigint} seed @param {bigint} [stream]   of one seed, another row of numbers */
  constructor(seed, stream = 0n) {
    this.#state = u64(BigInt(seed) ^ (stream << 32n));
  }

  /** @returns {bigint} of 64 bits */
  next() {
    this.#state = u64(this.#state + GAMMA);
    let mixed = this.#state;
    mixed = u64((mixed ^ (mixed >> 30n)) * 0xbf58476d1ce4e5b9n);
    mixed = u64((mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn);
    return mixed ^ (mixed >> 31n);
  }

  /** From 0 to below 1. */
  share() {
    return Number(this.next() >> 11n) / 2 ** 53;
  }

  /** @param {number} least @param {number} most @returns {number} whole, both ends among them */
  whole(least, most) {
    return least + Math.floor(this.share() * (most - least + 1));
  }

  /**
   * One of them, by weight; what weighs nothing comes where nothing else is there.
   * @param {number[]} weights @returns {number} its index
   */
  weighed(weights) {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    if (total === 0) return this.whole(0, weights.length - 1);
    let left = this.share() * total;
    const last = weights.findLastIndex((weight) => weight > 0);
    const found = weights.findIndex((weight, i) => (left -= weight) < 0 || i === last);
    return found;
  }
}
