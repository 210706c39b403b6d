// What a run has come to: its step, losses, snapshots and pictures, as they come from the engine and go to the disk.

import { RunLog } from "./log.js";
import { RunPictures } from "./run-pictures.js";

export class Journal {
  #tell;
  #pictures = new RunPictures();
  /** Previews on their way to the disk. */
  #keeping = Promise.resolve();

  /** @type {?import("./store.js").Run} */
  run = null;
  log = new RunLog();
  step = 0;
  /** @type {?import("../protocol.js").Settings} how previews are drawn */
  preview = null;

  /** @param {(type: string, detail?: object) => void} tell as the trainer's events */
  constructor(tell) {
    this.#tell = tell;
  }

  get record() { return this.run?.record ?? null; }

  /** From now on it is about this run. @param {import("./store.js").Run} run */
  take(run) {
    this.run = run;
    if (run.problem) this.#tell("trouble", { message: run.problem });
    run.addEventListener("trouble", ({ detail }) => this.#tell("trouble", { message: detail }));
  }

  /** Where a run stands that was kept. */
  async read() {
    const { run } = this;
    if (run.lost.length > 0) this.#tell("lost", { message: run.lost.join(" ") });
    this.step = run.record.step;
    this.log = RunLog.parse(await (await run.read(run.record.log))?.text(), this.step);
    this.preview = run.record.preview;
  }

  /** Takes what the engine tells of the run. @param {import("../protocol.js").RunProgress} progress */
  heard({ step, evaluating, evaluation, unmeasured, snapshot, saved, drawing, preview }) {
    if (step) {
      if (!step.stopped) this.step = step.step;
      if (step.peakBytes) this.record.peakBytes = Math.max(step.peakBytes, this.record.peakBytes ?? 0);
      this.log.addStep(step);
      this.#tell("step", { step });
    }
    if (evaluating !== undefined) this.#tell("busy", { what: "measuring", fraction: evaluating });
    if (drawing !== undefined) this.#tell("busy", { what: "drawing a preview", fraction: drawing });
    if (evaluation) {
      this.log.addEvaluation(evaluation);
      this.run.keepLog(this.log.toText());
      this.#tell("evaluation", { evaluation });
    }
    if (unmeasured) this.#tell("slow", { message: unmeasured });
    if (snapshot) this.addSnapshot(snapshot);
    if (saved) this.run.keepState(saved.step, saved.bytes, this.log.toText(), saved.owed);
    if (preview) this.#addPreview(preview);
  }

  async addSnapshot({ step, bytes, owed }) {
    const { run, preview } = this;
    run.addSnapshot(step, bytes, this.log.toText(), owed);
    this.#tell("snapshots");
    const base = step === 0 && await this.#pictures.get(run, 0, 0, preview);
    if (base) this.#keepPicture(0, preview, base);
  }

  /** Keeps the present state, unless a snapshot of this step does. @param {import("./session.js").Session} session */
  async keep(session) {
    const { bytes, owed } = this.run.snapshot(this.step) ? {} : await session.state();
    await this.run.keepState(this.step, bytes, this.log.toText(), owed);
  }

  /** Drops what came after this step. */
  truncate(step) {
    this.step = step;
    this.log.truncate(step);
    this.run.truncate(step);
    this.#tell("snapshots");
  }

  /** Lets go of the run, once all of it is on disk. */
  async close() {
    await this.#keeping;
    await this.run?.close();
    this.run = null;
    this.step = 0;
    this.log = new RunLog();
  }

  // ---- pictures ----------------------------------------------------------------------------------

  /** A picture that is there without drawing. @returns {Promise<?ImageData>} */
  picture(step, strength, settings) {
    return this.run ? this.#pictures.get(this.run, step, strength, settings) : Promise.resolve(null);
  }

  /** One that was drawn. @param {import("../protocol.js").Pixels} picture @returns {ImageData} */
  putPicture(step, strength, settings, picture) {
    return this.#pictures.put(this.run, step, strength, settings, picture);
  }

  #addPreview({ step, settings, width, height, rgba }) {
    const image = this.putPicture(step, 1, settings, { width, height, rgba });
    this.#tell("picture", { step, image });
    this.#keepPicture(step, settings, image);
  }

  /** In turn, and before the run is let go of. */
  #keepPicture(step, settings, image) {
    const { run } = this;
    this.#keeping = this.#keeping.then(() => this.#pictures.keep(run, step, settings, image)).catch(() => {}); // it can be drawn anew
  }
}
