// The worker's client, and the only one that talks to it. Keeps the files of what is loaded, so that a
// worker that broke (or was killed in the middle of a load) can be replaced by one in the same state.

import { crashError, onlyCrash, whileLoading } from "./crash.js";
import { Action, CRASH, abortError, unpackError } from "./protocol.js";
import { Rpc } from "./rpc.js";
import { Vigil } from "./vigil.js";
import { startWorker } from "./workers.js";

/** Seconds without a word from the worker, which tells of each block of work: a GPU that hangs, a thread that is gone. */
const PATIENCE = 120;

/**
 * Events: "crash" (detail: the error) when the worker broke; call `recover` then. "lost" (detail: the error)
 * when the model that was to be put back can't be: there is none then. "silent" (detail: seconds) when the worker
 * owes an answer and says nothing; "heard" when that is over.
 *
 * @typedef {object} Held
 * @property {string} name
 * @property {Blob} blob
 * @property {?string} config
 * @property {number} id     the worker's id of it; changes with every worker
 *
 * @typedef {{handle: string, report?: import("./protocol.js").CoverageReport, error?: Error}} Refitted   error: it was refused
 */
export class Engine extends EventTarget {
  #worker = null;
  /** @type {?Rpc} */
  #rpc = null;
  #vigil;
  /** @type {?{files: import("./protocol.js").ModelFile[], options: import("./protocol.js").ModelOptions}} */
  #model = null;
  /** @type {Map<string, Held>} */
  #adapters = new Map();
  #backend = null;
  /** Whoever set it deals with a worker that breaks. */
  #mending = false;
  #address;

  /** @param {{worker: URL, patience?: number}} how   worker.js, with a query for it; seconds of silence before "silent" */
  constructor({ worker, patience = PATIENCE }) {
    super();
    this.#address = worker;
    this.#vigil = new Vigil(patience, () => this.#rpc?.isOwed ?? false);
    for (const type of ["silent", "heard"]) {
      this.#vigil.addEventListener(type, ({ detail }) => this.dispatchEvent(new CustomEvent(type, { detail })));
    }
    this.#spawn();
  }

  /**
   * What the machine offers and which backend that means; nothing is downloaded for it.
   * @param {?string} forced "webgpu", "cpu" or null
   */
  async capability(forced) {
    const report = await this.#request(Action.capability, { backend: forced });
    this.#backend = report.backend;
    return report;
  }

  /** Loads the wasm and opens the backend that `capability` named. A worker that breaks over it is the caller's to replace. */
  async open(backend = this.#backend) {
    const mending = this.#mending;
    this.#mending = true;
    this.#backend = backend;
    try {
      return await this.#request(Action.open, { backend });
    } finally {
      this.#mending = mending;
    }
  }

  /** Gives up a worker that doesn't answer, as one that broke. */
  giveUp() {
    this.#crashed(new Error("it didn't answer"));
  }

  /** For good. */
  close() {
    this.#kill(abortError());
    this.#vigil.end();
  }

  /** Replaces the worker by a fresh one with nothing loaded. */
  restart() {
    this.#kill(abortError());
    this.#spawn();
  }

