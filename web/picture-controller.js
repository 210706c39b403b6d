// Wires the picture: what is drawn when, what is shown beside it, and the pictures before it. The line of those that wait
// is queue-controller.js'.

import { counted } from "./format.js";
import { fileNameOf, pngOf } from "./picture-texts.js";
import { describe, label } from "./picture-words.js";
import { PictureMaker, baseJob, pictureCache } from "./pictures.js";
import { CRASH } from "./protocol.js";
import { QueueController } from "./queue-controller.js";
import { owed } from "./queue.js";
import { saveAs } from "./save.js";

const OTHER_LISTS = "The lists that this picture’s prompt was drawn from are others now: the words that were drawn stand in its place.";
const NO_START = "What this picture started from isn’t in memory any more. Put it in again to draw it anew.";
/** How long a slider that is still held rests before its picture is drawn. */
const REST_MS = 250;

/**
 * @typedef {object} PictureHost   what it asks of the page
 * @property {import("./page-state.js").PageState} state
 * @property {() => ?import("./model-loader.js").Loaded} model
 * @property {() => boolean} isTraining   whether a run has the engine
 * @property {import("./prompt-tags.js").PromptTags} tags   of adapters, in the prompt
 * @property {import("./picture-jobs.js").PictureJobs} jobs   what the page asks for
 * @property {() => void} remember        the settings, for the next visit
 * @property {() => void} tellMemory
 * @property {(handle: string) => ?Blob} fileOf   an adapter's
 * @property {import("./picture-texts.js").PictureTexts} texts
 * @property {(picture: import("./pictures.js").Picture) => void} keep   in the gallery
 * @property {import("./start-controller.js").StartController} start   what it is drawn from
 */
export class PictureController {
  #ui;
  /** @type {PictureHost} */
  #host;
  #maker;
  #queue;
  /** @type {?import("./pictures.js").Picture} the picture on show */
  #shown = null;
  /** What the form said when something was asked for last. @type {?import("./protocol.js").Settings} */
  #asked = null;
  /** Whether pictures that come take the stage: not while somebody looks at another one that they chose. */
  #follows = true;
  #rest = 0;
  #usedSeed = null;

