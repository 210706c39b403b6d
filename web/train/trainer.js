// One training run: what the engine does for it, and what is kept of it. All that needs the engine while
// the run is on happens between two steps: the run halts, and goes on by itself.

import { CRASH } from "../protocol.js";
import { DATASET } from "./record.js";
import { RunLog } from "./log.js";
import { RunPictures } from "./run-pictures.js";
import { hasPreviews, trained } from "./time.js";

/**
 * Events, each with a detail: "state"; "prepare" {done, total, what}; "step" {step}; "busy" {what, fraction};
 * "leftOut" {picture, done, pictures, fraction}; "unmeasured" {error}: the pictures could not be left out;
 * "evaluation" {evaluation}; "slow" {message}: measuring would take too long; "snapshots"; "picture" {base, step, image}; "stopped" {reason}; "trouble" {message}; "lost" {message}: what
 * of a run that is opened is gone; "failed" {error}.
 */
export class Trainer extends EventTarget {
  #engine;
  #runs;
  #pictures = new RunPictures();
  #queue = Promise.resolve();
  /** Whether the engine has this run; after a crash it must be given it again. */
  #live = false;
  /** Whether it is to be training when nothing else needs the engine. */
  #wanted = false;
  #ending = false;
  #loop = null;
  #halt = null;

  /** The state before "measuring", and after it. */
  #rest = "finished";

  /** "measuring": each picture is left out in turn. @type {"none"|"preparing"|"running"|"paused"|"measuring"|"finished"|"error"} */
  state = "none";
  /** @type {?import("./store.js").Run} */
  run = null;
  log = new RunLog();
  step = 0;
  /** @type {?import("../protocol.js").Settings} how previews are drawn */
  preview = null;

  constructor(engine, runs) {
    super();
    this.#engine = engine;
    this.#runs = runs;
  }

  get record() {
    return this.run?.record ?? null;
  }

  get steps() { return this.record?.config.steps ?? 0; }

  get busy() { return ["preparing", "running", "measuring"].includes(this.state); }

