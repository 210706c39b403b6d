// Requests to a worker, and what comes back: answers, progress, aborts. protocol.js has the messages.

import { abortError, unpackError } from "./protocol.js";

export class Rpc {
  #port;
  #lastId = 0;
  /** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void, onProgress?: (progress: any) => void}>} */
  #pending = new Map();
  /** Requests that the other side has not answered yet, those that nobody waits for any more among them. */
  #owed = new Set();

  /** @param {{postMessage: (message: object, transfer?: Transferable[]) => void}} port */
  constructor(port) {
    this.#port = port;
  }

  /** Whether the other side has something to answer. */
  get isOwed() {
    return this.#owed.size > 0;
  }

  /**
   * @param {string} action
   * @param {object} parameters
   * @param {{onProgress?: (progress: any) => void, signal?: AbortSignal, transfer?: Transferable[], graceful?: boolean}} [how]
   *   graceful: an abort is told to the other side, and what it answers is the result
   * @returns {Promise<any>}
   */
  request(action, parameters, { onProgress, signal, transfer = [], graceful = false } = {}) {
    if (signal?.aborted && !graceful) return Promise.reject(abortError());
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#port.postMessage({ abort: id });
        if (graceful) return;
        this.#pending.delete(id);
        reject(abortError());
      };
      const settle = (how) => (value) => {
        signal?.removeEventListener("abort", onAbort);
        how(value);
      };
      // first, since what can't be sent throws here
      this.#port.postMessage({ ...parameters, id, action }, transfer);
      this.#pending.set(id, { resolve: settle(resolve), reject: settle(reject), onProgress });
      this.#owed.add(id);
      signal?.addEventListener("abort", onAbort, { once: true });
      if (signal?.aborted) onAbort();
    });
  }

  /** Takes a message of the other side. */
  receive({ id, result, error, progress }) {
    const request = this.#pending.get(id);
    if (progress) return request?.onProgress?.(progress);
    this.#owed.delete(id);
    if (!request) return; // aborted
    this.#pending.delete(id);
    if (error) request.reject(unpackError(error));
    else request.resolve(result);
  }

  /** Nothing will come any more: every open request gets this error. */
  end(error) {
    const open = [...this.#pending.values()];
    this.#pending.clear();
    this.#owed.clear();
    for (const { reject } of open) reject(error);
  }
}
