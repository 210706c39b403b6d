// Training runs, kept in the browser's private file system: a folder for each (train/store.js), a lock for whoever
// has it in hand, and a word to the other tabs when the list changes.

import { OpfsFolder, filesBelow } from "./train/folder.js";
import { DATASET, NEXT, RECORD, readRecord, removeRun } from "./train/record.js";
import { Run } from "./train/store.js";

/**
 * @typedef {import("./train/record.js").RunRecord & {size: number, elsewhere: boolean, broken?: false}} ListedRun
 *   elsewhere: another tab has it
 * @typedef {import("./train/record.js").RunRecord} RunRecord
 * @typedef {{id: string, title: string, updated: string, size: number, elsewhere: false, broken: true}} BrokenRun   it can be deleted, and
 *   nothing else
 */

const FOLDER = "runs";
const LOCK = "lorakeet run ";
const CHANNEL = "lorakeet runs";

/** A folder without a record is left alone this long: it may be a run that is just being written. */
const YOUNG_MS = 24 * 3600 * 1000;

/** All runs. Events: "changed", when another tab changed the list. */
export class Runs extends EventTarget {
  #files;
  #locks;
  #channel;

  /**
   * @param {?import("./train/folder.js").Files} files null: nothing outlives the tab
   * @param {?string} problem why that is so
   * @param {{locks?: LockManager, channel?: ?BroadcastChannel}} [around]
   */
  constructor(files, problem = null, { locks = globalThis.navigator?.locks, channel = null } = {}) {
    super();
    this.#files = files;
    this.#locks = locks;
    this.#channel = channel;
    channel?.addEventListener("message", () => this.dispatchEvent(new Event("changed")));
    /** Why nothing outlives this tab; null where it does. */
    this.problem = problem;
  }

  static async open() {
    const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel(CHANNEL) : null;
    try {
      return new Runs(await OpfsFolder.open(FOLDER), null, { channel });
    } catch (error) {
      return new Runs(null, `This browser keeps no files for this page (${error.message}): a run lives as long as the tab.`);
    }
  }

  /** Those of this browser, the newest first. @returns {Promise<(ListedRun|BrokenRun)[]>} */
  async list() {
    if (!this.#files) return [];
    const held = await this.#held();
    const folders = (await this.#files.list("")).filter(({ folder }) => folder);
    const listed = await Promise.all(folders.map(({ name }) => this.#listed(name, held.has(LOCK + name))));
    return listed.filter(Boolean).sort((a, b) => b.updated.localeCompare(a.updated));
  }

  /** @returns {Promise<?(ListedRun|BrokenRun)>} null: not to be shown */
  async #listed(id, elsewhere) {
    const record = await readRecord(this.#files, id);
    if (record?.files) return { ...record, elsewhere, size: sum(Object.values(record.files)) };
    if (elsewhere && !record) return null; // it is just being written
    const below = await filesBelow(this.#files, id);
    const size = sum(below.map((file) => file.size));
    if (record) return { ...record, elsewhere, size };
    const newest = Math.max(began(id), ...below.map(({ modified }) => modified));
    const begun = below.some(({ path }) => path === RECORD || path === NEXT);
    if (!begun && Date.now() - newest > YOUNG_MS && await this.#sweep(id)) return null;
    return { id, title: begun ? "A run that can't be read" : "A run that never began", updated: new Date(newest).toISOString(), size, elsewhere: false, broken: true };
  }

  /** Removes what is left of a run that never began, if nobody has it and it is still so. @returns {Promise<boolean>} whether it is gone */
  async #sweep(id) {
    const release = await this.#hold(id);
    if (!release) return true;
    try {
      if (await readRecord(this.#files, id)) return true;
      await removeRun(this.#files, id);
      return true;
    } catch {
      return false;
    } finally {
      release();
    }
  }

  /**
   * A new run, held by this tab before there is anything of it. Where it finds no room it goes on in memory.
   * @param {Pick<RunRecord, "title"|"model"|"config"|"pictures"|"summary"|"secondsPerStep"|"preview"> & Partial<RunRecord>} fields
   *   what is not the same for every new run
   * @param {{dataset: Uint8Array<ArrayBuffer>, pictures: Blob[]}} contents
   * @param {AbortSignal} [signal] ends it before anything is kept
   * @returns {Promise<Run>}
   */
  async create(fields, { dataset, pictures }, signal) {
    const { id, release } = await this.#newId();
    const now = new Date().toISOString();
    /** @type {import("./train/record.js").RunRecord} */
    const record = {
      version: 2, id, created: now, updated: now, status: "unfinished", step: 0, state: null, owed: null, log: null, serial: 0,
      snapshots: [], peakBytes: null, leaveOneOut: null, written: 0, files: null, ...fields,
    };
    const run = new Run(this.#files, record, release, this.problem);
    run.put(DATASET, dataset);
    pictures.forEach((picture, i) => run.put(record.pictures[i].path, picture));
    try {
      await run.commit({}, { signal });
      signal?.throwIfAborted();
    } catch (error) {
      await run.discard();
      throw error;
    }
    this.#announce();
    return run;
  }

  /** The newest whole state of a run, held by this tab. @returns {Promise<Run>} */
  async load(id) {
    const release = await this.#hold(id);
    if (!release) throw new Error("This run is open in another tab.");
    try {
      const run = await Run.open(this.#files, id, release);
      this.#announce();
      return run;
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Deletes a run; one that a tab has in hand stays, and the error says so. */
  async remove(id) {
    const release = await this.#hold(id);
    if (!release) throw new Error("Another tab has this run open. Press New run there, or close that tab, first.");
    try {
      await removeRun(this.#files, id);
    } finally {
      release();
      this.#announce();
    }
  }

  /** Asks the browser to keep the files when room gets short. */
  async persist() {
    return await navigator.storage?.persist?.().catch(() => false) ?? false;
  }

  /** @returns {Promise<?{usage: number, quota: number}>} */
  async room() {
    return await navigator.storage?.estimate?.().catch(() => null) ?? null;
  }

  #announce() {
    this.#channel?.postMessage(null);
  }

  /** A name that no run has: clocks are set back, and two tabs may begin at once. */
  async #newId() {
    for (let time = Date.now(); ; time += 1) {
      const id = new Date(time).toISOString().replace(/\D/g, "");
      const release = await this.#hold(id);
      const there = release && this.#files ? await this.#files.list(id).catch(() => []) : [];
      if (release && there.length === 0) return { id, release };
      release?.();
    }
  }

  /** Keeps other tabs from a run. @returns {Promise<?() => void>} what ends that; null: another tab has it */
  #hold(id) {
    if (!this.#locks || !this.#files) return Promise.resolve(() => {});
    return new Promise((resolve) => {
      let held = false;
      this.#locks.request(LOCK + id, { ifAvailable: true }, (lock) => {
        if (!lock) return resolve(null);
        held = true;
        return new Promise((free) => resolve(() => free(null)));
        // Other tabs look again once the lock is free: told sooner, they might still find it held.
      }).then(() => held && this.#announce(), () => resolve(() => {}));
    });
  }

  async #held() {
    const locks = await this.#locks?.query().catch(() => null);
    return new Set(locks?.held?.map(({ name }) => name));
  }
}

/** The time in a run's name, in milliseconds; 0 where there is none. */
function began(id) {
  const [, year, month, day, hour, minute, second, milli] = id.match(/^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d{3})$/) ?? [];
  return year ? Date.UTC(year, month - 1, day, hour, minute, second, milli) : 0;
}

function sum(sizes) {
  return sizes.reduce((total, size) => total + size, 0);
}
