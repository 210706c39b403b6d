// One run on disk: commits in place of writes. `run.json` names every file of the run with its size, and only
// what is on disk whole; whatever ends in between, the run is as it was before or as it is after.
//
//   <id>/run.json               the record: settings, captions, model, where the run is, and its files
//   <id>/run.json.new           the next one, until it is moved over that
//   <id>/pictures/0             the files as they came
//   <id>/dataset.bin            latents and embeddings, as the engine wants them back
//   <id>/state/000043-7.bin     the newest state, to go on from
//   <id>/snapshots/000020-4.bin what the timeline goes back to
//   <id>/previews/000020-5.png
//   <id>/log/000043-8.jsonl     losses and evaluations
//
// A file that is named is never written again: what replaces it has another number.

import { filesBelow } from "./folder.js";
import { NEXT, RECORD, needed, padded, pathsOf, readRecord, removeRun, replaceRecord, settle, writeWhole } from "./record.js";

/** Events: "trouble" (detail: a sentence), when something is not on disk that should be; once, until it is. */
export class Run extends EventTarget {
  /** @type {import("./folder.js").Files} */
  #files;
  #release;
  /** What is not on disk, or not yet. @type {Map<string, Blob>} */
  #memory = new Map();
  /** The record as it lies on disk. @type {?import("./record.js").RunRecord} */
  #kept = null;
  /** The record that is to be on disk next. @type {?import("./record.js").RunRecord} */
  #wanted = null;
  #queue = Promise.resolve(false);
  #told = false;

  /**
   * @param {?import("./folder.js").Files} files null: nothing outlives the tab
   * @param {import("./record.js").RunRecord} record
   * @param {() => void} release lets other tabs have the run
   */
  constructor(files, record, release, problem = null) {
    super();
    this.#files = files;
    this.#release = release;
    this.#told = Boolean(problem);
    this.record = record;
    /** Why something is not on disk; null where all is. */
    this.problem = problem;
    /** What was found gone when it was opened: sentences. @type {string[]} */
    this.lost = [];
  }

  /**
   * The newest whole state of a run, and what is whole beside it. The caller holds the run.
   * @param {import("./folder.js").Files} files
   */
  static async open(files, id, release) {
    const record = await readRecord(files, id);
    if (!record) throw new Error("Its run.json is missing or damaged, so that nothing of it can be told apart. Delete it.");
    const below = await filesBelow(files, id);
    const there = new Map(below.map(({ path, size }) => [path, size]));
    const run = new Run(files, record, release);
    run.lost = settle(record, (path) => (record.files ? there.get(path) === record.files[path] : there.get(path) > 0));
    record.files = Object.fromEntries(pathsOf(record).map((path) => [path, there.get(path)]));
    run.#kept = structuredClone(record);
    // what a commit that was cut off wrote, or did not come to remove, and what is not whole
    for (const { path } of below) {
      if (record.files[path] === undefined && path !== RECORD && path !== NEXT) await files.remove(`${id}/${path}`).catch(() => {});
    }
    return run;
  }

  /** The step that the run would go on from, were the tab closed; null: nothing is on disk. */
  get keptStep() {
    return this.#kept?.step ?? null;
  }

  /** Whether anything would be lost with the tab. */
  get unkept() {
    return this.#memory.size > 0 || this.#wanted !== null;
  }

  /** Takes a file for the next commit. @param {string} path @param {Blob|Uint8Array<ArrayBuffer>|string} data */
  put(path, data) {
    this.#memory.set(path, data instanceof Blob ? data : new Blob([data]));
  }

