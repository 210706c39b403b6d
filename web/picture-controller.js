// Wires the picture: what is drawn when, what is shown beside it, and the pictures before it.

import { fileNameOf, pngOf } from "./picture-texts.js";
import { PictureCache, PictureMaker, baseJob } from "./pictures.js";
import { saveAs } from "./save.js";

/** How long a slider that is still held rests before its picture is drawn. */
const REST_MS = 250;

/**
 * @typedef {object} PictureHost   what it asks of the page
 * @property {import("./page-state.js").PageState} state
 * @property {() => ?import("./model-loader.js").Loaded} model
 * @property {() => boolean} isTraining   whether a run has the engine
 * @property {() => void} remember        the settings, for the next visit
 * @property {() => void} tellMemory
 * @property {(handle: string) => ?Blob} fileOf   an adapter's
 * @property {import("./picture-texts.js").PictureTexts} texts
 */
export class PictureController {
  #ui;
  /** @type {PictureHost} */
  #host;
  #maker;
  /** @type {?import("./pictures.js").Picture} the picture on show */
  #shown = null;
  #rest = 0;
  #usedSeed = null;

  /** @param {PictureHost} host */
  constructor(engine, ui, host) {
    this.#ui = ui;
    this.#host = host;
    this.#maker = new PictureMaker(engine, new PictureCache());
    const { form, keys, adapters, progress, history, twoUp } = ui;
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));
    on(form, "generate", () => this.generate());
    on(keys, "draw", () => this.generate());
    on(form, "stop", () => this.stop());
    on(adapters, "released", () => this.#rest && this.#remake());
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
  }

  get isRunning() { return this.#maker.running; }

  /** Another model is in use: there is no picture of it yet. @param {{width: number, height: number}} size @param {string} hint */
  clear(size, hint) {
    this.#shown = null;
    this.#usedSeed = null;
    this.#ui.twoUp.clear(size, hint);
    delete document.body.dataset.pictureFingerprint;
    delete document.body.dataset.pictureBase;
    this.#ui.progress.setSavable(false);
  }

  /** What is on show is no picture of this engine's any more. */
  forget() {
    this.#shown = null;
  }

  /** The picture on show anew, with what the page says now. */
  redraw() {
    if (this.#shown) this.#remake();
  }

  /** A picture that is known shows at once; another is drawn when the slider rests. */
  strengthMoved() {
    if (!this.#shown && !this.#maker.running) return;
    this.#endRest();
    // said where the picture's state is: the focus is on the slider, and stays there
    if (!this.#ui.form.isGood) return this.#ui.progress.status("Not drawn: a setting is not right");
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

  generate() {
    const { form } = this.#ui;
    if (!this.#host.model() || this.#host.state.isLoading || !form.valid()) return;
    if (this.#host.isTraining()) {
      this.#ui.messages.info("Training has the engine", "Pause it to draw; it goes on from where it was.");
      return;
    }
    if (!form.seedKept && form.read().seed === this.#usedSeed) form.randomSeed();
    this.#host.remember();
    this.#remake();
  }

  #remake() {
    this.#endRest();
    const job = this.#job();
    if (job) this.#maker.make(job);
  }

  /** @returns {?import("./pictures.js").Job} what the page asks for now; null while nothing can be drawn */
  #job() {
    if (!this.#host.model() || this.#host.state.isLoading || this.#host.isTraining() || !this.#ui.form.valid()) return null;
    return { model: this.#host.model().key, settings: this.#ui.form.read(), adapters: this.#ui.adapters.active() };
  }

  #started(job, which) {
    const { form, progress, twoUp, messages } = this.#ui;
    form.setRunning(true);
    messages.clear("No picture");
    const drawing = which === "base" ? "Drawing strength 0, to compare" : "Drawing";
    this.#host.state.set("running", drawing);
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
    if (picture.job.model === this.#host.model()?.key) this.#host.texts.note(picture, this.#host.model(), this.#host.fileOf);
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
    const { form, progress, twoUp, herald } = this.#ui;
    form.setRunning(false);
    progress.end();
    if (stopped) twoUp.revert();
    const stopStatus = this.#rest ? "Ready" : "Stopped"; // a slider that moves stops nothing for good
    if (this.#host.state.at === "running") this.#host.state.set("ready", stopped ? stopStatus : progress.summary());
    if (!stopped) herald.ended("Drawn");
    this.#host.tellMemory();
  }

  #restore(picture) {
    if (this.#host.state.isLoading) return;
    this.stop();
    if (picture.job.model === this.#host.model()?.key) {
      this.#ui.form.write(picture.job.settings);
      this.#ui.adapters.restore(picture.job.adapters);
      this.#usedSeed = picture.job.settings.seed;
    }
    this.#show(picture, false);
  }

  async #save() {
    if (!this.#shown) return;
    const { image, job: { settings: { prompt, seed } } } = this.#shown;
    const text = this.#ui.switches.carry ? await this.#host.texts.of(this.#shown) : "";
    saveAs(await pngOf(image, text), fileNameOf(prompt, seed));
  }

  stop() {
    this.#endRest();
    this.#maker.stop();
  }

  #endRest() {
    clearTimeout(this.#rest);
    this.#rest = 0;
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
