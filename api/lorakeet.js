// The engine for whoever builds a page of their own: a thin layer over web/engine.js, which owns the worker.

import { Engine } from "../web/engine.js";
import { Recovery } from "../web/recovery.js";
import { Turns } from "../web/turns.js";
import { Adapter } from "./adapter.js";
import { Drawing } from "./drawing.js";
import { adapterOf, modelOf } from "./files.js";
import { picturesOf, settingsOf } from "./settings.js";
import { Training, pixelsOfAll } from "./training.js";
import { Work } from "./work.js";

/** Bundlers take `new URL(..., import.meta.url)` for a file that is to come along. */
const HERE = import.meta.url;
const VOCABULARY = "clip-vocabulary/merges.txt";

/**
 * @typedef {import("../web/protocol.js").ModelReport} ModelReport
 * @typedef {{done: number, total: number, what: string}} Bytes   what of which file is read
 *
 * @typedef {object} OpenOptions
 * @property {"webgpu"|"cpu"} [backend]    else what suits the machine; a GPU that is lost again and again is left then
 * @property {string | URL} [base]         where the package's folder is served, where a bundler has moved this file
 * @property {number} [threads]            of the CPU backend; else as many as the processor has, up to eight
 * @property {string} [memory]             a limit, such as "3GB"
 * @property {boolean} [kernels]           false: burn's own operations alone
 *
 * @typedef {object} Model
 * @property {string} name
 * @property {ModelReport} report          what it is, its schedulers, what of its files isn't used
 * @property {import("../web/protocol.js").Judged} judged   what its weights take, and how they are kept
 * @property {Adapter[]} refused           adapters that were on the model before and don't fit this one: `refusal` says why
 */

/**
 * Models, adapters, pictures and training in a worker of its own. One thing is done at a time: what is asked for
 * meanwhile waits for its turn.
 *
 * Events: "crash" (detail: the error) when the worker broke; it is brought back with its model and adapters, what waits
 * goes on, and "recovered" follows, or "broken" (detail: the error) if that fails. "lost" (detail: the error): the model's
 * files can't be read any more, so that there is none. "silent" (detail: seconds): it owes an answer and says nothing;
 * `restart` gives it up. "heard" when that is over.
 */
export class Lorakeet extends EventTarget {
  #engine;
  #base;
  #recovery;
  /** @type {?Model} */
  #model = null;
  /** By handle, in the order in which they came. @type {Map<string, Adapter>} */
  #adapters = new Map();
  #lastHandle = 0;
  #turns = new Turns();
  /** Whether the engine works, once it is settled. @type {Promise<unknown>} */
  #whole = Promise.resolve();
  /** @type {import("../web/protocol.js").Capability & Partial<import("../web/protocol.js").Opened>} */
  #device;

