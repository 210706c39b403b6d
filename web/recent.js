// What was used last, within a number and a size: what is more is forgotten, the one used longest ago first.

/** @template T */
export class Recent {
  /** @type {Map<string, T>} */
  #held = new Map();
  #bytes = 0;
  #bytesOf;
  #mostBytes;
  #most;
  #isInUse;

  /**
   * @param {(one: T) => number} bytesOf
   * @param {{mostBytes: number, most?: number, isInUse?: (name: string) => boolean}} bounds   isInUse: these are never forgotten
   */
  constructor(bytesOf, { mostBytes, most = Infinity, isInUse = () => false }) {
    this.#bytesOf = bytesOf;
    this.#mostBytes = mostBytes;
    this.#most = most;
    this.#isInUse = isInUse;
  }

  /** Without using it. @param {string} name */
  has(name) {
    return this.#held.has(name);
  }

  /** @param {string} name @returns {T|undefined} */
  get(name) {
    const one = this.#held.get(name);
    if (one !== undefined) {
      this.#held.delete(name);
      this.#held.set(name, one);
    }
    return one;
  }

  /** What comes stays, however large it is. @param {string} name @param {T} one */
  put(name, one) {
    this.#drop(name);
    this.#held.set(name, one);
    this.#bytes += this.#bytesOf(one);
    for (const old of [...this.#held.keys()]) {
      if (this.#held.size <= this.#most && this.#bytes <= this.#mostBytes) break;
      if (old !== name && !this.#isInUse(old)) this.#drop(old);
    }
  }

  #drop(name) {
    const old = this.#held.get(name);
    if (old === undefined) return;
    this.#held.delete(name);
    this.#bytes -= this.#bytesOf(old);
  }
}
