// Opens the engine, and brings one that broke back: on the GPU while that works, else on the CPU.

import { LOST } from "./protocol.js";
import { Tries } from "./tries.js";

/** A GPU that was lost more often than this is left alone. */
const GPU_TRIES = 2;
const WHILE_MS = 10 * 60_000;

/**
 * Whoever is told what the machine offers, and what was opened of it.
 * @typedef {object} Told
 * @property {(capability: import("./protocol.js").Capability) => void} show
 * @property {(opened: import("./protocol.js").Opened) => void} opened
 */
export class Recovery {
  #engine;
  #line;
  #keep;
  /** @type {?import("./protocol.js").Capability} */
  #capability = null;
  /** Whether the address names the backend: then there is no other. */
  #forced = false;
  #gpuTries = new Tries(GPU_TRIES, WHILE_MS);
  /** @type {?("webgpu"|"cpu")} */
  backend = null;

  /**
   * @param {import("./engine.js").Engine} engine
   * @param {Told} line
   * @param {(part: string) => void} keep  keeps a file beside the page for the next visit
   */
  constructor(engine, line, keep) {
    this.#engine = engine;
    this.#line = line;
    this.#keep = keep;
  }

  /** @param {?string} forced "webgpu", "cpu" or null @param {() => void} onOpening the machine was looked at */
  async open(forced, onOpening) {
    this.#forced = Boolean(forced);
    this.#capability = await this.#engine.capability(forced);
    this.#line.show(this.#capability);
    onOpening();
    try {
      this.#opened(await this.#engine.open());
    } catch (error) {
      if (this.#capability.backend === "cpu" || this.#forced) throw error;
      this.#engine.restart();
      this.#opened(await this.#engine.open("cpu"), `the GPU could not be opened (${error.message})`);
    }
  }

  /**
   * A fresh engine with the model and the adapters of the one that broke.
   * @param {Error & {kind?: string}} cause
   * @param {(bytes: object) => void} onProgress
   * @returns {Promise<{adapters: object[], leftGpu: boolean}>} leftGpu: it is on the CPU from now on
   */
  async bringBack(cause, onProgress) {
    const free = this.backend === "webgpu" && !this.#forced;
    let why = "it was lost again and again";
    if (!free || cause.kind !== LOST || this.#gpuTries.take()) {
      try {
        return { adapters: await this.#recover(onProgress), leftGpu: false };
      } catch (error) {
        if (!free) throw error;
        why = `it didn't come back (${error.message})`;
      }
    }
    return { adapters: await this.#recover(onProgress, "cpu", `the GPU was left: ${why}`), leftGpu: true };
  }

  async #recover(onProgress, backend, why) {
    const { opened, adapters } = await this.#engine.recover(onProgress, backend);
    this.#opened(opened, why);
    return adapters;
  }

  /** @param {import("./protocol.js").Opened} opened @param {string} [why] it isn't the backend that was meant */
  #opened(opened, why) {
    this.backend = opened.backend;
    if (why) this.#capability = { ...this.#capability, backend: opened.backend, why };
    this.#line.show(this.#capability);
    this.#line.opened(opened);
    if (opened.part) this.#keep(opened.part);
  }
}