  /** @private @param {URL} base @param {URL} worker */
  constructor(base, worker) {
    super();
    this.#base = base;
    this.#engine = new Engine({ worker });
    const note = (/** @type {object} */ known) => { this.#device = { ...this.#device, ...known }; };
    this.#recovery = new Recovery(this.#engine, { show: note, opened: note }, () => {});
    this.#engine.addEventListener("crash", (/** @type {any} */ { detail }) => this.#mend(detail));
    this.#engine.addEventListener("lost", (/** @type {any} */ { detail }) => this.#lost(detail));
    for (const type of ["silent", "heard"]) {
      this.#engine.addEventListener(type, (/** @type {any} */ { detail }) => this.#tell(type, detail));
    }
  }

  /**
   * Loads the engine, some megabytes (README.md has its sizes), and more where there is a GPU.
   * @param {OpenOptions} [options]
   */
  static async open({ backend, base = new URL("../", HERE), threads, memory, kernels } = {}) {
    const folder = new URL(String(base).replace(/\/?$/, "/"), globalThis.location?.href);
    const worker = new URL("web/worker.js", folder);
    const asked = { threads, memory, kernels: kernels === false ? "off" : undefined };
    for (const [name, value] of Object.entries(asked)) if (value !== undefined) worker.searchParams.set(name, String(value));
    const lorakeet = new Lorakeet(folder, worker);
    try {
      await lorakeet.#recovery.open(backend ?? null, () => {});
    } catch (error) {
      lorakeet.close();
      throw error;
    }
    return lorakeet;
  }

  /** What the machine offers, and what of it is used. */
  get device() { return this.#device; }

  /** The model in use. */
  get model() { return this.#model; }

  /** Those on the model. */
  get adapters() { return [...this.#adapters.values()]; }

  /**
   * Loads a model in place of the one in use, which goes first, and comes back should this fail. The adapters stay, as far
   * as they fit.
   * @param {import("./files.js").Files | import("./files.js").SortedModel} files   a .safetensors checkpoint, with a VAE, a text
   *   encoder or a .yaml beside it if need be, or all files of a diffusers folder
   * @param {import("../web/protocol.js").ModelOptions & import("./work.js").Watch<Bytes>} [options]
   * @returns {Work<Model, Bytes>}
   */
  loadModel(files, { signal, onProgress, ...options } = {}) {
    return new Work((watch) => this.#inTurn(watch.signal, async () => {
      const { name, files: found, hasTokenizer } = await modelOf(files);
      const whole = hasTokenizer ? found : [...found, ...await this.#vocabulary()];
      const judged = await this.#engine.judgeModel(whole, options, watch);
      const abort = watch.signal ?? new AbortController().signal;
      const how = { anew: judged.anew, signal: abort, onProgress: watch.onProgress, onPutBack: () => {} };
      const { report, adapters } = await this.#engine.loadModel(whole, options, how);
      this.#model = { name, report, judged, refused: this.#refit(adapters) };
      return this.#model;
    }), { signal, onProgress });
  }

  /** What a model without a tokenizer's files is read with. */
  #vocabulary() {
    return this.#engine.fetchFiles([{ path: VOCABULARY, url: new URL(`web/${VOCABULARY}`, this.#base).href }]);
  }

  /**
   * Puts an adapter on the model, at strength 1.
   * @param {import("./files.js").Files | import("./files.js").SortedAdapter} file   PEFT's `adapter_config.json` goes along with its file
   * @param {{name?: string, signal?: AbortSignal}} [options]
   * @returns {Promise<Adapter>}
   */
  attach(file, { name, signal } = {}) {
    return this.#inTurn(signal, async () => {
      const { name: found, file: blob, config } = await adapterOf(file);
      const handle = `adapter ${++this.#lastHandle}`;
      const report = await this.#engine.addAdapter(handle, name ?? found, blob, config);
      const adapter = new Adapter(name ?? found, report, () => this.#detach(handle));
      this.#adapters.set(handle, adapter);
      return adapter;
    });
  }

  /** @param {string} handle */
  #detach(handle) {
    return this.#inTurn(undefined, async () => {
      if (this.#adapters.delete(handle)) await this.#engine.removeAdapter(handle);
    });
  }

  /**
   * Draws a picture, with the adapters as they are now.
   * @param {import("./settings.js").DrawSettings} settings
   * @param {import("./work.js").Watch<import("./drawing.js").DrawProgress>} [watch]
   * @returns {Drawing}
   */
  draw(settings, watch) {
    const all = settingsOf(this.#report, settings);
    const active = [...this.#adapters].filter(([, { enabled }]) => enabled)
      .map(([handle, { name, unet, textEncoder }]) => ({ handle, name, unet, textEncoder }));
    return new Drawing(all, ({ signal, onProgress }) => this.#inTurn(signal, async () => {
      const pictures = await picturesOf(settings.start);
      return this.#engine.generate(all, active, { signal, onProgress }, pictures);
    }), watch);
  }

