// Hashes of the files in use, taken once each.

import { DIGITS } from "./picture-info/hashes.js";
import { startWorker } from "./workers.js";

export class Sums {
  /** @type {?Worker} */
  #worker = null;
  #lastId = 0;
  /** @type {Map<number, (hash: ?string) => void>} */
  #open = new Map();
  /** @type {WeakMap<Blob, Promise<?string>>} */
  #asked = new WeakMap();
  /** @type {WeakMap<Blob, ?string>} */
  #known = new WeakMap();
  /** @type {WeakMap<Blob, string>} */
  #whole = new WeakMap();

  /**
   * @param {"adapter"|"embedding"|"file"} kind
   * @param {Blob} file
   * @returns {Promise<?string>} as A1111 writes it; null: it can't be had
   */
  take(kind, file) {
    const asked = this.#asked.get(file) ?? this.#ask(kind, file);
    this.#asked.set(file, asked);
    return asked;
  }

  /** The sum of a whole file that was taken before: it isn't read again for it. @param {Blob} file @param {string} sha256 */
  know(file, sha256) {
    this.#whole.set(file, sha256);
  }

  /** What is known by now. @param {?Blob} file @returns {?string} */
  known(file) {
    return file && (this.#known.get(file) ?? null);
  }

  #ask(kind, file) {
    const whole = this.#whole.get(file);
    if (whole && kind !== "adapter") {
      const hash = whole.slice(0, DIGITS[kind]);
      this.#known.set(file, hash);
      return Promise.resolve(hash);
    }
    this.#worker ??= this.#spawn();
    const id = ++this.#lastId;
    const answer = new Promise((resolve) => { this.#open.set(id, resolve); });
    this.#worker.postMessage({ id, kind, file });
    return answer.then((hash) => {
      this.#known.set(file, hash);
      return hash;
    });
  }

  #spawn() {
    const worker = startWorker(new URL("./hash-worker.js", import.meta.url), "lorakeet hashes");
    worker.addEventListener("message", ({ data: { id, hash } }) => this.#answer(id, hash));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      worker.terminate();
      this.#worker = null;
      for (const id of [...this.#open.keys()]) this.#answer(id, null);
    });
    return worker;
  }

  #answer(id, hash) {
    this.#open.get(id)?.(hash);
    this.#open.delete(id);
  }
}