  /**
   * Fetches files of this site into Blobs.
   * @param {{path: string, url: string}[]} urls
   * @param {import("./protocol.js").Watch} [watch]
   * @returns {Promise<import("./protocol.js").ModelFile[]>}
   */
  async fetchFiles(urls, { signal, onProgress } = {}) {
    return (await this.#request(Action.fetchFiles, { urls }, { signal, onProgress })).files;
  }

  /**
   * Whether these files are a model that can be loaded here, and how; nothing of the model in use is touched.
   * @param {import("./protocol.js").ModelFile[]} files
   * @param {import("./protocol.js").ModelOptions} options
   * @param {import("./protocol.js").Watch} [watch]
   * @returns {Promise<import("./protocol.js").Judged>}
   */
  judgeModel(files, options, { signal } = {}) {
    return this.#request(Action.judgeModel, { files, options }, { signal });
  }

  /**
   * Loads a model that was judged. The old one goes first, since there may be no room for both; if the load
   * fails or is aborted, it is put back before the error comes.
   * @param {import("./protocol.js").ModelFile[]} files
   * @param {import("./protocol.js").ModelOptions} options
   * @param {{anew: boolean, signal: AbortSignal, onProgress: (progress: object) => void, onPutBack: () => void}} how
   *   anew: in a fresh worker; onPutBack: the former model is about to be loaded again
   * @returns {Promise<{report: import("./protocol.js").ModelReport, adapters: Refitted[]}>}
   *   `adapters`: how each adapter that was loaded fits the new model; those with an error are gone
   */
  async loadModel(files, options, { anew, signal, onProgress, onPutBack }) {
    signal.throwIfAborted();
    const aborted = Promise.withResolvers();
    const onAbort = () => aborted.reject(abortError());
    signal.addEventListener("abort", onAbort);
    this.#mending = true;
    try {
      const loaded = await Promise.race([this.#replaceModel({ files, options }, anew, onProgress), aborted.promise]);
      this.#model = { files, options };
      this.#drop(loaded.adapters);
      return loaded;
    } catch (error) {
      onPutBack();
      await this.#putBack(onProgress);
      throw error.name === CRASH ? whileLoading(error) : error;
    } finally {
      this.#mending = false;
      signal.removeEventListener("abort", onAbort);
      aborted.promise.catch(() => {});
    }
  }

  async #replaceModel(model, anew, onProgress) {
    if (anew) {
      this.restart();
      await this.open();
    }
    const report = await this.#request(Action.loadModel, model, { onProgress });
    return { report, adapters: await this.#attachAll() };
  }

  /** The former model, into a fresh worker: a load runs without a pause, and can be aborted by ending its worker alone. */
  async #putBack(onProgress) {
    try {
      await this.recover(onProgress);
    } catch (failure) {
      throw this.#broken(failure);
    }
  }

  /** What the engine holds now. @returns {Promise<import("./protocol.js").Memory>} */
  memory() {
    return this.#request(Action.memory, {});
  }

  /**
   * @param {string} handle   the caller's name for it
   * @returns {Promise<import("./protocol.js").CoverageReport>}
   */
  async addAdapter(handle, name, blob, config = null) {
    const { id, report, blocks } = await this.#request(Action.addAdapter, { name, blob, config });
    this.#adapters.set(handle, { name, blob, config, id });
    return { ...report, blocks };
  }

  async removeAdapter(handle) {
    const held = this.#adapters.get(handle);
    this.#adapters.delete(handle);
    if (held) await this.#request(Action.removeAdapter, { adapter: held.id });
  }

  /**
   * Draws one picture.
   * @param {import("./protocol.js").Settings} settings
   * @param {import("./protocol.js").Strength[]} active  every other adapter is off
   * @param {import("./protocol.js").Watch} [watch]
   * @param {?import("./protocol.js").StartPixels} [pictures]  that it starts from
   */
  async generate(settings, active, { signal, onProgress } = {}, pictures = null) {
    const strengths = new Map(active.map((a) => [a.handle, a]));
    const gone = active.find(({ handle }) => !this.#adapters.has(handle));
    if (gone) throw new Error(`${gone.name}: it is not on the model any more. Add it again`);
    const adapters = [...this.#adapters].map(([handle, { id }]) => {
      const { unet = 0, textEncoder = 0, spread = null } = strengths.get(handle) ?? {};
      return { id, enabled: strengths.has(handle), unet, textEncoder, spread };
    });
    return this.#request(Action.generate, { settings, adapters, pictures }, { onProgress, signal });
  }

  /**
   * How long prompts are.
   * @param {string[]} texts
   * @param {{steps: number, emphasis: string}} settings
   * @returns {Promise<import("./protocol.js").TokenCount[]>}
   */
  countTokens(texts, { steps, emphasis }) {
    return this.#request(Action.countTokens, { texts, steps, emphasis });
  }

  // ---- training ----------------------------------------------------------------------------------

  /** @returns {Promise<import("./protocol.js").TrainConfig>} */
  trainPreset(name) {
    return this.#request(Action.trainPreset, { name });
  }

  /** @returns {Promise<{name: string, warnings: string[]}[]>}  The pixels are given away. */
  trainInspect(pictures) {
    return this.#request(Action.trainInspect, { pictures }, { transfer: pixelBuffers(pictures) });
  }

  /** @returns {Promise<import("./protocol.js").Estimate>} */
  trainEstimate(config, counts) {
    return this.#request(Action.trainEstimate, { config, counts });
  }

  /**
   * Makes latents and embeddings of the pictures and times two steps. The pixels are given away.
   * @param {import("./protocol.js").TrainConfig} config
   * @param {import("./protocol.js").TrainPicture[]} pictures
   * @param {import("./protocol.js").Watch} [watch]
   */
  trainPrepare(config, pictures, { signal, onProgress } = {}) {
    return this.#request(Action.trainPrepare, { config, pictures }, { signal, onProgress, transfer: pixelBuffers(pictures) });
  }

  /**
   * Data set and state are given away.
   * @param {?import("./protocol.js").Owed} owed
   * @returns {Promise<import("./protocol.js").Estimate>}
   */
  trainResume(config, dataset, state, owed) {
    return this.#request(Action.trainResume, { config, dataset, state, owed }, { transfer: buffers(dataset, state) });
  }

  /**
   * Trains until the run is finished, stopped or paused; the signal pauses it after the step in hand.
   * @param {{preview: ?import("./protocol.js").Settings, pictureSeconds: number, step: number, end: boolean}} order
   *   what a preview takes, 0 when not known; the step it is at; whether to end there
   * @param {{signal: AbortSignal, onProgress: (progress: import("./protocol.js").RunProgress) => void}} options
   * @returns {Promise<{outcome: "finished"|"stopped"|"paused", step: number, reason: ?string}>}
   */
  trainRun({ preview, pictureSeconds, step, end }, { signal, onProgress }) {
    return this.#request(Action.trainRun, { preview, pictureSeconds, step, end }, { signal, onProgress, graceful: true });
  }

  /**
   * Trains anew without each picture in turn, and judges each by the run that never saw it.
   * @param {import("./protocol.js").Watch} watch   progress: {picture, done, pictures, fraction}
   * @returns {Promise<?import("./protocol.js").LeaveOneOut>} null: the signal stopped it; asked again it goes on there
   */
  async trainLeaveOneOut({ signal, onProgress }) {
    return (await this.#request(Action.trainLeaveOneOut, {}, { signal, onProgress, graceful: true })).found;
  }

  /** @returns {Promise<{bytes: Uint8Array<ArrayBuffer>, owed: ?import("./protocol.js").Owed}>} */
  trainState() {
    return this.#request(Action.trainState, {});
  }

  /** The state is given away. @param {?import("./protocol.js").Owed} owed @returns {Promise<number>} the step */
  trainRestore(state, owed) {
    return this.#request(Action.trainRestore, { state, owed }, { transfer: buffers(state) });
  }

  /**
   * Draws with a state of the adapter in training; every other adapter is off.
   * @param {?Uint8Array<ArrayBuffer>} state   null: the present one
   * @param {number} strength
   * @param {import("./protocol.js").Settings} settings
   * @param {import("./protocol.js").Watch} [watch]
   */
  trainPicture(state, strength, settings, { signal, onProgress } = {}) {
    return this.#request(Action.trainPicture, { state, strength, settings }, { signal, onProgress, transfer: buffers(state) });
  }

  /** @param {import("./protocol.js").ExportOrder} order */
  async trainExport(order) {
    return (await this.#request(Action.trainExport, order, { transfer: buffers(order.state) })).files;
  }

  trainEnd() { return this.#request(Action.trainEnd, {}); }

  // ---- the worker --------------------------------------------------------------------------------

  /**
   * A new worker in the state of the old one: same model and adapters. A model whose files can't be read any
   * more is given up ("lost").
   * @param {"webgpu"|"cpu"} [backend] another one than before
   * @returns {Promise<{opened: import("./protocol.js").Opened, adapters: Refitted[]}>}
   */
  async recover(onProgress, backend) {
    const mending = this.#mending;
    this.#mending = true;
    try {
      this.restart();
      const opened = await this.open(backend);
      if (!this.#model) return { opened, adapters: [] };
      try {
        await this.#request(Action.loadModel, this.#model, { onProgress });
      } catch (error) {
        onlyCrash(error);
        this.#model = null;
        this.#adapters.clear();
        this.dispatchEvent(new CustomEvent("lost", { detail: error }));
        return { opened, adapters: [] };
      }
      const adapters = await this.#attachAll();
      this.#drop(adapters);
      return { opened, adapters };
    } finally {
      this.#mending = mending;
    }
  }

  /**
   * Gives the worker's (new) model every adapter held.
   * @returns {Promise<Refitted[]>}
   */
  async #attachAll() {
    const outcome = [];
    for (const [handle, held] of this.#adapters) {
      try {
        const { id, report, blocks } = await this.#request(Action.addAdapter, { name: held.name, blob: held.blob, config: held.config });
        held.id = id;
        outcome.push({ handle, report: { ...report, blocks } });
      } catch (error) {
        onlyCrash(error);
        outcome.push({ handle, error });
      }
    }
    return outcome;
  }

  /** Forgets the adapters that the model refused. */
  #drop(outcome) {
    for (const { handle, error } of outcome) if (error) this.#adapters.delete(handle);
  }

  /** @returns {Promise<any>} */
  #request(action, parameters, how) {
    if (!this.#rpc) return Promise.reject(crashError(new Error("the engine is not running")));
    return this.#rpc.request(action, parameters, how);
  }

  #receive(message) {
    this.#vigil.heard();
    if (message.fatal) this.#crashed(unpackError(message.error));
    else this.#rpc.receive(message);
  }

  #crashed(cause) {
    const error = crashError(cause);
    this.#kill(error);
    if (!this.#mending) this.#broken(error);
  }

  #broken(cause) {
    const error = crashError(cause);
    this.dispatchEvent(new CustomEvent("crash", { detail: error }));
    return error;
  }

  #spawn() {
    const worker = startWorker(this.#address, "lorakeet");
    worker.addEventListener("message", ({ data }) => worker === this.#worker && this.#receive(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      if (worker === this.#worker) this.#crashed(new Error(event.message ?? "the worker could not be started"));
    });
    this.#worker = worker;
    this.#rpc = new Rpc(worker);
  }

  #kill(error) {
    this.#worker?.terminate();
    this.#worker = null;
    this.#rpc?.end(error);
    this.#rpc = null;
    this.#vigil.anew();
  }
}

function buffers(...arrays) {
  return arrays.filter(Boolean).map(({ buffer }) => buffer);
}

function pixelBuffers(pictures) {
  return pictures.map(({ rgba }) => rgba.buffer);
}
