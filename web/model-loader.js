// The model in use, and how another one takes its place: it is opened and judged before anything makes way for it.

import { CLIP_MERGES, DEMO_KEY, DEMO_MODEL } from "./demo.js";
import { sentence } from "./format.js";
import { CRASH, abortError } from "./protocol.js";

/**
 * @typedef {object} Loaded
 * @property {string} key       of its pictures' fingerprints
 * @property {string} name      for messages
 * @property {string} title
 * @property {boolean} isDemo
 * @property {?object} keepable what the library needs to keep it
 * @property {import("./protocol.js").ModelFile[]} files
 * @property {import("./protocol.js").ModelOptions} options
 * @property {import("./protocol.js").ModelReport} report
 */

/** Events: "changed": there is another model; "gone" {title, error}: there is none any more. */
export class ModelLoader extends EventTarget {
  #engine;
  #ui;
  #page;
  #loading = null;
  #count = 0;
  /** @type {?Loaded} */
  model = null;

  /**
   * @param {import("./engine.js").Engine} engine
   * @param {object} page   {state, turns, train, adapters, library, backend(), pictures: {isRunning, waits, settled()}, confirmed}
   */
  constructor(engine, ui, page) {
    super();
    this.#engine = engine;
    this.#ui = ui;
    this.#page = page;
    engine.addEventListener("lost", ({ detail }) => this.#gone(detail));
  }

  cancel() {
    this.#loading?.abort();
  }

  /** @param {boolean} [unasked] it comes by itself @returns {Promise<boolean>} whether it is loaded; so do the others */
  loadDemo(unasked = false) {
    return this.#load({ key: DEMO_KEY, name: "the demo model", title: "Emoji Diffusion", isDemo: true, unasked }, (options) => this.#engine.fetchFiles(DEMO_MODEL, options));
  }

  /**
   * @param {{name: string, files: object[], hasTokenizer: boolean, place?: FileSystemHandle, entry?: string}} model
   *   entry: of the library
   */
  load({ name, files, hasTokenizer, place, entry }) {
    const title = name.replace(/\.safetensors$/i, "");
    const keepable = { title, files, hasTokenizer, place, entry };
    return this.#load({ key: `model ${++this.#count}`, name, title, isDemo: false, keepable }, async (options) =>
      hasTokenizer ? files : [...files, ...await this.#engine.fetchFiles([CLIP_MERGES], options)]);
  }

  /** The same model with other options. @param {import("./protocol.js").ModelOptions} changes */
  reload(changes) {
    if (!this.model) return;
    const { files, options } = this.model;
    return this.#load({ ...this.#again, options: { ...options, ...changes } }, () => files);
  }

  /**
   * A VAE, a text encoder or a .yaml goes to the model in use, in place of an earlier one.
   * @param {import("./protocol.js").ModelFile[]} parts
   */
  addParts(parts) {
    if (!this.model) {
      this.#ui.messages.error(parts[0].path, "This is one part of a model. Load the model first, or drop both together.");
      return;
    }
    const { title, keepable, files, options } = this.model;
    const joined = (before) => [...before.filter(({ part }) => !parts.some((added) => added.part === part)), ...parts];
    // the library may have the model, but not with these
    const kept = keepable && { title, files: joined(keepable.files), hasTokenizer: keepable.hasTokenizer };
    return this.#load({ ...this.#again, keepable: kept, options }, () => joined(files));
  }

  /** What the model in use is loaded anew as. */
  get #again() {
    const { name, title, isDemo, keepable } = this.model;
    return { key: `${isDemo ? DEMO_KEY : "model"} ${++this.#count}`, name, title, isDemo, keepable };
  }

  #load({ key, name, title, isDemo, keepable = null, options = {}, unasked = false }, getFiles) {
    return this.#page.turns.take(async () => {
      const { state, train, adapters, library, pictures } = this.#page;
      const { progress, panel, messages } = this.#ui;
      if (state.isBroken) {
        // why there is none was told
        if (!unasked) messages.error(`${name} was not loaded`, "There is no engine to load it. Reload the page.");
        return false;
      }
      const { signal } = this.#loading = new AbortController();
      let bringRunBack = null;
      try {
        const { files, judged } = await this.#look(name, options, getFiles, signal);
        if (!await this.#mayTakeOver(name)) throw abortError();
        // it will do: what is going on makes way, and the model in use when what was asked of it is drawn
        const begin = () => {
          progress.loading(true);
          state.set("loading", `Loading ${name}…`);
        };
        if (!pictures.waits) begin();
        bringRunBack = await train.modelLeaves();
        progress.cancellable(true);
        await pictures.settled(name, signal);
        begin();
        panel.showJudged(judged);
        const onProgress = (bytes) => progress.bytes(bytes);
        const report = await this.#replace(files, options, { anew: judged.anew, signal, onProgress });
        this.model = { key, name, title, isDemo, keepable, files, options, report: report.report };
        bringRunBack = null;
        this.dispatchEvent(new CustomEvent("changed"));
        await train.modelChanged({ ...this.model, backend: this.#page.backend() });
        adapters.refitted(report.adapters, `does not fit ${title}`);
        library.modelLoaded(keepable);
        state.set("ready", "Ready");
        return true;
      } catch (error) {
        if (error.name === CRASH) {
          bringRunBack = null;
          return false; // told by whoever repairs it
        }
        if (error.name !== "AbortError") messages.error(`${name} was not loaded`, error.message);
        this.#stays();
        return false;
      } finally {
        this.#loading = null;
        if (pictures.isRunning) progress.cancellable(false);
        else progress.loading(false);
        panel.setBackToDemo(!this.model?.isDemo, Boolean(this.model));
        if (this.model) await bringRunBack?.();
        await this.tellMemory();
      }
    });
  }

  /** Opens and judges it; a picture or a run goes on meanwhile. */
  async #look(name, options, getFiles, signal) {
    const { state, pictures } = this.#page;
    const { progress } = this.#ui;
    if (pictures.isRunning) {
      progress.status(`Looking at ${name}…`);
    } else {
      progress.loading(true);
      state.set("loading", `Looking at ${name}…`);
    }
    const onProgress = (bytes) => !pictures.isRunning && progress.bytes(bytes);
    const files = await getFiles({ signal, onProgress });
    return { files, judged: await this.#engine.judgeModel(files, options, { signal }) };
  }

  /** Asks whoever is at the page, where a run would be interrupted. */
  async #mayTakeOver(name) {
    const { train, confirmed } = this.#page;
    if (!train.busy) return true;
    const what = train.preparing
      ? "A training run is being prepared: that is dropped. Its pictures and settings stay."
      : "This pauses the training run. It is kept, and goes on from its step when its own model is loaded again.";
    return confirmed(`Load ${name} now?`, what, "Load it");
  }

