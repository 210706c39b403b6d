// Wires the parts of the page to the engine. The parts emit events; only this file acts on them, picture-controller.js
// on what is about the picture, and train-controller.js on those of the Train tab.

import { AdapterStack } from "./adapter-stack.js";
import { ChoicesController } from "./choices-controller.js";
import { DEMO_ADAPTERS, DEMO_PROMPTS, defaultSettings } from "./demo.js";
import { FileOpener } from "./file-opener.js";
import { duration, sentence } from "./format.js";
import { GalleryController } from "./gallery-controller.js";
import { LibraryController } from "./library-controller.js";
import { Library } from "./library/library.js";
import { ModelLoader } from "./model-loader.js";
import { PageState } from "./page-state.js";
import { PictureJobs } from "./picture-jobs.js";
import { PictureController } from "./picture-controller.js";
import { PictureTexts } from "./picture-texts.js";
import { PromptTags } from "./prompt-tags.js";
import { isNamed } from "./prompt/tags.js";
import { PromptsController } from "./prompts-controller.js";
import { LOST } from "./protocol.js";
import { Recovery } from "./recovery.js";
import { Restorer } from "./restorer.js";
import { startsOf } from "./start/store.js";
import { StorageController } from "./storage-controller.js";
import { recall, remember } from "./storage.js";
import { StartController } from "./start-controller.js";
import { SheetController } from "./sheet-controller.js";
import { Sums } from "./sums.js";
import { TokenCounter } from "./token-counter.js";
import { TrainController } from "./train-controller.js";
import { Turns } from "./turns.js";
import { confirmed } from "./ui/dialogs.js";
import { keepUsed } from "./visits.js";
import { Wildcards } from "./wildcards.js";

const SILENT = "The engine doesn’t answer";
/** How long a prompt rests before its tags act. */
const TYPING_MS = 400;

export class Controller {
  #engine;
  #ui;
  /** @type {PictureController} */
  #pictures;
  /** @type {TrainController} */
  #train;
  /** @type {LibraryController} */
  #library;
  /** @type {PromptsController} */
  #prompts;
  #tags;
  #recovery;
  /** @type {ModelLoader} */
  #loader;
  /** @type {AdapterStack} */
  #stack;
  #state = new PageState();
  #sums = new Sums();
  #texts = new PictureTexts(this.#sums);
  #restorer;
  #typing = 0;
  /** @type {GalleryController} */
  #gallery;
  #start;
  /** @type {PictureJobs} */
  #jobs;
  /** @type {FileOpener} */
  #files;
  /** Loads and additions run one after another. */
  #turns = new Turns();

