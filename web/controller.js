// Wires the parts of the page to the engine. The parts emit events; only this file acts on them, and
// train-controller.js on those of the Train tab.

import { CLIP_MERGES, DEMO_ADAPTERS, DEMO_KEY, DEMO_MODEL, DEMO_PROMPTS, defaultSettings } from "./demo.js";
import { sortFiles } from "./files.js";
import { LibraryController } from "./library-controller.js";
import { PictureCache, PictureMaker, baseJob, fingerprint } from "./pictures.js";
import { CRASH } from "./protocol.js";
import { recall, remember } from "./storage.js";
import { TrainController } from "./train-controller.js";
import { confirmed } from "./ui/dialogs.js";
import { keepUsed } from "./visits.js";

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

/** How long a slider that is still held rests before its picture is drawn. */
const REST_MS = 250;

export class Controller {
  #engine;
  #ui;
  #maker;
  /** @type {TrainController} */
  #train;
  /** @type {LibraryController} */
  #library;
  #backend = null;
  /** @type {?Loaded} */
  #model = null;
  #modelsLoaded = 0;
  #adaptersAdded = 0;
  /** @type {?import("./pictures.js").Picture} the picture on show */
  #shown = null;
  #loading = null;
  #rest = 0;
  #usedSeed = null;
  /** Loads and additions run one after another. */
  #queue = Promise.resolve();

