// One training run: what the engine does for it, and what is kept of it. All that needs the engine while
// the run is on happens between two steps: the run halts, and goes on by itself.

import { CRASH } from "../protocol.js";
import { RunLog } from "./log.js";
import { NONE, isBusy, isPausing, loopOf, next } from "./machine.js";
import { RunPictures } from "./run-pictures.js";
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
  #pictures = new RunPictures();
  /** @type {Promise<unknown>} */
  #queue = Promise.resolve();
  #machine = NONE;
  #loop = null;
  #halt = null;
  /** Previews on their way to the disk. */
  #keeping = Promise.resolve();
  /** Since when it has been going on, and from which step. */
  #since = { time: 0, step: 0 };

  /** @type {?import("./store.js").Run} */
  run = null;
  log = new RunLog();
  step = 0;
  /** @type {?import("../protocol.js").Settings} how previews are drawn */
  preview = null;

  constructor(engine, runs) {
    super();
    this.#session = new Session(engine);
    this.#runs = runs;
  }

  get state() { return this.#machine.at; }

  get record() { return this.run?.record ?? null; }

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
      this.preview = preview;
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
        this.#take(await this.#runs.create(fields, { dataset, pictures: set.items.map(({ file }) => file) }, signal));
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
        const run = await this.#runs.load(id);
        this.#take(run);
        if (run.lost.length > 0) this.#emit("lost", { message: run.lost.join(" ") });
        this.step = run.record.step;
        this.log = RunLog.parse(await (await run.read(run.record.log))?.text(), this.step);
        this.preview = run.record.preview;
        this.#to(run.record.status === "finished" ? "openedFinished" : "opened");
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
      if (this.state === "running") await this.#keep();
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
      this.#truncate(step);
      this.record.status = "unfinished";
      await this.#keep();
      this.#begin("rewound");
    });
  }

  // ---- pictures and files ------------------------------------------------------------------------

  /** The preview of a step, if it is there without drawing. @returns {Promise<?ImageData>} */
  kept(step, settings) {
    return this.run ? this.#pictures.get(this.run, step, step === 0 ? 0 : 1, settings) : Promise.resolve(null);
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
    const kept = this.run && await this.#pictures.get(this.run, step, strength, settings);
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
    return this.#pictures.put(run, step, strength, settings, picture);
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
      const base = preview && (await this.#pictures.get(this.run, 0, 0, preview) ?? await this.#draw(0, 0, preview, signal));
      if (base) this.#emit("picture", { base: true, step: 0, image: base });
    } catch (error) {
      if (error.name === "AbortError") return;
      throw error;
    }
    const order = { preview, pictureSeconds: this.record.pictureSeconds ?? 0, step: this.step, end: this.ending || this.step >= this.steps };
    const { outcome, reason } = await this.#session.train(order, { signal, onProgress: (progress) => this.#progress(progress) });
    if (outcome === "finished") {
      await this.#finished();
      // in its turn, once this loop is through
      if (this.record.config.leaveOneOut && !this.record.leaveOneOut) this.leaveOneOut().catch((error) => this.#failed(error));
    }
    if (outcome === "stopped") {
      // its step is told by the engine alone
      this.#truncate(await this.#session.settle());
      await this.#keep();
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

  #progress({ step, evaluating, evaluation, unmeasured, snapshot, saved, drawing, preview }) {
    if (step) {
      if (!step.stopped) this.step = step.step;
      if (step.peakBytes) this.record.peakBytes = Math.max(step.peakBytes, this.record.peakBytes ?? 0);
      this.log.addStep(step);
      this.#emit("step", { step });
    }
    if (evaluating !== undefined) this.#emit("busy", { what: "measuring", fraction: evaluating });
    if (drawing !== undefined) this.#emit("busy", { what: "drawing a preview", fraction: drawing });
    if (evaluation) {
      this.log.addEvaluation(evaluation);
      this.run.keepLog(this.log.toText());
      this.#emit("evaluation", { evaluation });
    }
    if (unmeasured) this.#emit("slow", { message: unmeasured });
    if (snapshot) this.#addSnapshot(snapshot);
    if (saved) this.run.keepState(saved.step, saved.bytes, this.log.toText(), saved.owed);
    if (preview) this.#addPreview(preview);
  }

  #addPreview({ step, settings, width, height, rgba }) {
    const image = this.#pictures.put(this.run, step, 1, settings, { width, height, rgba });
    this.#emit("picture", { step, image });
    this.#keepPicture(step, settings, image);
  }

  /** In turn, and before the run is let go of. */
  #keepPicture(step, settings, image) {
    const { run } = this;
    this.#keeping = this.#keeping.then(() => this.#pictures.keep(run, step, settings, image)).catch(() => {}); // it can be drawn anew
  }

  async #addSnapshot({ step, bytes, owed }) {
    const { run, preview } = this;
    run.addSnapshot(step, bytes, this.log.toText(), owed);
    this.#emit("snapshots");
    const base = step === 0 && await this.#pictures.get(run, 0, 0, preview);
    if (base) this.#keepPicture(0, preview, base);
  }

  /** Keeps the present state, unless a snapshot of this step does. */
  async #keep() {
    const { bytes, owed } = this.run.snapshot(this.step) ? {} : await this.#session.state();
    await this.run.keepState(this.step, bytes, this.log.toText(), owed);
  }

  #truncate(step) {
    this.step = step;
    this.log.truncate(step);
    this.run.truncate(step);
    this.#emit("snapshots");
  }

  async #finished() {
    this.record.status = "finished";
    if (!this.run.snapshot(this.step)) this.#addSnapshot({ step: this.step, ...await this.#session.state() });
    await this.#keep();
    this.#to("finished");
  }

  /** Changes how previews are drawn, from the next one on. */
  setPreview(settings) {
    this.preview = settings;
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
    if (step !== null) this.#truncate(step);
  }

  #take(run) {
    this.run = run;
    if (run.problem) this.#emit("trouble", { message: run.problem });
    run.addEventListener("trouble", ({ detail }) => this.#emit("trouble", { message: detail }));
  }

  /** Keeps what there is and lets go of it; the caller tells. */
  async #leave() {
    const { at } = this.#machine;
    this.#machine = next(this.#machine, "pause");
    await this.#halted();
    if (this.#session.live && this.run && this.state === "running") await this.#keep();
    await this.#session.end(at === "preparing");
    await this.#keeping;
    await this.run?.close();
    this.#machine = next(this.#machine, "left");
    this.run = null;
    this.step = 0;
    this.log = new RunLog();
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