  /** @param {PictureHost} host */
  constructor(engine, ui, host) {
    this.#ui = ui;
    this.#host = host;
    this.#maker = new PictureMaker(engine, pictureCache(), () => this.#mayDraw, (settings) => host.start.store.of(settings));
    this.#queue = new QueueController(this.#maker, ui, host);
    const { form, keys, adapters, progress, history } = ui;
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));
    on(form, "generate", () => this.generate());
    on(keys, "draw", () => this.generate());
    on(form, "stop", () => this.stop());
    on(form, "tell", ({ words }) => progress.status(words));
    on(form, "last-seed", () => this.#useLastSeed());
    on(adapters, "released", () => this.released());
    on(progress, "save", () => this.#save());
    on(history, "select", ({ picture }) => this.restore(picture));
    on(this.#queue, "look", () => this.#follow(true));
    on(this.#maker, "start", ({ entry, kind }) => this.#started(entry, kind));
    on(this.#maker, "progress", (step) => this.#progressed(step));
    on(this.#maker, "picture", (drawn) => this.#came(drawn));
    on(this.#maker, "failed", ({ error }) => this.#ui.messages.error("No picture", error.message));
    on(this.#maker, "idle", ({ stopped }) => this.#idle(stopped));
  }

  get maker() { return this.#maker; }

  #useLastSeed() {
    if (this.#shown) this.#ui.form.keepSeed(this.#shown.job.settings.seed);
    else this.#ui.progress.status("There is no picture yet whose seed could be used");
  }

  /** The one on show. @returns {?ImageData} */
  get image() { return this.#shown?.image ?? null; }

  get isRunning() { return this.#maker.running; }

  /** Whether something that was asked for isn't there yet. */
  get waits() { return owed(this.#maker.state) > 0; }

  get #mayDraw() {
    const { state } = this.#host;
    return Boolean(this.#host.model()) && (state.at === "ready" || state.at === "running") && !this.#host.isTraining();
  }

  /** Another model is in use: there is no picture of it yet. @param {{width: number, height: number}} size @param {string} hint */
  clear(size, hint) {
    this.#shown = null;
    this.#usedSeed = null;
    this.#leaveOut();
    this.#ui.twoUp.clear(size, hint);
    delete document.body.dataset.pictureFingerprint;
    delete document.body.dataset.pictureBase;
    this.#setSavable(false);
  }

  /** What is on show is no picture of this engine's any more. */
  forget() {
    this.#shown = null;
    this.#leaveOut();
  }

  /** Those of a model that is gone can't be drawn. */
  #leaveOut() {
    const isForeign = ({ job }) => job.model !== this.#host.model()?.key;
    const { length } = this.#maker.state.waiting.filter(isForeign);
    if (length === 0) return;
    this.#maker.cancel(isForeign);
    const what = counted(length, "waiting picture");
    this.#ui.messages.error("The queue was emptied", `${what} can’t be drawn any more: their model is gone.`);
  }

  /** The seed in the form is wanted, also where it is that of the picture on show. */
  settingsCame() {
    this.#usedSeed = null;
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
    const job = this.#liveJob();
    if (!job) return;
    if (this.#maker.cached(job)) {
      this.#redrawn(job);
    } else {
      this.#rest = setTimeout(() => this.#remake(), REST_MS);
      this.#maker.rest();
    }
  }

  /** The slider rests. */
  released() {
    if (this.#rest) this.#remake();
  }

  /** As many as are wanted wait their turn, with what the page says now. */
  generate() {
    const { form } = this.#ui;
    if (!this.#host.model() || this.#host.state.isLoading || !form.valid()) return;
    if (!form.seedKept && form.read().seed === this.#usedSeed) form.randomSeed();
    this.#host.remember();
    const coming = this.#host.jobs.coming(() => this.#host.jobs.batch(form.batchCount));
    if (coming === null) this.#ask();
    else coming.then(() => this.#ask());
  }

  #ask() {
    const { form, messages, progress } = this.#ui;
    if (!this.#host.model()) return; // it went while an adapter was waited for
    this.#endRest();
    this.#follow(true);
    messages.clear("No picture");
    const jobs = this.#host.jobs.batch(form.batchCount);
    this.#usedSeed = jobs[0].settings.seed;
    this.#asked = jobs[0].settings;
    const isKnown = jobs.every((one) => this.#maker.cached(one));
    const added = this.#maker.ask(jobs);
    if (!isKnown && added === 0) progress.status("It is in the queue already: another seed gives another picture");
    if (!this.#host.isTraining()) return;
    const pause = added === 0 ? "Pause it to draw" : "What you asked for waits until then: pause the run to draw";
    messages.info("Training has the engine", `${pause}; it goes on from where it was.`);
  }

  #remake() {
    this.#endRest();
    const job = this.#liveJob();
    if (job) this.#redrawn(job);
  }

  /**
   * The picture that is seen, or comes to be, as the page would have it now; null while nothing can be drawn. While nobody
   * has changed the form since it was asked for, it keeps its own settings: of several that wait each has others.
   * @returns {?import("./pictures.js").Job}
   */
  #liveJob() {
    if (!this.#mayDraw || !this.#ui.form.valid()) return null;
    const job = this.#host.jobs.now();
    const { hand } = this.#maker.state;
    const seen = hand && this.#isWatched(hand.entry, hand.kind) ? hand.entry.job : this.#shown?.job;
    if (seen?.model !== job.model || same(job.settings, seen.settings) || !same(job.settings, this.#asked)) return job;
    return this.#host.jobs.like(seen);
  }

  #redrawn(job) {
    if (same(job.settings, this.#host.jobs.now().settings)) this.#asked = job.settings;
    this.#usedSeed = this.#ui.form.read().seed;
    this.#maker.live(job);
  }

  #follow(follows) {
    this.#follows = follows;
    this.#queue.hidden = !follows;
  }

  /** The engine is free, or another one, or nothing of it is known: what waits goes on where it can. */
  refresh() {
    this.#queue.refresh();
    this.#maker.goOn();
  }

  /** Another model is to be loaded: what was asked for is drawn first. @param {string} name @param {AbortSignal} signal */
  async settled(name, signal) {
    this.#endRest();
    if (owed(this.#maker.state) > 0) this.#queue.then(`then ${name} is loaded`);
    try {
      await this.#maker.settled(signal);
    } catch (error) {
      const why = "The engine stopped before its turn came. Load it again.";
      if (error.name === CRASH) this.#ui.messages.error(`${name} was not loaded`, why);
      throw error;
    } finally {
      this.#queue.then("");
    }
  }

  /**
   * @template T
   * @param {string} words what happens, while the picture in hand is waited for
   * @param {() => Promise<T>} work what needs the engine between two pictures
   * @returns {Promise<T>}
   */
  between(words, work) {
    this.#endRest();
    this.#queue.then(words);
    return this.#maker.between(() => {
      this.#queue.then("");
      return work();
    });
  }

  /** Resolves when no picture in the line is drawn with this adapter. @param {string} handle */
  without(handle) { return this.#maker.without(handle); }

  /** @template T @param {() => Promise<T>} work what needs the engine at once @returns {Promise<T>} */
  instead(work) {
    this.#endRest();
    return this.#maker.instead(work);
  }

  /** @param {Error} error @returns {string} what the engine's end took along, in words */
  engineLost(error) {
    this.#endRest();
    this.#maker.engineLost(error);
    const { length } = this.#maker.state.waiting;
    return `Only the job in hand was lost${length > 0 ? `, and not what waits in the queue (${counted(length, "picture")})` : ""}.`;
  }

  /** Whether this one is to be seen as it comes. @param {import("./queue.js").Entry} entry */
  #isWatched({ group }, kind) {
    return !group && (kind === "live" || (kind === "asked" && this.#follows));
  }

  #started(entry, kind) {
    const { job } = entry;
    const { form, progress, twoUp, messages } = this.#ui;
    form.setRunning(true);
    if (kind === "live") messages.clear("No picture");
    const drawing = kind === "base" ? "Drawing strength 0, to compare" : "Drawing";
    this.#host.state.set("running", drawing);
    progress.begin();
    const { store } = this.#host.start;
    if (this.#isWatched(entry, kind)) twoUp.begin(store.sizeOf(job.settings), this.#baseOf(job)?.image ?? null, store.cropOf(job.settings));
  }

  #progressed({ entry, kind, ...step }) {
    this.#ui.progress.step(step);
    if (step.preview && this.#isWatched(entry, kind)) this.#ui.twoUp.preview(step.preview, step.fraction);
  }

  #came({ picture, fresh, entry, kind }) {
    const { history, messages, progress } = this.#ui;
    if (kind === "base") return this.#showBase(picture);
    for (const note of fresh ? picture.notes : []) messages.info("About this picture", note);
    this.#note(picture);
    if (entry.group) return progress.finished(picture, fresh);
    if (fresh) this.#host.keep(picture);
    if (!this.#isWatched(entry, kind)) {
      history.add(picture, label(picture.job));
      return progress.finished(picture, fresh);
    }
    // who moved a slider looks at that, while others of the line come
    if (kind === "live") this.#follow(owed(this.#maker.state) === 0);
    this.#show(picture, fresh);
  }

  #baseOf(job) {
    return job.adapters.length > 0 ? this.#maker.cached(baseJob(job)) : null;
  }

  #show(picture, fresh) {
    const { twoUp, history, progress } = this.#ui;
    this.#shown = picture;
    this.#note(picture);
    const base = this.#baseOf(picture.job);
    twoUp.show(picture.image, describe(picture.job), base?.image ?? null);
    history.show(picture, label(picture.job));
    progress.finished(picture, fresh);
    this.#setSavable(true);
    document.body.dataset.pictureFingerprint = picture.fingerprint;
    this.#markBase(base);
    if (!base && picture.job.adapters.length > 0 && picture.job.model === this.#host.model()?.key) this.#maker.compare(picture.job);
  }

  #setSavable(there) {
    this.#ui.progress.setSavable(there);
    this.#ui.start.setShown(there);
  }

  /** What it was drawn with, for its file: model and adapters may be others when it is saved. */
  #note(picture) {
    if (picture.job.model === this.#host.model()?.key) this.#host.texts.note(picture, this.#host.model(), this.#host.fileOf);
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
    this.#follow(true);
    const stopStatus = this.#rest ? "Ready" : "Stopped"; // a slider that moves stops nothing for good
    if (this.#host.state.at === "running") this.#host.state.set("ready", stopped ? stopStatus : progress.summary());
    if (!stopped) herald.ended("Drawn");
    this.#host.tellMemory();
  }

  /** What is drawn goes on, and is found in the strip. @param {import("./pictures.js").Picture} picture */
  restore(picture) {
    if (this.#host.state.isLoading) return;
    this.#endRest();
    if (picture.job.model === this.#host.model()?.key) {
      const { settings, written, adapters } = picture.job;
      const again = this.#host.jobs.comesAgain(picture.job);
      this.#ui.form.write({ hires: null, ...settings, ...again && written });
      this.#ui.adapters.restore(adapters.filter(({ drawn }) => !again || !drawn));
      if (!again) this.#ui.messages.info("Choices", OTHER_LISTS);
      if (!this.#host.start.restore(settings.start)) this.#ui.messages.info("Start picture", NO_START);
      this.#host.tags.agree();
      this.#host.tags.write(); // a sheet has moved strengths
      this.#usedSeed = picture.job.settings.seed;
      this.#asked = this.#host.jobs.now().settings;
    }
    // a cell of a sheet that was made smaller, and that memory has no room for
    if (!picture.image) return void this.#maker.ask([picture.job]);
    this.#follow(false);
    this.#show(picture, false);
  }

  async #save() {
    if (!this.#shown) return;
    const { image, job: { settings: { prompt, seed } } } = this.#shown;
    const text = this.#ui.switches.carry ? await this.#host.texts.of(this.#shown) : "";
    saveAs(await pngOf(image, text), fileNameOf(prompt, seed));
  }

  /** What is drawn is not wanted; of a sheet, all that is left of it. */
  stop() {
    this.#endRest();
    const group = this.#maker.state.hand?.entry.group;
    if (group) this.#maker.cancel((entry) => entry.group === group);
    else this.#maker.stop();
  }

  #endRest() {
    clearTimeout(this.#rest);
    this.#rest = 0;
  }
}

const same = (settings, others) => JSON.stringify(settings) === JSON.stringify(others);