  constructor(engine, library, ui) {
    this.#engine = engine;
    this.#ui = ui;
    this.#maker = new PictureMaker(engine, new PictureCache());
    this.#train = new TrainController(engine, ui.train, {
      addAdapter: (adapter) => this.addAdapter({ ...adapter, config: null }),
      stopPictures: () => this.#stop(),
      openFiles: (files, role) => this.openFiles(files, role),
    });
    this.#library = new LibraryController(library, { ...ui.library, messages: ui.messages }, {
      loadModel: (model) => this.loadModel(model),
      addAdapter: (adapter) => this.addAdapter(adapter),
      removeAdapter: (handle) => this.removeAdapter(handle),
      loadDemo: () => this.loadDemo(),
      confirmed,
    });
    this.#wire();
  }

  start(forcedBackend) {
    const { form, adapters, progress } = this.#ui;
    form.setPrompts(DEMO_PROMPTS);
    adapters.setDemoAdapters(DEMO_ADAPTERS);
    form.write({ prompt: recall("prompt", DEMO_PROMPTS[0]) });
    form.randomSeed();
    this.#state("loading", "Looking at this machine…");
    progress.loading(true, false);
    // in turn, so that what is dropped meanwhile waits for the demo model
    this.#inTurn(() => this.#open(forcedBackend));
    this.#library.refresh();
    return this.#library.hasLast ? this.#openLast() : this.loadDemo();
  }

  async #openLast() {
    if (!await this.#library.openLast() && !this.#model) await this.loadDemo();
  }

  async #open(forcedBackend) {
    const { capability } = this.#ui;
    try {
      const report = await this.#engine.capability(forcedBackend);
      capability.show(report);
      this.#state("loading", "Starting the engine…");
      try {
        const opened = await this.#engine.open();
        capability.opened(opened);
        this.#backend = report.backend;
        if (opened.part) keepUsed(opened.part);
      } catch (error) {
        if (report.backend === "cpu" || forcedBackend) throw error;
        this.#engine.restart();
        const opened = await this.#engine.open("cpu");
        this.#backend = "cpu";
        capability.show({ ...report, backend: "cpu", why: `the GPU could not be opened (${error.message})` });
        capability.opened(opened);
      }
    } catch (error) {
      this.#fail("Lorakeet could not start", error, "Reload the page; a current Chrome, Edge, Firefox or Safari is needed.");
    }
  }

  #wire() {
    const { form, adapters, drop, model, progress, history, twoUp } = this.#ui;
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));

    on(form, "generate", () => this.generate());
    on(form, "stop", () => this.#stop());
    on(form, "reset", () => form.write(this.#defaults()));
    on(form, "change", () => this.#rememberSettings());

    on(adapters, "strength", () => this.#strengthMoved());
    on(adapters, "released", () => this.#rest && this.#remake());
    on(adapters, "remove", ({ handle }) => this.removeAdapter(handle));
    on(adapters, "trigger", ({ word }) => form.appendToPrompt(word));
    on(adapters, "advice", ({ settings }) => this.#takeAdvice(settings));
    on(adapters, "demo", ({ adapter }) => this.addDemoAdapter(adapter));

    on(drop, "files", ({ files, role }) => this.openFiles(files, role));
    on(model, "demo", () => this.loadDemo());
    on(model, "weights", ({ weights }) => this.#reload({ weights: weights ?? undefined }));
    on(this.#ui.family, "by-hand", (options) => this.#reload(options));
    on(progress, "cancel", () => this.#loading?.abort());
    on(progress, "save", () => this.#save());
    on(history, "select", ({ picture }) => this.#restore(picture));

    on(this.#maker, "start", ({ job, which }) => this.#started(job, which));
    on(this.#maker, "progress", (step) => {
      progress.step(step);
      if (step.preview) twoUp.preview(step.which, step.preview, step.fraction);
    });
    on(this.#maker, "picture", ({ picture, fresh }) => this.#show(picture, fresh));
    on(this.#maker, "base", ({ picture }) => this.#showBase(picture));
    on(this.#maker, "failed", ({ error }) => this.#ui.messages.error("No picture", error.message));
    on(this.#maker, "idle", ({ stopped }) => this.#idle(stopped));
    on(this.#engine, "crash", (error) => this.#recover(error));
    on(this.#engine, "lost", (error) => this.#modelLost(error));
  }

  // ---- files -------------------------------------------------------------------------------------

  async openFiles(files, role) {
    const { models, parts, adapters, pictures, texts, refused } = await sortFiles(files);
    for (const { name, problem } of refused) this.#ui.messages.info(name, problem);
    for (const model of models) await this.loadModel(model);
    if (parts.length > 0) await this.#addParts(parts);
    for (const adapter of adapters) await this.addAdapter(adapter);
    // pictures beside an adapter or a model show what it can do
    if (models.length + parts.length + adapters.length > 0 || pictures.length + texts.length === 0) return;
    const lost = await this.#train.addFiles(pictures, texts, role);
    if (lost.length > 0 && pictures.length === 0) {
      this.#ui.messages.info(lost.join(", "), "A text is read as the caption of a picture of the same name, and there is none. Drop the picture first.");
    }
  }

  // ---- model -------------------------------------------------------------------------------------

  loadDemo() {
    return this.#load({ key: DEMO_KEY, name: "the demo model", title: "Emoji Diffusion", isDemo: true }, (options) => this.#engine.fetchFiles(DEMO_MODEL, options));
  }

  /** @param {{name: string, files: object[], hasTokenizer: boolean, place?: FileSystemHandle, entry?: string}} model entry: of the library */
  loadModel({ name, files, hasTokenizer, place, entry }) {
    const title = name.replace(/\.safetensors$/i, "");
    const keepable = { title, files, hasTokenizer, place, entry };
    return this.#load({ key: `model ${++this.#modelsLoaded}`, name, title, isDemo: false, keepable }, async (options) =>
      hasTokenizer ? files : [...files, ...await this.#engine.fetchFiles([CLIP_MERGES], options)]);
  }

  /** The same model with other options. @param {import("./protocol.js").ModelOptions} changes */
  #reload(changes) {
    if (!this.#model) return;
    const { name, title, isDemo, keepable, files, options } = this.#model;
    const key = `${isDemo ? DEMO_KEY : "model"} ${++this.#modelsLoaded}`;
    return this.#load({ key, name, title, isDemo, keepable, options: { ...options, ...changes } }, () => files);
  }

  /** A VAE, a text encoder or a .yaml goes to the model in use, in place of an earlier one. @param {import("./protocol.js").ModelFile[]} parts */
  #addParts(parts) {
    if (!this.#model) {
      this.#ui.messages.error(parts[0].path, "This is one part of a model. Load the model first, or drop both together.");
      return;
    }
    const { name, title, isDemo, keepable, files, options } = this.#model;
    const key = `${isDemo ? DEMO_KEY : "model"} ${++this.#modelsLoaded}`;
    const joined = (before) => [...before.filter(({ part }) => !parts.some((added) => added.part === part)), ...parts];
    // the library may have the model, but not with these
    const kept = keepable && { title, files: joined(keepable.files), hasTokenizer: keepable.hasTokenizer };
    return this.#load({ key, name, title, isDemo, keepable: kept, options }, () => joined(files));
  }

  /** @returns {Promise<boolean>} whether it is loaded */
  #load({ key, name, title, isDemo, keepable = null, options = {} }, getFiles) {
    return this.#inTurn(async () => {
      if (document.body.dataset.state === "error") return false; // there is no engine
      this.#stop();
      this.#state("loading", `Looking at ${name}…`);
      const { signal } = this.#loading = new AbortController();
      const { progress, model } = this.#ui;
      progress.loading(true);
      try {
        const onProgress = (bytes) => progress.bytes(bytes);
        const { files, judged } = await this.#train.interlude(async () => {
          const files = await getFiles({ signal, onProgress });
          return { files, judged: await this.#engine.judgeModel(files, options, { signal }) };
        });
        // it will do: the one in use makes way
        await this.#train.modelLeaves();
        model.showJudged(judged);
        this.#state("loading", `Loading ${name}…`);
        const onPutBack = () => {
          progress.loading(true, false);
          if (this.#model) this.#state("loading", `Putting ${this.#model.title} back…`);
        };
        const { report, adapters } = await this.#engine.loadModel(files, options, { anew: judged.anew, signal, onProgress, onPutBack });
        this.#model = { key, name, title, isDemo, keepable, files, options, report };
        this.#modelChanged();
        await this.#train.modelChanged({ ...this.#model, backend: this.#backend });
        this.#adaptersRefitted(adapters, `does not fit ${title}`);
        this.#library.modelLoaded(keepable);
        this.#state("ready", "Ready");
        return true;
      } catch (error) {
        if (error.name === CRASH) return false; // told by #recover
        if (error.name !== "AbortError") this.#ui.messages.error(`${name} was not loaded`, error.message);
        this.#state(this.#model ? "ready" : "empty", this.#model ? `${this.#model.title} stays loaded` : "No model is loaded");
        if (!this.#model) this.#ui.twoUp.hint("Load a model to draw with.");
        return false;
      } finally {
        this.#loading = null;
        progress.loading(false);
        model.setBackToDemo(!this.#model?.isDemo, Boolean(this.#model));
        await this.#tellMemory();
      }
    });
  }

  /** Whether something is going on that a reload would end. */
  get busy() {
    return this.#train.busy || ["loading", "running"].includes(document.body.dataset.state);
  }

  /** What the engine holds, where it has time to say. */
  async #tellMemory() {
    if (this.#train.busy || document.body.dataset.state === "error") return;
    try {
      const memory = await this.#engine.memory();
      this.#ui.model.showMemory(memory, this.#model?.options.weights ?? null);
      Object.assign(document.body.dataset, { heapBytes: memory.heap, heapPeak: memory.peak });
    } catch {
      // a broken engine is told of by whoever repairs it
    }
  }

  /** A broken engine could not be given its model back. */
  #modelLost(error) {
    const { messages, adapters, model, twoUp } = this.#ui;
    messages.error(`${this.#model?.title ?? "The model"} could not be put back`, error.message);
    this.#model = null;
    this.#shown = null;
    for (const handle of adapters.clear()) this.#library.adapterRemoved(handle);
    this.#library.modelLoaded(null);
    model.clear();
    this.#ui.family.clear();
    model.setBackToDemo(true, false);
    twoUp.hint("Load a model to draw with.");
  }

  #modelChanged() {
    const { form, model, twoUp, adapters } = this.#ui;
    const { title, report, isDemo, options } = this.#model;
    model.show(title, report, isDemo);
    this.#ui.family.show(report.family, options);
    adapters.showDemoAdapters(isDemo);
    form.showPrompts(isDemo);
    form.setSchedulers(report.schedulers);
    const remembered = recall("settings");
    const known = remembered?.model === title && report.schedulers.some(({ id }) => id === remembered.scheduler);
    const { prompt, ...settings } = { ...this.#defaults(), ...(known ? remembered : {}) };
    form.write(settings);
    this.#shown = null;
    twoUp.clear(report.native, isDemo ? "Press Generate, or choose a prompt above." : "Write a prompt and press Generate.");
    delete document.body.dataset.pictureFingerprint;
    delete document.body.dataset.pictureBase;
    this.#ui.progress.setSavable(false);
    this.#usedSeed = null;
  }

  #defaults() {
    return this.#model ? defaultSettings(this.#model.report, this.#model.isDemo) : {};
  }

  #rememberSettings() {
    const { prompt, seed, ...settings } = this.#ui.form.read();
    remember("prompt", prompt);
    if (this.#model) remember("settings", { model: this.#model.title, ...settings });
  }

  // ---- adapters ----------------------------------------------------------------------------------

  /**
   * @param {{name: string, file: Blob, config: ?string, handle?: string, place?: FileSystemHandle, entry?: string, strength?: ?{unet: number, textEncoder: number}}} adapter
   *   entry: of the library
   * @returns {Promise<boolean>} whether it was added
   */
  addAdapter({ name, file, config, handle = `adapter ${++this.#adaptersAdded}`, place, entry, strength }) {
    return this.#inTurn(async () => {
      const { adapters, messages } = this.#ui;
      if (adapters.find(({ name: n, size }) => n === name && size === file.size)) {
        messages.info(name, "This adapter is already here; see its card.");
        return false;
      }
      if (!this.#model) {
        messages.error(name, "An adapter needs a model to go on. Load a model first.");
        return false;
      }
      this.#stop();
      this.#state("loading", `Adding ${name}…`);
      try {
        const report = await this.#train.interlude(() => this.#engine.addAdapter(handle, file.name ?? `${name}.safetensors`, file, config));
        adapters.add({ handle, name, size: file.size, report });
        if (strength) adapters.setStrength(handle, strength);
        if (!handle.startsWith("demo ")) this.#library.adapterAdded({ handle, name, file, config, report, place, entry });
        this.#state("ready", `${name} is on${strength ? " as it was" : " at strength 1"}`);
        if (this.#shown) this.#remake();
        return true;
      } catch (error) {
        if (error.name === CRASH) return false;
        messages.error(`${name} was not added`, error.message);
        this.#state("ready", "Ready");
        return false;
      }
    });
  }

  async addDemoAdapter({ name, url }) {
    this.#stop();
    try {
      const [{ blob }] = await this.#train.interlude(() => this.#engine.fetchFiles([{ path: `${name}.safetensors`, url }]));
      await this.addAdapter({ name, file: blob, config: null, handle: `demo ${name}` });
    } catch (error) {
      if (error.name !== CRASH) this.#ui.messages.error(`${name} was not added`, error.message);
    }
  }

  removeAdapter(handle) {
    return this.#inTurn(async () => {
      this.#stop();
      this.#ui.adapters.remove(handle);
      this.#library.adapterRemoved(handle);
      try {
        await this.#train.interlude(() => this.#engine.removeAdapter(handle));
      } catch (error) {
        if (error.name !== CRASH) this.#ui.messages.error("The adapter was not removed", error.message);
      }
      this.#strengthMoved();
    });
  }

  /** Sets the form as an adapter wants it; the picture on show is drawn anew. */
  #takeAdvice(settings) {
    this.#ui.form.apply(settings);
    if (this.#shown) this.#remake();
  }

  #adaptersRefitted(outcome, reason) {
    for (const { handle, report, error } of outcome) {
      if (report) {
        this.#ui.adapters.setReport(handle, report);
      } else {
        this.#ui.messages.error(`${this.#ui.adapters.remove(handle)} ${reason}`, error.message);
        this.#library.adapterRemoved(handle);
      }
    }
  }

  /** A picture that is known shows at once; another is drawn when the slider rests. */
  #strengthMoved() {
    this.#library.strengthsMoved(this.#ui.adapters.active());
    if (!this.#shown && !this.#maker.running) return;
    this.#endRest();
    const job = this.#job();
    if (!job) return;
    if (this.#maker.cached(job)) {
      this.#maker.make(job);
    } else {
      this.#maker.stop();
      this.#rest = setTimeout(() => {
        this.#rest = 0;
        this.#maker.make(job);
      }, REST_MS);
    }
  }

  // ---- pictures ----------------------------------------------------------------------------------

  generate() {
    const { form } = this.#ui;
    if (!this.#model || document.body.dataset.state === "loading" || !form.valid()) return;
    if (this.#train.busy) {
      this.#ui.messages.info("Training has the engine", "Pause it to draw; it goes on from where it was.");
      return;
    }
    if (!form.seedKept && form.read().seed === this.#usedSeed) form.randomSeed();
    this.#rememberSettings();
    this.#remake();
  }

  #remake() {
    this.#endRest();
    const job = this.#job();
    if (job) this.#maker.make(job);
  }

  /** @returns {?import("./pictures.js").Job} what the page asks for now */
  #job() {
    if (!this.#model || this.#train.busy || !this.#ui.form.valid()) return null;
    return { model: this.#model.key, settings: this.#ui.form.read(), adapters: this.#ui.adapters.active() };
  }

  #started(job, which) {
    const { form, progress, twoUp, messages } = this.#ui;
    form.setRunning(true);
    messages.clear("No picture");
    const drawing = which === "base" ? "Drawing strength 0, to compare" : "Drawing";
    this.#state("running", drawing);
    progress.begin();
    if (which === "now") {
      this.#usedSeed = job.settings.seed;
      twoUp.begin(job.settings, this.#baseOf(job)?.image ?? null);
    }
  }

  #baseOf(job) {
    return job.adapters.length > 0 ? this.#maker.cached(baseJob(job)) : null;
  }

  #show(picture, fresh) {
    const { twoUp, history, progress, messages } = this.#ui;
    this.#shown = picture;
    if (fresh && picture.truncated.length > 0) {
      messages.info("The prompt is too long to be read whole", `Left out: ${picture.truncated.join(" … ")}`);
    }
    for (const note of fresh ? picture.notes : []) messages.info("About this picture", note);
    const base = this.#baseOf(picture.job);
    twoUp.show(picture.image, describe(picture.job), base?.image ?? null);
    history.show(picture, label(picture.job));
    progress.finished(picture, fresh);
    progress.setSavable(true);
    document.body.dataset.pictureFingerprint = picture.fingerprint;
    this.#markBase(base);
  }

  #showBase(picture) {
    if (this.#shown?.baseFingerprint !== picture.fingerprint) return;
    this.#ui.twoUp.setBase(picture.image);
    this.#markBase(picture);
  }

  #markBase(base) {
    if (base) document.body.dataset.pictureBase = "1";
    else delete document.body.dataset.pictureBase;
  }

  #idle(stopped) {
    const { form, progress, twoUp } = this.#ui;
    form.setRunning(false);
    progress.end();
    if (stopped) twoUp.revert();
    const stopStatus = this.#rest ? "Ready" : "Stopped"; // a slider that moves stops nothing for good
    if (document.body.dataset.state === "running") this.#state("ready", stopped ? stopStatus : progress.summary());
    this.#tellMemory();
  }

  #restore(picture) {
    if (document.body.dataset.state === "loading") return;
    this.#stop();
    if (picture.job.model === this.#model?.key) {
      this.#ui.form.write(picture.job.settings);
      this.#ui.adapters.restore(picture.job.adapters);
      this.#usedSeed = picture.job.settings.seed;
    }
    this.#show(picture, false);
  }

  async #save() {
    if (!this.#shown) return;
    const { image, job } = this.#shown;
    const canvas = new OffscreenCanvas(image.width, image.height);
    canvas.getContext("2d").putImageData(image, 0, 0);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await canvas.convertToBlob({ type: "image/png" }));
    const words = job.settings.prompt.normalize("NFKD").replace(/[^\w]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60).toLowerCase();
    link.download = `${words || "picture"}-${job.settings.seed}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  // ---- state -------------------------------------------------------------------------------------

  /** Runs `work` when the loads and additions before it are through. */
  #inTurn(work) {
    const done = this.#queue.then(work);
    this.#queue = done.catch(() => {});
    return done;
  }

  #stop() {
    this.#endRest();
    this.#maker.stop();
  }

  #endRest() {
    clearTimeout(this.#rest);
    this.#rest = 0;
  }

  /** @param {"loading"|"ready"|"running"|"empty"|"error"} state */
  #state(state, status) {
    document.body.dataset.state = state;
    this.#ui.form.setEnabled(state === "ready" || state === "running");
    this.#ui.progress.status(status);
    this.#train.refresh();
  }

  /** The worker broke: bring up another with the same model and adapters. */
  #recover(error) {
    const { progress, messages } = this.#ui;
    this.#stop();
    this.#train.engineLost();
    this.#state("loading", "The engine stopped; starting it again…");
    return this.#inTurn(async () => {
      this.#state("loading", "The engine stopped; starting it again…");
      try {
        const { adapters } = await this.#engine.recover((bytes) => progress.bytes(bytes));
        this.#adaptersRefitted(adapters, "was not put back");
        messages.error("The engine stopped and was started again", this.#model
          ? `Your model and adapters are back. ${this.#train.interrupted ?? "Only the job in hand was lost."} (${error.message})`
          : `No model is loaded. (${error.message})`);
        this.#state(this.#model ? "ready" : "empty", this.#model ? "Ready" : "No model is loaded");
      } catch (again) {
        this.#fail("The engine stopped and could not be started again", again, "Reload the page.");
      } finally {
        progress.end();
      }
    });
  }

  #fail(title, error, remedy) {
    this.#ui.messages.error(title, `${error.message.replace(/\.?$/, ".")} ${remedy}`);
    this.#ui.progress.loading(false);
    if (!this.#model) this.#ui.twoUp.hint("");
    this.#state("error", title);
  }
}

function strengthText({ name, unet, textEncoder, onePart }) {
  return unet === textEncoder || onePart ? `${name} ${unet || textEncoder}` : `${name} ${unet} / ${textEncoder}`;
}

function describe({ adapters, settings }) {
  return { alt: `${settings.prompt || "no prompt"}, seed ${settings.seed}`, adapters: adapters.map(strengthText).join(", ") };
}

function label(job) {
  const { adapters, alt } = describe(job);
  return adapters ? `${alt}, ${adapters}` : alt;
}
