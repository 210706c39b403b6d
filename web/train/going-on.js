// What becomes of a run that the engine's end cut off, once there is an engine again.

import { CRASH } from "../protocol.js";
import { Tries } from "../tries.js";

/** It goes on by itself this often in a while; what breaks it more often needs somebody to look. */
const TRIES = 3;
const WHILE_MS = 10 * 60_000;

export class GoingOn {
  /** What was cut off. @type {?("run"|"preparing")} */
  cut = null;
  #tries = new Tries(TRIES, WHILE_MS);

  /** Notes if the engine's end cuts this off. @param {Promise<void>} start */
  async preparing(start) {
    try {
      await start;
    } catch (error) {
      if (error.name === CRASH) this.cut = "preparing";
      throw error;
    }
  }

  /**
   * @param {{state: string, record: ?import("./record.js").RunRecord}} run
   * @param {boolean} hasModel  whether the run's model came back too
   * @returns {{what: ?("run"|"preparing"), words: ?string}} what goes on by itself, and what to say of it
   */
  next({ state, record }, hasModel) {
    const { cut } = this;
    this.cut = null;
    if (cut === "preparing") {
      return hasModel && this.#tries.take()
        ? { what: cut, words: "The training run is prepared anew." }
        : { what: null, words: "The training run was not prepared: Start begins again." };
    }
    if (cut !== "run" || state !== "error") return { what: null, words: null };
    if (!hasModel) return { what: null, words: `The training run is kept up to step ${record.step}: load its model to go on.` };
    return this.#tries.take()
      ? { what: cut, words: `The training run goes on from step ${record.step}.` }
      : { what: null, words: `The training run is kept up to step ${record.step}: Continue goes on from there.` };
  }
}