  constructor(engine, library, ui) {
    this.#engine = engine;
    this.#ui = ui;
    this.#tags = new PromptTags(ui.form, ui.adapters, {
      addKept: (name, strength) => this.#addNamed(name, { strength, off: strength.unet === 0 && strength.textEncoder === 0 }),
      outside: (prompt) => this.#jobs.outside(prompt),
      strengthMoved: () => this.#strengthMoved(),
    });
    const wildcards = new Wildcards(library);
    this.#jobs = new PictureJobs(ui, { model: () => this.#model, tags: this.#tags, wildcards, start: () => this.#start.start });
    const choices = new ChoicesController(ui, library, wildcards, this.#jobs);
    this.#start = new StartController(ui, {
      shown: () => this.#pictures.image,
      waiting: () => startsOf(this.#pictures.maker.state),
      strengthMoved: () => this.#pictures.strengthMoved(),
      released: () => this.#pictures.released(),
    });
    this.#pictures = new PictureController(engine, ui, {
      tags: this.#tags,
      state: this.#state,
      model: () => this.#model,
      isTraining: () => this.#train.busy,
      remember: () => {
        this.#rememberSettings();
        this.#prompts.drawn();
      },
      tellMemory: () => this.#loader.tellMemory(),
      fileOf: (handle) => this.#stack.fileOf(handle),
      texts: this.#texts,
      keep: (picture) => this.#gallery.keep(picture),
      start: this.#start,
      jobs: this.#jobs,
    });
    this.#recovery = new Recovery(engine, ui.capability, keepUsed);
    this.#train = new TrainController(engine, ui.train, {
      addAdapter: (adapter) => this.#stack.add({ ...adapter, config: null, beside: true }),
      insteadOfPictures: (work) => this.#pictures.instead(work),
      turned: () => this.#pictures.refresh(),
      openFiles: (files, role) => this.#files.open(files, role),
    });
    this.#library = new LibraryController(library, { ...ui.library, messages: ui.messages }, {
      loadModel: (model) => this.#loader.load(model),
      addAdapter: (adapter) => this.#stack.add(adapter),
      removeAdapter: (handle) => this.#stack.remove(handle),
      loadDemo: () => this.#loader.loadDemo(),
      addToPrompt: (words) => ui.form.addToPrompt(words),
      sumKnown: (file, sha256) => this.#sums.know(file, sha256),
      confirmed,
    });
    this.#prompts = new PromptsController(ui, confirmed);
    new StorageController(ui.library.storage, {
      entries: () => (Library.problem ? Promise.resolve([]) : library.list()),
      deleteEntries: (kind) => this.#library.deleteAll(kind),
      runs: () => this.#train.runs(),
      deleteRuns: () => this.#train.deleteRuns(),
      room: () => library.room(),
      persist: () => this.#library.persist(),
      confirmed,
    });
    new SheetController(engine, this.#pictures.maker, ui, {
      state: this.#state,
      model: () => this.#model,
      isTraining: () => this.#train.busy,
      jobs: this.#jobs,
      restore: (picture) => this.#pictures.restore(picture),
      texts: this.#texts,
      sizeOf: (settings) => this.#start.store.sizeOf(settings),
      snapshots: () => this.#train.snapshots,
      snapshotFile: (step) => this.#train.snapshotFile(step),
      addAdapter: (adapter) => this.#stack.add(adapter),
    });
    const shared = { state: this.#state, turns: this.#turns, train: this.#train, library: this.#library };
    this.#stack = new AdapterStack(engine, { list: ui.adapters, messages: ui.messages }, {
      ...shared,
      hasModel: () => Boolean(this.#model),
      pictures: this.#pictures,
      redraw: () => this.#pictures.redraw(),
      strengthMoved: () => this.#strengthMoved(),
    });
    this.#restorer = new Restorer(ui, {
      model: () => this.#model,
      sums: this.#sums,
      fileOf: (handle) => this.#stack.fileOf(handle),
      fetchAdapter: ({ name }) => this.#addNamed(name, { off: true }),
      start: this.#start,
      jobs: this.#jobs,
      settingsCame: () => {
        this.#tags.agree();
        this.#pictures.settingsCame();
        if (this.#state.at === "ready") this.#state.set("ready", "Ready");
      },
    });
    this.#gallery = new GalleryController(ui, {
      texts: this.#texts,
      restore: (found, name) => this.#restorer.restore(found, name),
      startFrom: (picture) => this.#start.takeFile(picture),
    });
    const { progress, model: panel, messages, family, twoUp } = ui;
    this.#loader = new ModelLoader(engine, { progress, panel, messages, family, twoUp }, {
      ...shared,
      adapters: this.#stack,
      backend: () => this.#recovery.backend,
      pictures: this.#pictures,
      confirmed,
    });
    this.#files = new FileOpener({ messages, tabs: ui.train.tabs }, {
      loadModel: (loaded) => this.#loader.load(loaded),
      addParts: (parts) => this.#loader.addParts(parts),
      adapters: this.#stack,
      settled: () => this.#turns.take(async () => {}),
      restore: (picture) => this.#restorer.fromFile(picture),
      addLists: (texts) => choices.addLists(texts),
      addTrainFiles: (pictures, texts, role) => this.#train.addFiles(pictures, texts, role),
      startFrom: (picture) => this.#start.takeFile(picture),
      loadMask: (picture) => this.#start.loadMask(picture),
    });
    new TokenCounter(engine, ui.form, () => Boolean(this.#model) && !this.#state.isLoading, (settings) => this.#jobs.read(settings));
    this.#wire();
  }

  get #model() {
    return this.#loader.model;
  }

  /** Whether something is going on that a reload would end. */
  get busy() {
    return this.#train.busy || this.#pictures.waits || ["loading", "running"].includes(this.#state.at);
  }

  start(forcedBackend) {
    const { form, adapters, progress } = this.#ui;
    form.setPrompts(DEMO_PROMPTS);
    adapters.setDemoAdapters(DEMO_ADAPTERS);
    form.write({ prompt: recall("prompt", DEMO_PROMPTS[0]) });
    form.randomSeed();
    this.#state.set("loading", "Looking at this machine…");
    progress.loading(true, false);
    // in turn, so that what is dropped meanwhile waits for the demo model
    this.#turns.take(() => this.#open(forcedBackend));
    this.#library.refresh();
    return this.#library.hasLast ? this.#openLast() : this.#loader.loadDemo(true);
  }

  async #openLast() {
    if (!await this.#library.openLast() && !this.#model) await this.#loader.loadDemo(true);
  }

  async #open(forcedBackend) {
    try {
      await this.#recovery.open(forcedBackend, () => this.#state.set("loading", "Starting the engine…"));
    } catch (error) {
      this.#fail("Lorakeet could not start", error, "Reload the page; a current Chrome, Edge, Firefox or Safari is needed.");
    }
  }

  #wire() {
    const { form, adapters, drop, model, progress } = this.#ui;
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));

    on(form, "reset", () => form.write(this.#defaults()));
    on(form, "change", () => this.#rememberSettings());
    on(form, "prompt", () => this.#promptTyped());

    on(adapters, "strength", () => {
      this.#tags.write();
      this.#strengthMoved();
    });
    on(adapters, "remove", ({ handle }) => {
      this.#tags.removed(handle);
      this.#stack.remove(handle);
    });
    on(adapters, "trigger", ({ word }) => form.addToPrompt(word));
    on(adapters, "advice", ({ settings }) => this.#takeAdvice(settings));
    on(adapters, "demo", ({ adapter }) => this.#stack.addDemo(adapter));

    on(drop, "files", ({ files, role }) => this.#files.open(files, role));
    on(drop, "infotext", ({ text }) => this.#restorer.fromText(text));
    on(model, "demo", () => this.#loader.loadDemo());
    on(model, "weights", ({ weights }) => this.#loader.reload({ weights: weights ?? undefined }));
    on(this.#ui.family, "by-hand", (options) => this.#loader.reload(options));
    on(progress, "cancel", () => this.#loader.cancel());
    on(this.#engine, "crash", (error) => this.#recover(error));
    on(this.#loader, "changed", () => this.#modelChanged());
    on(this.#loader, "gone", () => this.#pictures.forget());
    on(this.#state, "change", (status) => this.#stateChanged(status));
    on(this.#engine, "silent", (seconds) => this.#ui.messages.offer(SILENT, `It has said nothing for ${duration(1000 * seconds, 0)}. It may still be computing; if not, a new one gets the same model and adapters, and a training run goes on.`, "Start it anew", () => this.#engine.giveUp()));
    on(this.#engine, "heard", () => this.#ui.messages.clear(SILENT));
  }

  // ---- model -------------------------------------------------------------------------------------

  #modelChanged() {
    const { form, model, adapters } = this.#ui;
    const { title, report, isDemo, options } = this.#model;
    model.show(title, report, isDemo);
    this.#ui.family.show(report.family, options);
    adapters.showDemoAdapters(isDemo);
    form.showPrompts(isDemo);
    form.setSchedulers(report);
    const remembered = recall("settings");
    const known = remembered?.model === title && report.schedulers.some(({ id }) => id === remembered.scheduler);
    const { prompt, ...settings } = { ...this.#defaults(), ...(known ? remembered : {}) };
    form.write(settings);
    this.#texts.begin(this.#model);
    this.#pictures.clear(report.native, isDemo ? "Press Generate, or choose a prompt above." : "Write a prompt and press Generate.");
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
   * An adapter that a prompt or a picture asks for by its name: a demo adapter, or one of the library.
   * @param {string} name
   * @param {{strength?: import("./spread.js").Powers, off?: boolean}} at
   */
  async #addNamed(name, at) {
    const demo = this.#model?.isDemo && DEMO_ADAPTERS.find((adapter) => isNamed(name, adapter.name));
    return demo ? this.#stack.addDemo(demo, at) : this.#library.useAdapter((entry) => isNamed(name, entry), at);
  }

  /** Tags act when the hand rests: half a number is none. */
  #promptTyped() {
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#model && !this.#state.isLoading && this.#tags.read(), TYPING_MS);
  }

  /** Sets the form as an adapter wants it; the picture on show is drawn anew. */
  #takeAdvice(settings) {
    this.#ui.form.apply(settings);
    this.#pictures.redraw();
  }

  #strengthMoved() {
    this.#library.strengthsMoved(this.#ui.adapters.active());
    this.#pictures.strengthMoved();
  }

  // ---- state -------------------------------------------------------------------------------------

  #stateChanged(status) {
    const { at } = this.#state;
    this.#ui.form.setEnabled(at === "ready" || at === "running");
    this.#ui.progress.status(status);
    this.#train.refresh();
    this.#pictures.refresh();
  }

  /** The worker broke: bring up another with the same model and adapters. */
  #recover(error) {
    const { progress, messages } = this.#ui;
    const what = error.kind === LOST ? "The GPU was lost" : "The engine stopped";
    const lost = this.#pictures.engineLost(error);
    this.#train.engineLost();
    this.#state.set("loading", `${what}; starting it again…`);
    return this.#turns.take(async () => {
      this.#state.set("loading", `${what}; starting it again…`);
      try {
        const { adapters, leftGpu } = await this.#recovery.bringBack(error, (bytes) => progress.bytes(bytes));
        this.#stack.refitted(adapters, "was not put back");
        this.#state.set(this.#model ? "ready" : "empty", this.#model ? "Ready" : "No model is loaded");
        const run = await this.#train.engineBack(this.#recovery.backend);
        const kept = this.#model ? `Your model and adapters are back. ${run ?? lost}` : run ?? "";
        const slower = leftGpu ? " It computes on the CPU now, which is slower: reload the page to try the GPU again." : "";
        messages.error(error.kind === LOST ? `${what}, and the engine was started again` : `${what} and was started again`, `${kept}${slower} (${error.message})`.trim());
      } catch (again) {
        this.#fail("The engine stopped and could not be started again", again, "Reload the page.");
      } finally {
        if (!this.#pictures.isRunning) progress.end();
      }
    });
  }

  #fail(title, error, remedy) {
    this.#ui.messages.error(title, `${sentence(error.message)} ${remedy}`);
    this.#ui.herald.ended("Stopped", title);
    this.#ui.progress.loading(false);
    if (!this.#model) this.#ui.twoUp.hint("");
    this.#state.set("error", title);
  }
}
