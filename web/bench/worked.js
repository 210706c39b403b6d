// A worker that is asked one thing after the other.

import { startWorker } from "../workers.js";

export class Worked {
  #worker;
  #waiting = null;

  /** @param {URL} url @param {string} name */
  constructor(url, name) {
    this.#worker = startWorker(url, name);
    this.#worker.addEventListener("message", ({ data }) => {
      const waiting = this.#waiting;
      this.#waiting = null;
      if (data.error) waiting?.reject(new Error(data.error));
      else waiting?.resolve(data.result);
    });
    this.#worker.addEventListener("error", (event) => {
      this.#waiting?.reject(new Error(event.message || "the worker broke"));
      this.#waiting = null;
    });
  }

  ask(message) {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#worker.postMessage(message);
    });
  }

  end() {
    this.#waiting?.reject(new Error("ended"));
    this.#worker.terminate();
  }
}
