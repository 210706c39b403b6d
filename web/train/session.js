// What the engine has of a run: a run on disk, a run in the engine's hands, and the way from one to the other.

import { DATASET } from "./record.js";

export class Session {
  #engine;
  /** Whether the engine has the run; after a crash it must be given it again. */
  #live = false;

  /** @param {import("../engine.js").Engine} engine */
  constructor(engine) {
    this.#engine = engine;
  }

  get live() {
    return this.#live;
  }

  async prepare(config, pictures, options) {
    const prepared = await this.#engine.trainPrepare(config, pictures, options);
    this.#live = true;
    return prepared;
  }

  /**
   * Gives the engine the run in its newest state, should it not have it.
   * @param {import("./store.js").Run} run
   * @param {() => void} begins
   * @returns {Promise<?number>} the step it is at; null: the engine had it
   */
  async revive(run, begins) {
    if (this.#live) return null;
    const { record } = run;
    const dataset = await run.bytes(DATASET);
    const state = record.state && await run.bytes(record.state);
    if (!dataset || (record.state && !state)) throw new Error("The run's files are gone: something else took them off the disk.");
    begins();
    await this.#engine.trainResume(record.config, dataset, state, record.owed);
    this.#live = true;
    return state ? record.step : 0;
  }

  /** Trains, as `EngineClient.trainRun`. */
  train(order, options) {
    return this.#engine.trainRun(order, options);
  }

  leaveOneOut(options) {
    return this.#engine.trainLeaveOneOut(options);
  }

  /** @returns {Promise<{bytes: Uint8Array<ArrayBuffer>, owed: ?import("./record.js").Owed}>} */
  state() {
    return this.#engine.trainState();
  }

  /** Back to the last step that was whole. @returns {Promise<number>} */
  async settle() {
    const { bytes, owed } = await this.state();
    return this.#engine.trainRestore(bytes, owed);
  }

  /** Back to a snapshot. @param {import("./store.js").Run} run */
  async rewind(run, step) {
    await this.#engine.trainRestore(await snapshot(run, step), run.snapshot(step).owed);
  }

  /** A picture with a snapshot; with the present state where `step` is null. */
  async picture(run, step, strength, settings, options) {
    const state = step === null || strength === 0 ? null : await snapshot(run, step);
    return this.#engine.trainPicture(state, strength, settings, options);
  }

  /** @param {?number} step null: as it is */
  async exportFiles(run, step, order) {
    return this.#engine.trainExport({ ...order, state: step === null ? null : await snapshot(run, step) });
  }

  /** The engine forgets the run. @param {boolean} begun whether it may have it although nobody said so */
  async end(begun) {
    // a broken engine has forgotten it already
    if (this.#live || begun) await this.#engine.trainEnd().catch(() => {});
    this.#live = false;
  }

  /** The engine broke: what it had of the run is gone. */
  lost() {
    this.#live = false;
  }
}

async function snapshot(run, step) {
  const bytes = await run.bytes(run.snapshot(step)?.path);
  if (!bytes) throw new Error(`The snapshot of step ${step} is gone.`);
  return bytes;
}
