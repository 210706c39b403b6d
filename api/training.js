// A training run of an adapter.

import { Drawing } from "./drawing.js";
import { pixelsFrom } from "./pixels.js";
import { Work } from "./work.js";

/**
 * @typedef {{image: import("./pixels.js").Picture, caption?: string, name?: string, role?: "train"|"heldOut"|"class"}} TrainPicture
 *   heldOut: it is measured on, and never trained on; class: for prior preservation
 *
 * @typedef {import("../web/protocol.js").RunProgress} RunProgress
 * @typedef {import("./work.js").Watch<import("./drawing.js").DrawProgress>} DrawWatch
 * @typedef {{outcome: "finished"|"stopped"|"paused", step: number, reason?: ?string}} RunOutcome   stopped: its numbers went astray
 * @typedef {{bytes: Uint8Array<ArrayBuffer>, owed: ?import("../web/protocol.js").Owed}} RunState   what going on bit for bit takes
 *
 * @typedef {object} SavedRun              to be kept, and taken up by `resumeTraining`
 * @property {Record<string, any>} config
 * @property {Uint8Array<ArrayBuffer>} dataset
 * @property {Uint8Array<ArrayBuffer>} state
 * @property {?import("../web/protocol.js").Owed} owed
 * @property {number} step
 *
 * @typedef {object} TrainingHost
 * @property {import("../web/engine.js").Engine} engine
 * @property {<T>(signal: AbortSignal|undefined, work: () => Promise<T>) => Promise<T>} inTurn
 * @property {(settings: import("./settings.js").DrawSettings) => import("../web/protocol.js").Settings} settingsOf
 *
 * @typedef {object} Prepared
 * @property {Record<string, any>} config
 * @property {Uint8Array<ArrayBuffer>} dataset
 * @property {import("../web/protocol.js").Estimate} estimate
 * @property {?{secondsPerStep: number, bytes: number, peakBytes: number}} measured
 * @property {number} [step]
 */

/** One run. The engine has one at a time: another takes its place. */
export class Training {
  #host;
  #dataset;
  #step;
  /** Every setting of it. */
  config;
  /** How many parameters it trains, what memory it takes, its learning rate. */
  estimate;
  /** What a step takes here; null of a run that was taken up. */
  measured;

  /** Made by `Lorakeet.train`. @param {TrainingHost} host @param {Prepared} prepared */
  constructor(host, { config, dataset, estimate, measured, step = 0 }) {
    this.#host = host;
    this.#dataset = dataset;
    this.#step = step;
    this.config = config;
    this.estimate = estimate;
    this.measured = measured;
  }

  /** Steps that are done. */
  get step() { return this.#step; }

  /**
   * Trains until it is finished; the signal pauses it after the step in hand, and `run` goes on from there. Its progress
   * is one of `step`, `evaluation`, `preview`, `snapshot`, ... at a time.
   * @param {{preview?: ?import("./settings.js").DrawSettings, end?: boolean} & import("./work.js").Watch<RunProgress>} [options]
   *   preview: a picture that is drawn every few steps; end: it ends at the step where it is
   * @returns {Work<RunOutcome, RunProgress>}
   */
  run({ preview, end = false, signal, onProgress } = {}) {
    const drawn = preview ? this.#host.settingsOf({ seed: 0, ...preview }) : null;
    const pause = signal ?? new AbortController().signal;
    return new Work(({ onProgress: tell }) => this.#host.inTurn(undefined, async () => {
      const note = (/** @type {RunProgress} */ progress) => {
        this.#step = progress.step?.step ?? this.#step;
        tell(progress);
      };
      const order = { preview: drawn, pictureSeconds: 0, step: this.#step, end };
      const outcome = await this.#host.engine.trainRun(order, { signal: pause, onProgress: note });
      this.#step = outcome.step;
      return outcome;
    }), { onProgress });
  }

  /**
   * Draws with the adapter as it is now, or as it was.
   * @param {import("./settings.js").DrawSettings} settings
   * @param {{strength?: number, state?: Uint8Array<ArrayBuffer>} & DrawWatch} [options]
   *   state: a snapshot's bytes
   * @returns {Drawing}
   */
  draw(settings, { strength = 1, state, signal, onProgress } = {}) {
    const all = this.#host.settingsOf(settings);
    const { engine, inTurn } = this.#host;
    const bytes = state?.slice() ?? null;
    const draw = (/** @type {any} */ watch) => inTurn(watch.signal, () => engine.trainPicture(bytes, strength, all, watch));
    return new Drawing(all, draw, { signal, onProgress });
  }

  /** Where the run is, to come back to. @returns {Promise<RunState>} */
  state() {
    return this.#host.inTurn(undefined, () => this.#host.engine.trainState());
  }

  /** Back to a state, a snapshot's for example. @param {RunState} state */
  restore({ bytes, owed }) {
    return this.#host.inTurn(undefined, async () => {
      this.#step = await this.#host.engine.trainRestore(bytes.slice(), owed);
    });
  }

  /** All of it, to go on another day. @returns {Promise<SavedRun>} */
  async save() {
    const { bytes: state, owed } = await this.state();
    return { config: this.config, dataset: this.#dataset, state, owed, step: this.#step };
  }

  /**
   * The adapter as a file, which `attach` takes; of PEFT's form two.
   * @param {Partial<import("../web/protocol.js").ExportOrder>} [order]
   * @returns {Promise<File[]>}
   */
  export({ state, format = "kohya", half = true, title = "adapter", thumbnail = null } = {}) {
    return this.#host.inTurn(undefined, async () => {
      const files = await this.#host.engine.trainExport({ state: state?.slice() ?? null, format, half, title, thumbnail });
      return files.map((/** @type {{name: string, bytes: Uint8Array<ArrayBuffer>}} */ { name, bytes }) => new File([bytes], name));
    });
  }

  /** The engine forgets the run, and has its memory back. */
  end() {
    return this.#host.inTurn(undefined, () => this.#host.engine.trainEnd());
  }
}

/** @param {TrainPicture[]} pictures @returns {Promise<import("../web/protocol.js").TrainPicture[]>} */
export function pixelsOfAll(pictures) {
  return Promise.all(pictures.map(async ({ image, caption = "", name, role = "train" }, i) => {
    const called = name ?? (image instanceof File ? image.name : `picture ${i + 1}`);
    return { name: called, caption, role, ...await pixelsFrom(image) };
  }));
}
