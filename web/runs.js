// Training runs, kept in the browser's private file system (OPFS): a folder for each.
//
//   runs/<id>/run.json             settings, captions, model, status, the list of snapshots
//   runs/<id>/pictures/            the files as they came
//   runs/<id>/dataset.bin          latents and embeddings, as the engine wants them back
//   runs/<id>/snapshots/000020.bin what the timeline goes back to
//   runs/<id>/state/000043.bin     the newest state, to go on from
//   runs/<id>/previews/000020.png
//   runs/<id>/log.jsonl            losses and evaluations
//
// Writes happen in order, each whole or not at all. What finds no room stays in memory, and is told once.

/**
 * @typedef {object} RunRecord
 * @property {string} id
 * @property {string} title
 * @property {{key: string, title: string}} model
 * @property {string} created            ISO time
 * @property {string} updated
 * @property {"unfinished"|"finished"} status
 * @property {import("./protocol.js").TrainConfig} config
 * @property {number} step               of `state`
 * @property {?string} state             path of the newest state
 * @property {{path: string, name: string, caption: string, role: string, type: string}[]} pictures
 * @property {import("./protocol.js").Estimate} summary
 * @property {number} secondsPerStep
 * @property {?number} peakBytes          the most that passes took so far; null: not told
 * @property {?import("./protocol.js").LeaveOneOut} leaveOneOut
 * @property {number} [pictureSeconds]    what drawing the base's preview took
 * @property {?import("./protocol.js").Settings} preview   how previews are drawn
 * @property {number} serial             of the newest snapshot
 * @property {{step: number, serial: number, preview: ?string}[]} snapshots   preview: the fingerprint of the one that is kept
 */

const FOLDER = "runs";
const LOCK = "lorakeet run ";

/** All runs. */
export class Runs {
  #root;

  constructor(root, problem) {
    this.#root = root;
    /** Why nothing outlives this tab; null where it does. */
    this.problem = problem;
  }

  static async open() {
    try {
      const root = await navigator.storage.getDirectory();
      const runs = await root.getDirectoryHandle(FOLDER, { create: true });
      if (!("createWritable" in FileSystemFileHandle.prototype)) throw new Error("it cannot write files");
      return new Runs(runs, null);
    } catch (error) {
      return new Runs(null, `This browser keeps no files for this page (${error.message}): a run lives as long as the tab.`);
    }
  }

  /** Those of this browser, the newest first. @returns {Promise<(RunRecord & {elsewhere: boolean})[]>} */
  async list() {
    const found = [];
    if (!this.#root) return found;
    const held = await heldLocks();
    for await (const [id, folder] of this.#root.entries()) {
      if (folder.kind !== "directory") continue;
      try {
        const file = await (await folder.getFileHandle("run.json")).getFile();
        found.push({ ...JSON.parse(await file.text()), id, elsewhere: held.has(LOCK + id) });
      } catch (error) {
        // begun and never written: nothing to go on from
        if (error.name === "NotFoundError" && !held.has(LOCK + id)) await this.remove(id);
      }
    }
    return found.sort((a, b) => b.updated.localeCompare(a.updated));
  }

  /** @param {Partial<RunRecord>} fields what is not the same for every new run @returns {Promise<Run>} */
  async create(fields) {
    const now = new Date().toISOString();
    /** @type {RunRecord} */
    const record = {
      version: 1, id: now.replace(/\D/g, ""), created: now, updated: now, status: "unfinished",
      step: 0, state: null, serial: 0, snapshots: [], peakBytes: null, leaveOneOut: null, ...fields,
    };
    let folder = null;
    let problem = this.problem;
    try {
      folder = await this.#root?.getDirectoryHandle(record.id, { create: true }) ?? null;
    } catch (error) {
      problem = trouble(error);
    }
    return new Run(folder, record, problem);
  }

  /** @returns {Promise<Run>} with those snapshots only that are really there */
  async load(id) {
    const folder = await this.#root.getDirectoryHandle(id);
    const run = new Run(folder, null, null);
    run.record = JSON.parse(await (await run.read("run.json")).text());
    const there = await Promise.all(run.record.snapshots.map(({ step }) => run.read(snapshotPath(step))));
    run.record.snapshots = run.record.snapshots.filter((_, i) => there[i]);
    const state = run.record.state && await run.read(run.record.state);
    const last = run.record.snapshots.at(-1);
    if (!state || (last && last.step > run.record.step)) {
      run.record.state = last ? snapshotPath(last.step) : null;
      run.record.step = last?.step ?? 0;
    }
    return run;
  }

  async remove(id) {
    await this.#root?.removeEntry(id, { recursive: true }).catch(() => {});
  }

  /** Asks the browser to keep the files when room gets short. */
  async persist() {
    return await navigator.storage?.persist?.().catch(() => false) ?? false;
  }

  /** @returns {Promise<?{usage: number, quota: number}>} */
  async room() {
    return await navigator.storage?.estimate?.().catch(() => null) ?? null;
  }
}

/** One run's folder. Events: "trouble" (detail: a sentence), once, when a write found no room. */
export class Run extends EventTarget {
  #folder;
  #memory = new Map();
  #queue = Promise.resolve();
  #told = false;
  #release = null;

  constructor(folder, record, problem) {
    super();
    this.#folder = folder;
    this.#told = Boolean(problem);
    /** @type {RunRecord} */
    this.record = record;
    this.problem = problem;
  }