  /**
   * Brings the disk to what the record says now. New files first, then the record over the one before, then what is
   * no longer named goes. Where a file that going on needs can't be written, nothing changes on disk; older snapshots
   * and previews without room are left out. All that isn't on disk stays in memory and is tried again next time.
   * @param {Partial<import("./record.js").RunRecord>} [changes] to the record
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<boolean>} whether all of it is on disk
   */
  commit(changes = {}, { signal } = {}) {
    Object.assign(this.record, changes, { updated: new Date().toISOString() });
    this.#wanted = structuredClone(this.record);
    return this.#inTurn(async (before) => {
      const record = this.#wanted;
      if (!record) return before; // a later commit went with the one before
      this.#wanted = null;
      if (!this.#files) return false;
      try {
        const left = await this.#bring(record, signal);
        this.#settled(left);
        return left === null;
      } catch (error) {
        if (error.name === "AbortError") throw error;
        this.#settled(error);
        return false;
      }
    });
  }

  /** @returns {Promise<?Blob>} null when there is no such file */
  async read(path) {
    const kept = this.#memory.get(path);
    if (kept || !this.#files || !path) return kept ?? null;
    return this.#files.read(this.#at(path)).catch(() => null);
  }

  /** @returns {Promise<?Uint8Array<ArrayBuffer>>} */
  async bytes(path) {
    const blob = await this.read(path);
    return blob && new Uint8Array(await blob.arrayBuffer());
  }

  /** A mark of the timeline, from which the run can go on too. @param {string} log @param {?import("./record.js").Owed} owed */
  addSnapshot(step, bytes, log, owed = null) {
    const { record } = this;
    const path = this.#name("snapshots", step, "bin");
    this.put(path, bytes);
    record.serial += 1;
    const before = record.snapshots.filter((s) => s.step < step);
    record.snapshots = [...before, { step, serial: record.serial, path, preview: null, image: null, owed }];
    return this.#goOnFrom(path, step, log, owed);
  }

  /** The state to go on from; null where a snapshot of that step is there. @param {number} step @param {?Uint8Array<ArrayBuffer>} bytes */
  keepState(step, bytes, log, owed = null) {
    const snapshot = this.snapshot(step);
    if (!bytes && snapshot) return this.#goOnFrom(snapshot.path, step, log, snapshot.owed);
    const path = this.#name("state", step, "bin");
    this.put(path, bytes);
    return this.#goOnFrom(path, step, log, owed);
  }

  /** Losses and evaluations, without a new state. */
  keepLog(log) {
    const path = this.#name("log", this.record.step, "jsonl");
    this.put(path, log);
    return this.commit({ log: path });
  }

  keepPreview(step, fingerprint, png) {
    const snapshot = this.snapshot(step);
    if (!snapshot) return Promise.resolve(false);
    const image = this.#name("previews", step, "png");
    this.put(image, png);
    const owed = snapshot.owed && { ...snapshot.owed, preview: false };
    Object.assign(snapshot, { preview: fingerprint, image, owed });
    return this.commit(this.record.state === snapshot.path ? { owed } : {});
  }

  snapshot(step) {
    return this.record.snapshots.find((s) => s.step === step);
  }

  /** Drops the snapshots after this step, with the next commit. */
  truncate(step) {
    this.record.snapshots = this.record.snapshots.filter((s) => s.step <= step);
  }

  /** Waits for the commits asked for so far. */
  flush() {
    return this.#queue.catch(() => false);
  }

  async close() {
    await this.flush();
    this.#release();
  }

  /** Takes it off the disk; it is held until that is done. */
  async discard() {
    await this.flush();
    try {
      if (this.#files) await removeRun(this.#files, this.record.id);
    } finally {
      this.#release();
    }
  }

  #goOnFrom(state, step, log, owed) {
    Object.assign(this.record, { state, step, owed });
    return this.keepLog(log);
  }

  #name(folder, step, ending) {
    this.record.written += 1;
    return `${folder}/${padded(step)}-${this.record.written}.${ending}`;
  }

  /** @returns {Promise<?Error>} why something that can be done without was left out; null: all is there */
  async #bring(record, signal) {
    const { id } = record;
    const written = [];
    let left = null;
    const store = async (path) => {
      signal?.throwIfAborted();
      const size = this.#kept?.files[path];
      if (size !== undefined) return size;
      const blob = this.#memory.get(path);
      if (!blob) throw new Error(`${path} is gone`);
      written.push(path);
      await writeWhole(this.#files, this.#at(path), blob);
      return blob.size;
    };
    try {
      const sizes = {};
      for (const path of needed(record)) sizes[path] = await store(path);
      const marks = [];
      for (const mark of record.snapshots) {
        try {
          sizes[mark.path] ??= await store(mark.path);
          marks.push(mark);
          if (mark.image) sizes[mark.image] = await store(mark.image);
        } catch (error) {
          if (error.name === "AbortError") throw error;
          left = error;
          if (marks.at(-1) === mark) marks[marks.length - 1] = { ...mark, preview: null, image: null };
        }
      }
      Object.assign(record, { snapshots: marks, files: sizes });
      signal?.throwIfAborted();
      await replaceRecord(this.#files, this.#at(RECORD), record);
    } catch (error) {
      // no record names these
      for (const path of written) await this.#files.remove(this.#at(path)).catch(() => {});
      throw error;
    }
    const before = this.#kept;
    this.#kept = record;
    for (const path of Object.keys(record.files)) this.#memory.delete(path);
    const live = new Set([...pathsOf(this.record), ...(this.#wanted ? pathsOf(this.#wanted) : [])]);
    for (const path of this.#memory.keys()) if (!live.has(path)) this.#memory.delete(path);
    for (const path of [...written, ...Object.keys(before?.files ?? {})]) {
      // what can't be removed now is when the run is opened next
      if (record.files[path] === undefined) await this.#files.remove(`${id}/${path}`).catch(() => {});
    }
    return left;
  }

  #at(path) {
    return `${this.record.id}/${path}`;
  }

  #inTurn(work) {
    this.#queue = this.flush().then(work);
    return this.#queue;
  }

  /** Tells of trouble once, and again only after all was on disk. @param {?Error} error */
  #settled(error) {
    if (!error) {
      this.#told = false;
      this.problem = null;
      return;
    }
    this.problem = trouble(error, this.keptStep);
    if (this.#told) return;
    this.#told = true;
    this.dispatchEvent(new CustomEvent("trouble", { detail: this.problem }));
  }
}

function trouble(error, keptStep) {
  const kept = keptStep === null ? "Nothing of the run is kept" : `The run is kept up to step ${keptStep}`;
  return error.name === "QuotaExceededError"
    ? `This browser's room for files is full. ${kept}; the rest lives in this tab only. Delete old runs, or export the adapter before the tab is closed.`
    : `A file of the run could not be written (${error.message}). ${kept}; the rest lives in this tab only. Export the adapter before the tab is closed.`;
}