  get ending() { return this.#ending; }

  get pausing() { return (this.state === "running" || this.state === "measuring") && !this.#wanted; }

  /** What a step takes here. */
  get secondsPerStep() { return this.log.secondsPerStep ?? this.record?.secondsPerStep ?? NaN; }

  get secondsLeft() { return (this.steps - this.step) * this.secondsPerStep; }

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
      this.#set("preparing");
      const { signal } = this.#halt = new AbortController();
      try {
        const pictures = await set.decoded();
        const { summary, measured, dataset } = await this.#engine.trainPrepare(config, pictures, {
          signal, onProgress: (progress) => this.#emit("prepare", progress),
        });
        this.#live = true;
        const fields = {
          title, model, config, preview, summary, secondsPerStep: measured.secondsPerStep, peakBytes: measured.peakBytes,
          pictures: set.items.map(({ name, caption, role, file }, i) => ({ path: `pictures/${i}`, name, caption, role, type: file.type })),
        };
        this.#emit("prepare", { done: 1, total: 1, what: "keeping pictures and data set" });
        this.#take(await this.#runs.create(fields, { dataset, pictures: set.items.map(({ file }) => file) }, signal));
        this.#go();
      } catch (error) {
        await this.#leave();
        this.#set("none");
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
        this.#set(run.record.status === "finished" ? "finished" : "paused");
      } catch (error) {
        await this.#leave();
        this.#set("none");
        throw error;
      }
    });
  }

  go() {
    return this.#inTurn(async () => {
      if (!this.run || this.state === "running" || this.state === "measuring" || (this.state === "finished" && this.step >= this.steps)) return;
      await this.#revive();
      if (this.state === "finished") this.#reopen();
      this.#go();
    });
  }

  pause() {
    if (!this.busy) return Promise.resolve();
    this.#wanted = false;
    this.#emit("state");
    return this.#inTurn(async () => {
      await this.#halted();
      if (this.state === "measuring") this.#set(this.#rest);
      if (this.state !== "running") return;
      await this.#keep();
      this.#set("paused");
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
      this.#rest = this.state;
      this.#wanted = true;
      this.#set("measuring");
    });
  }

  /** Ends the run where it is, measured and kept; while it is being prepared, there is no run. A second time: at once. */
  stop() {
    if (this.state === "preparing") {
      this.#halt?.abort();
      return Promise.resolve();
    }
    if (this.state === "measuring") return this.pause();
    const again = this.#ending;
    this.#ending = true;
    this.#emit("state");
    return this.#inTurn(async () => {
      await this.#halted();
      if (!this.run || this.state === "finished") return;
      await this.#revive();
      if (again) await this.#finished();
      else this.#go();
    });
  }

  /** Pauses and keeps what there is, and lets go of it: another model is about to come. */
  suspend() {
    if (this.state === "none") return Promise.resolve();
    if (this.state === "preparing") this.#halt?.abort();
    return this.#inTurn(async () => {
      await this.#leave();
      this.#set("none");
    });
  }

  /** Does something else with the engine, between two steps. */
  interlude(work) {
    return this.#inTurn(async () => {
      await this.#halted();
      return work();
    });
  }

  /** The engine broke: what it had of the run is gone. */
  lost() {
    this.#live = false;
  }

  /** Back to a snapshot; what came later is dropped. Goes on from there. */
  rewind(step) {
    return this.#between(async () => {
      const { owed } = this.run.snapshot(step) ?? {};
      await this.#engine.trainRestore(await this.#snapshot(step), owed);
      this.#truncate(step);
      this.#reopen();
      await this.#keep();
      this.#go();
    });
  }

  // ---- pictures and files ------------------------------------------------------------------------

  /** The preview of a step, if it is there without drawing. @returns {Promise<?ImageData>} */
  kept(step, settings) {
    return this.run ? this.#pictures.get(this.run, step, step === 0 ? 0 : 1, settings) : Promise.resolve(null);
  }

  /** A picture of a state of the adapter, drawn unless it is there already. @returns {Promise<ImageData>} */
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
    return this.#between(async () => this.#engine.trainExport({ ...order, state: await this.#stateAt(step) }));
  }

  async #draw(step, strength, settings, signal) {
    const { run } = this;
    const onProgress = ({ fraction }) => this.#emit("busy", { what: "drawing", fraction });
    const state = strength === 0 ? null : await this.#stateAt(step);
    const picture = await this.#engine.trainPicture(state, strength, settings, { signal, onProgress });
    if (settings === this.preview) run.record.pictureSeconds = picture.seconds;
    return this.#pictures.put(run, step, strength, settings, picture);
  }

  // ---- inside ------------------------------------------------------------------------------------

  #go() {
    this.#wanted = true;
    this.#set("running");
  }

  /** A run that was finished is to go on. */
  #reopen() {
    this.#ending = false;
    this.record.status = "unfinished";
  }

  /** Starts the loop unless it runs already or must not. */
  #kick() {
    if (!this.#wanted || this.#loop || !(this.state === "running" || this.state === "measuring")) return;
    const { signal } = this.#halt = new AbortController();
    const work = this.state === "running" ? this.#train(signal) : this.#measure(signal);
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
    const order = { preview, pictureSeconds: this.record.pictureSeconds ?? 0, step: this.step, end: this.#ending || this.step >= this.steps };
    const { outcome, reason } = await this.#engine.trainRun(order, { signal, onProgress: (progress) => this.#progress(progress) });
    if (outcome === "finished") {
      await this.#finished();
      // in its turn, once this loop is through
      if (this.record.config.leaveOneOut && !this.record.leaveOneOut) this.leaveOneOut().catch((error) => this.#failed(error));
    }
    if (outcome === "stopped") {
      // its step is told by the engine alone
      const { bytes, owed } = await this.#engine.trainState();
      this.#truncate(await this.#engine.trainRestore(bytes, owed));
      this.#wanted = false;
      await this.#keep();
      this.#set("paused");
      this.#emit("stopped", { reason });
    }
  }

  async #measure(signal) {
    try {
      const found = await this.#engine.trainLeaveOneOut({ signal, onProgress: (progress) => this.#emit("leftOut", progress) });
      if (!found) return;
      await this.run.commit({ leaveOneOut: found });
    } catch (error) {
      if (error.name === CRASH) throw error;
      // the run itself is as it was
      this.#emit("unmeasured", { error });
    }
    this.#wanted = false;
    this.#set(this.#rest);
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

  async #addPreview({ step, settings, width, height, rgba }) {
    const image = this.#pictures.put(this.run, step, 1, settings, { width, height, rgba });
    this.#emit("picture", { step, image });
    await this.#pictures.keep(this.run, step, settings, image);
  }

  async #addSnapshot({ step, bytes, owed }) {
    const { run, preview } = this;
    run.addSnapshot(step, bytes, this.log.toText(), owed);
    this.#emit("snapshots");
    const base = step === 0 && await this.#pictures.get(run, 0, 0, preview);
    if (base) await this.#pictures.keep(run, 0, preview, base);
  }

  /** Keeps the present state, unless a snapshot of this step does. */
  async #keep() {
    const { bytes, owed } = this.run.snapshot(this.step) ? {} : await this.#engine.trainState();
    await this.run.keepState(this.step, bytes, this.log.toText(), owed);
  }

  #truncate(step) {
    this.step = step;
    this.log.truncate(step);
    this.run.truncate(step);
    this.#emit("snapshots");
  }

  async #finished() {
    this.#wanted = false;
    this.#ending = false;
    this.record.status = "finished";
    if (!this.run.snapshot(this.step)) this.#addSnapshot({ step: this.step, ...await this.#engine.trainState() });
    await this.#keep();
    this.#set("finished");
  }

  /** Changes how previews are drawn, from the next one on. */
  setPreview(settings) {
    this.preview = settings;
    if (!this.run) return;
    this.run.commit({ preview: settings });
    if (this.state === "running") this.interlude(() => {});
  }

  async #failed(error) {
    this.#wanted = false;
    this.#live = false;
    await this.run?.flush();
    this.#set("error");
    this.#emit("failed", { error });
  }

  async #stateAt(step) {
    return step === this.step ? null : this.#snapshot(step);
  }

  async #snapshot(step) {
    const bytes = await this.run.bytes(this.run.snapshot(step)?.path);
    if (!bytes) throw new Error(`The snapshot of step ${step} is gone.`);
    return bytes;
  }

  /** Stops the loop after the step in hand. */
  async #halted() {
    if (!this.#loop) return;
    this.#halt.abort();
    await this.#loop;
  }

  /** Gives the engine the run, should it not have it, in its newest state. */
  async #revive() {
    if (this.#live) return;
    if (!this.run) throw new DOMException("The run was put away.", "AbortError");
    const { run, record } = this;
    const dataset = await run.bytes(DATASET);
    const state = record.state && await run.bytes(record.state);
    if (!dataset || (record.state && !state)) throw new Error("The run's files are gone: something else took them off the disk.");
    this.#emit("busy", { what: "bringing the run back", fraction: null });
    await this.#engine.trainResume(record.config, dataset, state, record.owed);
    this.#truncate(state ? record.step : 0);
    this.#live = true;
  }

  #take(run) {
    this.run = run;
    if (run.problem) this.#emit("trouble", { message: run.problem });
    run.addEventListener("trouble", ({ detail }) => this.#emit("trouble", { message: detail }));
  }

  async #leave() {
    this.#wanted = false;
    await this.#halted();
    if (this.#live && this.run && this.state === "running") await this.#keep();
    // a broken engine has forgotten it already
    if (this.#live || this.state === "preparing") await this.#engine.trainEnd().catch(() => {});
    this.#live = false;
    this.#ending = false;
    await this.run?.close();
    this.run = null;
    this.step = 0;
    this.log = new RunLog();
  }

  /** Does something with the run between two of its steps. */
  #between(work) {
    return this.#inTurn(async () => {
      await this.#halted();
      await this.#revive();
      return work();
    });
  }

  #inTurn(work) {
    const done = this.#queue.then(work).finally(() => this.#kick());
    this.#queue = done.catch(() => {});
    return done;
  }

  #set(state) {
    this.state = state;
    this.#emit("state");
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