  /** Keeps other tabs from going on with it, until `close`. False when another tab has it. */
  hold() {
    if (!navigator.locks || !this.#folder) return Promise.resolve(true);
    return new Promise((resolve) => {
      navigator.locks.request(LOCK + this.record.id, { ifAvailable: true }, (lock) => {
        resolve(Boolean(lock));
        return lock && new Promise((release) => { this.#release = release; });
      }).catch(() => resolve(true));
    });
  }

  async close() {
    await this.#queue;
    this.#release?.();
    this.#release = null;
  }

  /** @param {string} path @param {Blob|Uint8Array|string} data */
  write(path, data) {
    return this.#inTurn(async () => {
      try {
        if (!this.#folder) throw null;
        const file = await this.#file(path, true);
        const stream = await file.createWritable();
        try {
          await stream.write(data);
          await stream.close();
        } catch (error) {
          await stream.abort().catch(() => {});
          throw error;
        }
        this.#memory.delete(path);
      } catch (error) {
        this.#memory.set(path, new Blob([data]));
        if (error) this.#tell(error);
      }
    });
  }

  /** @returns {Promise<?Blob>} null when there is no such file */
  async read(path) {
    const kept = this.#memory.get(path);
    if (kept || !this.#folder) return kept ?? null;
    try {
      return await (await this.#file(path, false)).getFile();
    } catch {
      return null;
    }
  }

  /** @returns {Promise<?Uint8Array>} */
  async bytes(path) {
    await this.#queue;
    const blob = await this.read(path);
    return blob && new Uint8Array(await blob.arrayBuffer());
  }

  remove(path) {
    return this.#inTurn(async () => {
      this.#memory.delete(path);
      if (!this.#folder) return;
      const { folder, name } = await this.#place(path, false).catch(() => ({}));
      await folder?.removeEntry(name).catch(() => {});
    });
  }

  /** A mark of the timeline, from which the run can go on too. @param {string} log */
  addSnapshot(step, bytes, log) {
    const { record } = this;
    record.serial += 1;
    record.snapshots = [...record.snapshots.filter((s) => s.step < step), { step, serial: record.serial, preview: null }];
    this.write(snapshotPath(step), bytes);
    return this.#goOnFrom(snapshotPath(step), step, log);
  }

  /** The state to go on from; null where a snapshot of that step is there. */
  keepState(step, bytes, log) {
    if (!bytes) return this.#goOnFrom(snapshotPath(step), step, log);
    this.write(statePath(step), bytes);
    return this.#goOnFrom(statePath(step), step, log);
  }

  /** The record names a state only when that is written, and the state before goes last. */
  #goOnFrom(state, step, log) {
    const { record } = this;
    const old = record.state;
    Object.assign(record, { state, step });
    this.write("log.jsonl", log);
    const saved = this.save();
    return old && old !== state && old.startsWith("state/") ? this.remove(old) : saved;
  }

  keepPreview(step, fingerprint, png) {
    const snapshot = this.snapshot(step);
    if (!snapshot) return;
    this.write(previewPath(step), png);
    snapshot.preview = fingerprint;
    this.save();
  }

  snapshot(step) {
    return this.record.snapshots.find((s) => s.step === step);
  }

  /** Drops the snapshots after this step. */
  truncate(step) {
    for (const { step: later, preview } of this.record.snapshots.filter((s) => s.step > step)) {
      this.remove(snapshotPath(later));
      if (preview) this.remove(previewPath(later));
    }
    this.record.snapshots = this.record.snapshots.filter((s) => s.step <= step);
  }

  /** Writes run.json as the record is now. */
  save() {
    this.record.updated = new Date().toISOString();
    return this.write("run.json", JSON.stringify(this.record));
  }

  /** Waits for the writes asked for so far. */
  flush() {
    return this.#queue;
  }

  async #file(path, create) {
    const { folder, name } = await this.#place(path, create);
    return folder.getFileHandle(name, { create });
  }

  async #place(path, create) {
    const parts = path.split("/");
    const name = parts.pop();
    let folder = this.#folder;
    for (const part of parts) folder = await folder.getDirectoryHandle(part, { create });
    return { folder, name };
  }

  #inTurn(work) {
    this.#queue = this.#queue.then(work);
    return this.#queue;
  }

  #tell(error) {
    if (this.#told) return;
    this.#told = true;
    this.problem = trouble(error);
    this.dispatchEvent(new CustomEvent("trouble", { detail: this.problem }));
  }
}

export function snapshotPath(step) {
  return `snapshots/${padded(step)}.bin`;
}

function statePath(step) {
  return `state/${padded(step)}.bin`;
}

export function previewPath(step) {
  return `previews/${padded(step)}.png`;
}

function padded(step) {
  return String(step).padStart(6, "0");
}

function trouble(error) {
  return error.name === "QuotaExceededError"
    ? "This browser's room for files is full: from here on the run lives in this tab only. Delete old runs, or export the adapter before the tab is closed."
    : `A file of the run could not be written (${error.message}): what is missing lives in this tab only. Export the adapter before the tab is closed.`;
}

async function heldLocks() {
  const locks = await navigator.locks?.query().catch(() => null);
  return new Set(locks?.held?.map(({ name }) => name));
}
