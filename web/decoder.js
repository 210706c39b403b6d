// The page's side of decode-worker.js.

import { Rpc } from "./rpc.js";
import { startWorker } from "./workers.js";

export class Decoder {
  /** @type {?Rpc} */
  #rpc = null;

  /**
   * @param {Blob} file @param {number} longest   what is larger is made smaller
   * @param {string} [ground]  a colour that transparent pictures lie on
   * @returns {Promise<{pixels: import("./protocol.js").Pixels, name: string}>} name: what settings call it
   */
  decode(file, longest, ground) {
    this.#rpc ??= this.#spawn();
    return this.#rpc.request("decode", { file, longest, ground });
  }

  #spawn() {
    const worker = startWorker(new URL("./decode-worker.js", import.meta.url), "lorakeet pictures");
    const rpc = new Rpc(worker);
    worker.addEventListener("message", ({ data }) => rpc.receive(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      worker.terminate();
      this.#rpc = null;
      rpc.end(new Error(event.message ?? "the worker could not be started"));
    });
    return rpc;
  }
}