  /**
   * How many tokens a prompt has, and how many it may have.
   * @param {string} prompt @param {{steps?: number, emphasis?: string}} [settings]   as the picture's
   */
  async countTokens(prompt, settings = {}) {
    await this.#whole;
    const { steps, emphasis } = settingsOf(this.#report, settings);
    const [count] = await this.#engine.countTokens([prompt], { steps, emphasis });
    return count;
  }

  /** What the engine holds. */
  async memory() {
    await this.#whole;
    return this.#engine.memory();
  }

  // ---- training ----------------------------------------------------------------------------------

  /**
   * Every training setting, with what a preset says.
   * @param {"quick"|"normal"|"careful"} [preset]
   * @returns {Promise<import("../web/protocol.js").TrainConfig & Record<string, any>>}
   */
  async trainConfig(preset = "normal") {
    await this.#whole;
    return this.#engine.trainPreset(preset);
  }

  /**
   * Makes a run ready: looks at the pictures, and times two steps.
   * @param {import("./training.js").TrainPicture[]} pictures
   * @param {Record<string, any>} [settings]   those that are not the normal preset's
   * @param {import("./work.js").Watch<Bytes>} [watch]
   * @returns {Work<Training, Bytes>}
   */
  train(pictures, settings = {}, watch) {
    return new Work(({ signal, onProgress }) => this.#inTurn(signal, async () => {
      const config = { ...await this.#engine.trainPreset("normal"), ...settings };
      const { dataset, summary, measured } = await this.#engine.trainPrepare(config, await pixelsOfAll(pictures), { signal, onProgress });
      return new Training(this.#trainingHost, { config, dataset, estimate: summary, measured });
    }), watch);
  }

  /**
   * Takes up a run that was saved, on the model that it was begun on.
   * @param {import("./training.js").SavedRun} saved
   * @returns {Promise<Training>}
   */
  resumeTraining({ config, dataset, state, owed, step }) {
    return this.#inTurn(undefined, async () => {
      const estimate = await this.#engine.trainResume(config, dataset.slice(), state.slice(), owed);
      return new Training(this.#trainingHost, { config, dataset, estimate, measured: null, step });
    });
  }

  /** @returns {import("./training.js").TrainingHost} */
  get #trainingHost() {
    return {
      engine: this.#engine,
      inTurn: (signal, work) => this.#inTurn(signal, work),
      settingsOf: (settings) => settingsOf(this.#report, settings),
    };
  }

  // ---- the engine --------------------------------------------------------------------------------

  /** Gives up a worker that doesn't answer: it is replaced by one with the same model and adapters. */
  restart() {
    this.#engine.giveUp();
  }

  /** Ends the worker, and gives back what it holds. */
  close() {
    this.#whole = Promise.reject(new Error("This engine was closed. Open another one"));
    this.#whole.catch(() => {});
    this.#engine.close();
  }

  get #report() {
    if (!this.#model) throw new Error("There is no model. Load one first");
    return this.#model.report;
  }

  /**
   * @template T
   * @param {AbortSignal|undefined} signal   who waits for the turn is told at once
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  async #inTurn(signal, work) {
    signal?.throwIfAborted();
    const done = this.#turns.take(async () => {
      signal?.throwIfAborted();
      await this.#whole;
      return work();
    });
    if (!signal) return done;
    const { promise: aborted, reject } = Promise.withResolvers();
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([done, /** @type {Promise<never>} */ (aborted)]);
    } finally {
      signal.removeEventListener("abort", onAbort);
      done.catch(() => {});
    }
  }

  /** @param {Error & {kind?: string}} cause */
  #mend(cause) {
    this.#whole = this.#bringBack(cause);
    this.#whole.catch((error) => this.#tell("broken", error));
    this.#tell("crash", cause);
  }

  /** @param {Error & {kind?: string}} cause */
  async #bringBack(cause) {
    const { adapters } = await this.#recovery.bringBack(cause, () => {});
    this.#refit(/** @type {import("../web/engine.js").Refitted[]} */ (adapters));
    this.#tell("recovered", cause);
  }

  /** @param {import("../web/engine.js").Refitted[]} outcome @returns {Adapter[]} those that are gone */
  #refit(outcome) {
    return outcome.flatMap(({ handle, report, error }) => {
      const adapter = this.#adapters.get(handle);
      if (!adapter) return [];
      if (report) adapter.report = report;
      if (!error) return [];
      adapter.refusal = error;
      this.#adapters.delete(handle);
      return [adapter];
    });
  }

  /** @param {Error} error */
  #lost(error) {
    this.#model = null;
    this.#adapters.clear();
    this.#tell("lost", error);
  }

  /** @param {string} type @param {any} detail */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