  #replace(files, options, how) {
    const onPutBack = () => {
      this.#ui.progress.loading(true, false);
      if (this.model) this.#page.state.set("loading", `Putting ${this.model.title} back…`);
    };
    return this.#engine.loadModel(files, options, { ...how, onPutBack });
  }

  /** Nothing came of a load. */
  #stays() {
    const { state, pictures } = this.#page;
    const words = this.model ? `${this.model.title} stays loaded` : "No model is loaded";
    if (pictures.isRunning) this.#ui.progress.status(words);
    else state.set(this.model ? "ready" : "empty", words);
    if (!this.model) this.#ui.twoUp.hint("Load a model to draw with.");
  }

  /** A broken engine could not be given its model back: the demo model, which is always there, takes its place. */
  #gone(error) {
    const { adapters, library, train } = this.#page;
    const { messages, panel, family, twoUp } = this.#ui;
    const { title = "The model", isDemo } = this.model ?? {};
    messages.error(`${title} could not be put back`, isDemo ? error.message : `${sentence(error.message)} The demo model takes its place.`);
    this.model = null;
    adapters.clear();
    library.modelLoaded(null);
    train.modelChanged(null);
    panel.clear();
    family.clear();
    panel.setBackToDemo(true, false);
    twoUp.hint("Load a model to draw with.");
    this.dispatchEvent(new CustomEvent("gone"));
    if (!isDemo) this.loadDemo(true);
  }

  /** What the engine holds, where it has time to say. */
  async tellMemory() {
    if (this.#page.train.busy || this.#page.state.isBroken) return;
    try {
      const memory = await this.#engine.memory();
      this.#ui.panel.showMemory(memory, this.model?.options.weights ?? null);
      Object.assign(document.body.dataset, { heapBytes: memory.heap, heapPeak: memory.peak });
    } catch {
      // a broken engine is told of by whoever repairs it
    }
  }
}
