// One training run: what the engine does for it, and when. All that needs the engine while the run is on happens
// between two steps: the run halts, and goes on by itself. What is kept of it is journal.js'.

import { CRASH } from "../protocol.js";
import { Journal } from "./journal.js";
import { NONE, isBusy, isPausing, loopOf, next } from "./machine.js";
import { Session } from "./session.js";
import { hasPreviews, trained } from "./time.js";

/** Of these few the first may be slower than all that come: shaders are compiled. */
const FEW_STEPS = 5;

/**
 * Events, each with a detail: "state"; "prepare" {done, total, what}; "step" {step}; "busy" {what, fraction};
 * "leftOut" {picture, done, pictures, fraction}; "unmeasured" {error}: the pictures could not be left out;
 * "evaluation" {evaluation}; "slow" {message}: measuring would take too long; "snapshots"; "picture" {base, step, image};
 * "stopped" {reason}; "trouble" {message}; "lost" {message}: what of a run that is opened is gone; "failed" {error}.
 */
export class Trainer extends EventTarget {
  #session;
  #runs;
  #journal = new Journal((type, detail) => this.#emit(type, detail));
  /** @type {Promise<unknown>} */
  #queue = Promise.resolve();
  #machine = NONE;
  #loop = null;
  #halt = null;
  /** Since when it has been going on, and from which step. */
  #since = { time: 0, step: 0 };

  constructor(engine, runs) {
    super();
    this.#session = new Session(engine);
    this.#runs = runs;
  }

  get state() { return this.#machine.at; }

  get run() { return this.#journal.run; }

  get record() { return this.#journal.record; }

  get log() { return this.#journal.log; }

  get step() { return this.#journal.step; }

  /** How previews are drawn. */
  get preview() { return this.#journal.preview; }

  get steps() { return this.record?.config.steps ?? 0; }

  get busy() { return isBusy(this.#machine); }

  get ending() { return this.#machine.ending; }

  get pausing() { return isPausing(this.#machine); }

  /** What a step takes here. */
  get secondsPerStep() { return this.log.secondsPerStep ?? this.record?.secondsPerStep ?? NaN; }

  /** What is left of the run takes this long: by the clock, so that measuring and drawing count, once that has run for some steps. */
  get secondsLeft() {
    const done = this.step - this.#since.step;
    const each = done < FEW_STEPS ? this.secondsPerStep : (performance.now() - this.#since.time) / 1000 / done;
    return (this.steps - this.step) * each;
  }

  /** Pictures to leave out in turn. */
  get leavable() {
    if (!this.record) return 0;
    const count = (role) => this.record.pictures.filter((picture) => picture.role === role).length;
    return trained({ train: count("train"), heldOut: count("heldOut") }, this.record.config);
  }

  /** What leaving each out in turn takes. */
  get secondsToLeaveOut() { return this.leavable * this.steps * this.secondsPerStep; }

  // ---- the run -----------------------------------------------------------------------------------

  /**
   * @param {import("./picture-set.js").PictureSet} set
   * @param {{config: object, title: string, model: {key: string, title: string}, preview: import("../protocol.js").Settings}} order
   */
  start(set, { config, title, model, preview }) {
    return this.#inTurn(async () => {
      await this.#leave();
      this.#journal.preview = preview;
      this.#to("prepare");
      const { signal } = this.#halt = new AbortController();
      try {
        const pictures = await set.decoded();
        const { summary, measured, dataset } = await this.#session.prepare(config, pictures, {
          signal, onProgress: (progress) => this.#emit("prepare", progress),
        });
        const fields = {
          title, model, config, preview, summary, secondsPerStep: measured.secondsPerStep, peakBytes: measured.peakBytes,
          pictures: set.items.map(({ name, caption, role, file }, i) => ({ path: `pictures/${i}`, name, caption, role, type: file.type })),
        };
        this.#emit("prepare", { done: 1, total: 1, what: "keeping pictures and data set" });
        this.#journal.take(await this.#runs.create(fields, { dataset, pictures: set.items.map(({ file }) => file) }, signal));
        this.#begin("prepared");
      } catch (error) {
        await this.#leave();
        this.#emit("state");
        if (error.name !== "AbortError") throw error;
      }
    });
  }

  /** A run that was kept: shown, and ready to go on. */
  open(id) {
    return this.#inTurn(async () => {
      await this.#leave();
      try {
        this.#journal.take(await this.#runs.load(id));
        await this.#journal.read();
        this.#to(this.record.status === "finished" ? "openedFinished" : "opened");
      } catch (error) {
        await this.#leave();
        this.#emit("state");
        throw error;
      }
    });
  }

  go() {
    return this.#inTurn(async () => {
      if (!this.run || this.busy || (this.state === "finished" && this.step >= this.steps)) return;
      await this.#revive();
      this.#begin("go");
    });
  }

  pause() {
    if (!this.busy) return Promise.resolve();
    this.#to("pause");
    return this.#inTurn(async () => {
      await this.#halted();
      if (this.state === "running") await this.#journal.keep(this.#session);
      this.#to("halted");
    });
  }

  /**
   * Leaves each picture out in turn, while the run rests. Stopped by `pause` it goes on where it was when asked
   * again, as long as the run is in the engine's hands.
   */
  leaveOneOut() {
    return this.#inTurn(async () => {
      await this.#halted();
      if (this.state !== "finished" && this.state !== "paused") return;
      await this.#revive();
      this.#to("measure");
    });
  }

