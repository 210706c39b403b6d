// Work that takes its time: awaited for what comes of it, looped over for how far it is.

/**
 * How a piece of work is followed, and ended.
 * @template Progress
 * @typedef {{signal?: AbortSignal, onProgress?: (progress: Progress) => void}} Watch
 */

/**
 * `await work` gives its result; `for await (const progress of work)` everything that it tells from then on, and ends when
 * it is through, with its error should it fail. Leaving that loop ends nothing: its AbortSignal does.
 *
 * @template Result, Progress
 * @implements {PromiseLike<Result>}
 * @implements {AsyncIterable<Progress>}
 */
export class Work {
  /** @type {Promise<Result>} */
  #result;
  /** @type {Set<(progress: Progress) => void>} */
  #listeners = new Set();

  /**
   * @param {(watch: {signal?: AbortSignal, onProgress: (progress: Progress) => void}) => Promise<Result>} begin
   * @param {Watch<Progress>} [watch]
   */
  constructor(begin, { signal, onProgress } = {}) {
    if (onProgress) this.#listeners.add(onProgress);
    this.#result = begin({ signal, onProgress: (progress) => { for (const tell of this.#listeners) tell(progress); } });
  }

  /**
   * @template [Fulfilled=Result], [Rejected=never]
   * @param {?((result: Result) => Fulfilled | PromiseLike<Fulfilled>)} [fulfilled]
   * @param {?((error: any) => Rejected | PromiseLike<Rejected>)} [rejected]
   * @returns {Promise<Fulfilled | Rejected>}
   */
  then(fulfilled, rejected) {
    return this.#result.then(fulfilled, rejected);
  }

  /**
   * @template [Rejected=never]
   * @param {?((error: any) => Rejected | PromiseLike<Rejected>)} [rejected]
   * @returns {Promise<Result | Rejected>}
   */
  catch(rejected) {
    return this.#result.catch(rejected);
  }

  /** @param {?(() => void)} [settled] @returns {Promise<Result>} */
  finally(settled) {
    return this.#result.finally(settled);
  }

  /** @returns {AsyncGenerator<Progress, void, void>} */
  [Symbol.asyncIterator]() {
    /** @type {Progress[]} */
    const untold = [];
    let isOver = false;
    let wake = () => {};
    /** @param {Progress} progress */
    const listen = (progress) => {
      untold.push(progress);
      wake();
    };
    const end = () => {
      isOver = true;
      wake();
    };
    this.#listeners.add(listen);
    this.#result.then(end, end);
    return this.#told(untold, () => isOver, (next) => { wake = next; }, () => this.#listeners.delete(listen));
  }

  /**
   * @param {Progress[]} untold @param {() => boolean} isOver @param {(wake: () => void) => void} onNext @param {() => void} leave
   * @returns {AsyncGenerator<Progress, void, void>}
   */
  async *#told(untold, isOver, onNext, leave) {
    try {
      for (;;) {
        while (untold.length > 0) yield /** @type {Progress} */ (untold.shift());
        if (isOver()) break;
        await /** @type {Promise<void>} */ (new Promise((resolve) => { onNext(resolve); }));
      }
      await this.#result;
    } finally {
      leave();
    }
  }
}
