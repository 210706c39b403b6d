// The page's side of the library: asks the worker, tells other tabs, and holds what is in use.

import { abortError, unpackError } from "../protocol.js";
import { startWorker } from "../workers.js";
import { useLock } from "./shelf.js";

const CHANNEL = "lorakeet library";

/**
 * @typedef {object} Options
 * @property {FileSystemHandle} [handle]
 * @property {AbortSignal} [signal]
 * @property {(progress: object) => void} [onProgress]
 * @property {Transferable[]} [transfer]
 */

/**
 * Events: "change": the list isn't what it was, here or in another tab.
 */
export class Library extends EventTarget {
  #worker = null;
  #lastId = 0;
  #pending = new Map();
  #channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(CHANNEL);
  /** Entries in use here: id to what lets go of it. */
  #held = new Map();

  constructor() {
    super();
    this.#channel?.addEventListener("message", () => this.#changed());
  }

  /** Why nothing can be kept; null where it can. */
  static get problem() {
    if (!isSecureContext || !navigator.storage?.getDirectory || !navigator.locks || !window.indexedDB) return "This browser keeps no files for this page.";
    return null;
  }

  /** @returns {Promise<import("./shelf.js").Listed[]>} */
  list() {
    return this.#ask("list", {});
  }

  /**
   * @param {object} about   kind, name and what else an entry says
   * @param {{path: string, blob: Blob}[]} files
   * @returns {Promise<{entry: import("./shelf.js").Entry, known: boolean}>}
   */
  async keep(about, files, /** @type {Options} */ { handle, signal, onProgress } = {}) {
    const kept = this.#ask("keep", { about, files, handle }, { signal, onProgress });
    this.#tellSoon();
    return this.#told(kept);
  }

  /** Begins a download. @returns {Promise<import("./shelf.js").Entry>} */
  begin(about, parts, source) {
    return this.#told(this.#ask("begin", { about, parts, source }));
  }

  /**
   * Goes on with a download, asking over the port of a frame.
   * @returns {Promise<import("./shelf.js").Entry>}
   */
  fetch(id, port, /** @type {Options} */ { signal, onProgress } = {}) {
    return this.#told(this.#ask("fetch", { entry: id, port }, { signal, onProgress, transfer: [port] }));
  }

  /** The entry that has these bytes already. @returns {Promise<?import("./shelf.js").Entry>} */
  find(files, /** @type {Options} */ { signal, onProgress } = {}) {
    return this.#ask("find", { files }, { signal, onProgress });
  }

  /**
   * An entry's files, held against being deleted in another tab until `release`. A file that only its place is
   * known of may be asked for, which takes a click.
   * @returns {Promise<{entry: import("./shelf.js").Entry, files: import("../protocol.js").ModelFile[]}>}
   */
  async open(id) {
    await this.#hold(id);
    try {
      const { entry, files } = await this.#ask("open", { entry: id });
      const found = { entry, files: files ?? await filesAt(entry) };
      await this.change(id, { used: new Date().toISOString() });
      return found;
    } catch (error) {
      this.release(id);
      throw error;
    }
  }

  /** The files of a small entry, to be read at once. @returns {Promise<import("../protocol.js").ModelFile[]>} */
  async read(id) {
    return (await this.#ask("open", { entry: id })).files;
  }

  /** Nothing here reads its files any more. */
  release(id) {
    this.#held.get(id)?.();
    this.#held.delete(id);
  }

  /** @param {Partial<import("./shelf.js").Entry>} fields */
  change(id, fields) {
    return this.#told(this.#ask("change", { entry: id, fields }));
  }

  remove(id) {
    this.release(id);
    return this.#told(this.#ask("remove", { entry: id }));
  }

  /** Holds an entry that is loaded from elsewhere, as a file that was dropped and is kept since. */
  async #hold(id) {
    if (this.#held.has(id)) return;
    await new Promise((resolve, reject) => {
      navigator.locks.request(useLock(id), { mode: "shared", ifAvailable: true }, (lock) => {
        if (!lock) throw Object.assign(new Error("It is just being written or deleted. Try again when that is done."), { name: "InUse" });
        resolve();
        return new Promise((release) => this.#held.set(id, release));
      }).catch(reject);
    });
  }

  /** @returns {Promise<{usage: number, quota: number, persisted: boolean}|null>} */
  async room() {
    const { storage } = navigator;
    const [room, persisted] = await Promise.all([storage?.estimate?.().catch(() => null), storage?.persisted?.().catch(() => false)]);
    return room ? { usage: room.usage ?? 0, quota: room.quota ?? 0, persisted: persisted ?? false } : null;
  }

  /** Asks the browser not to clear the files when the disk gets short. @returns {Promise<boolean>} */
  async persist() {
    return await navigator.storage?.persist?.().catch(() => false) ?? false;
  }

  async #told(work) {
    try {
      return await work;
    } finally {
      this.#changed();
      this.#channel?.postMessage("change");
    }
  }

  /** An entry that is begun shows while it is written. */
  #tellSoon() {
    setTimeout(() => this.#changed(), 150);
  }

  #changed() {
    this.dispatchEvent(new CustomEvent("change"));
  }

  /** @param {string} action @param {object} parameters @param {Options} options */
  #ask(action, parameters, { signal, onProgress, transfer = [] } = {}) {
    if (signal?.aborted) return Promise.reject(abortError());
    const worker = this.#worker ??= this.#spawn();
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const onAbort = () => worker.postMessage({ abort: id });
      const settle = (how) => (value) => {
        signal?.removeEventListener("abort", onAbort);
        how(value);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#pending.set(id, { resolve: settle(resolve), reject: settle(reject), onProgress });
      worker.postMessage({ ...parameters, id, action }, transfer);
    });
  }

  #spawn() {
    const worker = startWorker(new URL("./worker.js", import.meta.url), "lorakeet library");
    worker.addEventListener("message", ({ data }) => this.#receive(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      worker.terminate();
      this.#worker = null;
      const open = [...this.#pending.values()];
      this.#pending.clear();
      for (const { reject } of open) reject(new Error(event.message ?? "the library's worker could not be started"));
    });
    return worker;
  }

  #receive({ id, result, error, progress }) {
    const request = this.#pending.get(id);
    if (!request) return;
    if (progress) return request.onProgress?.(progress);
    this.#pending.delete(id);
    if (error) request.reject(unpackError(error));
    else request.resolve(result);
  }
}

/** The files behind a handle, asked for where the browser wants a yes. */
async function filesAt({ name, handle, files }) {
  const asked = { mode: "read" };
  if (await handle.queryPermission(asked) !== "granted" && await handle.requestPermission(asked) !== "granted") {
    throw Object.assign(new Error(`The browser didn't allow to read ${name} where it lies.`), { name: "NotAllowed" });
  }
  try {
    return await Promise.all(files.map(async ({ path }) => ({ path, blob: await fileAt(handle, path) })));
  } catch (error) {
    if (error.name !== "NotFoundError") throw error;
    throw Object.assign(new Error(`${name} is not there any more: its file was moved, renamed or deleted. Drop it again.`), { name: "Gone" });
  }
}

async function fileAt(handle, path) {
  if (handle.kind === "file") return handle.getFile();
  const parts = path.split("/");
  const name = parts.pop();
  let folder = handle;
  for (const part of parts) folder = await folder.getDirectoryHandle(part);
  return (await folder.getFileHandle(name)).getFile();
}
