// What must not run beside each other.

/** Work that runs one piece after another. */
export class Turns {
  /** @type {Promise<unknown>} */
  #queue = Promise.resolve();

  /**
   * @template T
   * @param {() => Promise<T>} work   runs when the work before it is through, however that ended
   * @returns {Promise<T>}
   */
  take(work) {
    const done = this.#queue.then(work);
    this.#queue = done.catch(() => {});
    return done;
  }
}