  /** Ends the run where it is, measured and kept; while it is being prepared, there is no run. A second time: at once. */
  stop() {
    if (this.state === "preparing") {
      this.#halt?.abort();
      return Promise.resolve();
    }
    if (this.state === "measuring") return this.pause();
    const again = this.ending;
    this.#to("end");
    return this.#inTurn(async () => {
      await this.#halted();
      if (!this.run || this.state === "finished") return;
      await this.#revive();
      if (again) await this.#finished();
      else this.#begin("goToTheEnd");
    });
  }

  /** Pauses and keeps what there is, and lets go of it: another model is about to come. */
  suspend() {
    if (this.state === "none") return Promise.resolve();
    if (this.state === "preparing") this.#halt?.abort();
    return this.#inTurn(async () => {
      await this.#leave();
      this.#emit("state");
    });
  }

  /**
   * Does something else with the engine, between two steps.
   * @template T
   * @param {() => T | Promise<T>} work
   * @returns {Promise<T>}
   */
  interlude(work) {
    return this.#inTurn(async () => {
      await this.#halted();
      return work();
    });
  }

  /** The engine broke: what it had of the run is gone. */
  lost() {
    this.#session.lost();
  }

  /** Back to a snapshot; what came later is dropped. Goes on from there. */
  rewind(step) {
    return this.#between(async () => {
      await this.#session.rewind(this.run, step);
      this.#journal.truncate(step);
      this.record.status = "unfinished";
      await this.#journal.keep(this.#session);
      this.#begin("rewound");
    });
  }

  // ---- pictures and files ------------------------------------------------------------------------

  /** The preview of a step, if it is there without drawing. @returns {Promise<?ImageData>} */
  kept(step, settings) {
    return this.#journal.picture(step, step === 0 ? 0 : 1, settings);
  }

  /**
   * A picture of a state of the adapter, drawn unless it is there already.
   * @param {number} step
   * @param {number} strength
   * @param {import("../protocol.js").Settings} settings
   * @param {{signal?: AbortSignal}} [watch]
   * @returns {Promise<ImageData>}
   */
  async picture(step, strength, settings, { signal } = {}) {
    const kept = await this.#journal.picture(step, strength, settings);
    if (kept) return kept;
    return this.#between(() => {
      signal?.throwIfAborted();
      return this.#draw(step, strength, settings, signal);
    });
  }

  /** @param {Omit<import("../protocol.js").ExportOrder, "state">} order */
  exportFiles(step, order) {
    return this.#between(() => this.#session.exportFiles(this.run, step === this.step ? null : step, order));
  }

  async #draw(step, strength, settings, signal) {
    const { run } = this;
    const onProgress = ({ fraction }) => this.#emit("busy", { what: "drawing", fraction });
    const picture = await this.#session.picture(run, step === this.step ? null : step, strength, settings, { signal, onProgress });
    if (settings === this.preview) run.record.pictureSeconds = picture.seconds;
    return this.#journal.putPicture(step, strength, settings, picture);
  }

  // ---- inside ------------------------------------------------------------------------------------

  #begin(event) {
    this.#since = { time: performance.now(), step: this.step };
    this.record.status = "unfinished";
    this.#to(event);
  }

  /** Starts the loop unless it runs already or must not. */
  #kick() {
    const loop = loopOf(this.#machine);
    if (!loop || this.#loop) return;
    const { signal } = this.#halt = new AbortController();
    const work = loop === "train" ? this.#train(signal) : this.#measure(signal);
    this.#loop = work.catch((error) => this.#failed(error)).finally(() => { this.#loop = null; });
  }

  async #train(signal) {
    const preview = hasPreviews(this.record.config) ? this.preview : null;
    try {
      const base = preview && (await this.#journal.picture(0, 0, preview) ?? await this.#draw(0, 0, preview, signal));
      if (base) this.#emit("picture", { base: true, step: 0, image: base });
    } catch (error) {
      if (error.name === "AbortError") return;
      throw error;
    }
    const { step, record, ending } = this;
    const order = { preview, pictureSeconds: record.pictureSeconds ?? 0, step, end: ending || step >= this.steps };
    const { outcome, reason } = await this.#session.train(order, { signal, onProgress: (progress) => this.#journal.heard(progress) });
    if (outcome === "finished") {
      await this.#finished();
      // in its turn, once this loop is through
      if (this.record.config.leaveOneOut && !this.record.leaveOneOut) this.leaveOneOut().catch((error) => this.#failed(error));
    }
    if (outcome === "stopped") {
      // its step is told by the engine alone
      this.#journal.truncate(await this.#session.settle());
      await this.#journal.keep(this.#session);
      this.#to("stopped");
      this.#emit("stopped", { reason });
    }
  }

  async #measure(signal) {
    try {
      const found = await this.#session.leaveOneOut({ signal, onProgress: (progress) => this.#emit("leftOut", progress) });
      if (!found) return;
      await this.run.commit({ leaveOneOut: found });
    } catch (error) {
      if (error.name === CRASH) throw error;
      // the run itself is as it was
      this.#emit("unmeasured", { error });
    }
    this.#to("measured");
  }

  async #finished() {
    this.record.status = "finished";
    if (!this.run.snapshot(this.step)) this.#journal.addSnapshot({ step: this.step, ...await this.#session.state() });
    await this.#journal.keep(this.#session);
    this.#to("finished");
  }

  /** Changes how previews are drawn, from the next one on. */
  setPreview(settings) {
    this.#journal.preview = settings;
    if (!this.run) return;
    this.run.commit({ preview: settings });
    if (this.state === "running") this.interlude(() => {});
  }

  async #failed(error) {
    this.#session.lost();
    await this.run?.flush();
    if (this.#to("failed")) this.#emit("failed", { error });
  }

  /** Stops the loop after the step in hand. */
  async #halted() {
    if (!this.#loop) return;
    this.#halt.abort();
    await this.#loop;
  }

  async #revive() {
    if (!this.run) throw new DOMException("The run was put away.", "AbortError");
    const step = await this.#session.revive(this.run, () => this.#emit("busy", { what: "bringing the run back", fraction: null }));
    if (step !== null) this.#journal.truncate(step);
  }

  /** Keeps what there is and lets go of it; the caller tells. */
  async #leave() {
    const { at } = this.#machine;
    this.#machine = next(this.#machine, "pause");
    await this.#halted();
    if (this.#session.live && this.run && this.state === "running") await this.#journal.keep(this.#session);
    await this.#session.end(at === "preparing");
    await this.#journal.close();
    this.#machine = next(this.#machine, "left");
  }

  /**
   * Does something with the run between two of its steps.
   * @template T
   * @param {() => T | Promise<T>} work
   * @returns {Promise<T>}
   */
  #between(work) {
    return this.#inTurn(async () => {
      await this.#halted();
      await this.#revive();
      return work();
    });
  }

  /**
   * @template T
   * @param {() => T | Promise<T>} work
   * @returns {Promise<T>}
   */
  #inTurn(work) {
    const done = this.#queue.then(work).finally(() => this.#kick());
    this.#queue = done.catch(() => {});
    return done;
  }

  /** @returns {boolean} whether the event means anything in this state */
  #to(event) {
    const before = this.#machine;
    this.#machine = next(before, event);
    if (this.#machine !== before) this.#emit("state");
    return this.#machine !== before;
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
