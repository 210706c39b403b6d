// Pictures and captions before there is a run: kept in the browser's private file system as they change, so that
// they are there again after a reload. One tab at a time keeps them; in another they live as long as the tab, or
// until it is that one's turn.

import { OpfsFolder } from "./folder.js";
import { newestRecord, replaceRecord, writeWhole } from "./record.js";

const FOLDER = "draft";
const RECORD = "draft.json";
const LOCK = "lorakeet draft";
/** From the last change on, so that not every letter of a caption is written. */
const REST_MS = 300;

/**
 * Events: "back" (detail: pictures that were kept before), once there are any.
 *
 * @typedef {{name: string, path?: string, file: Blob, caption: string, role: "train"|"heldOut"|"class"}} DraftPicture
 *   path: as it was dropped
 */
export class Draft extends EventTarget {
  /** @type {?import("./folder.js").Files} */
  #files = null;
  /** Where each file lies. @type {Map<Blob, string>} */
  #paths = new Map();
  #written = 0;
  #queue = Promise.resolve();
  #timer = 0;
  /** What is to be kept and is not yet. @type {?DraftPicture[]} */
  #wanted = null;

  /** Takes its turn; until then nothing is kept. Without a place for files, that is for ever. */
  async open() {
    try {
      await turn();
      const files = await OpfsFolder.open(FOLDER);
      const kept = await this.#load(files);
      this.#files = files;
      if (kept.length > 0) this.dispatchEvent(new CustomEvent("back", { detail: kept }));
      else await this.flush();
    } catch {
      // a private window: `unkept` says so
    }
  }

  /** Whether pictures would go with the tab. */
  get unkept() {
    return Boolean(this.#wanted?.length);
  }

  /** Keeps these in place of those before. @param {DraftPicture[]} pictures */
  keep(pictures) {
    // nothing is what a page begins with: it must not take the place of what is kept
    const nothing = !this.#files && pictures.length === 0;
    this.#wanted = nothing ? null : pictures.map(({ name, path, file, caption, role }) => ({ name, path, file, caption, role }));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(), REST_MS);
  }

  /** Writes what was asked for last, now. */
  flush() {
    clearTimeout(this.#timer);
    this.#queue = this.#queue.then(() => this.#write());
    return this.#queue;
  }

  /** What was kept, as far as it is whole. @returns {Promise<DraftPicture[]>} */
  async #load(files) {
    const record = await newestRecord(files, RECORD, ({ pictures }) => Array.isArray(pictures));
    this.#written = record?.written ?? 0;
    const found = [];
    for (const { kept, size, name, path, caption, role, type } of record?.pictures ?? []) {
      const blob = await files.read(kept).catch(() => null);
      if (blob?.size !== size) continue;
      // in memory: the file on disk goes once a run has it
      const file = new File([await blob.arrayBuffer()], name, { type });
      this.#paths.set(file, kept);
      found.push({ name, path, caption, role, file });
    }
    return found;
  }

  /** Where it finds no room it stays unkept, and the next change tries again. */
  async #write() {
    const pictures = this.#wanted;
    if (!pictures || !this.#files) return;
    const entries = [];
    try {
      for (const { name, path, file, caption, role } of pictures) {
        const kept = this.#paths.get(file) ?? await this.#put(file);
        entries.push({ kept, size: file.size, name, path, caption, role, type: file.type });
      }
      await replaceRecord(this.#files, RECORD, { version: 1, written: this.#written, pictures: entries });
    } catch {
      return;
    }
    if (this.#wanted === pictures) this.#wanted = null;
    await this.#sweep(new Set(entries.map(({ kept }) => kept)));
  }

  async #put(file) {
    this.#written += 1;
    const path = `pictures/${this.#written}`;
    await writeWhole(this.#files, path, file);
    this.#paths.set(file, path);
    return path;
  }

  /** Takes off the disk what the record doesn't name. */
  async #sweep(named) {
    for (const [file, path] of this.#paths) if (!named.has(path)) this.#paths.delete(file);
    for (const { name } of await this.#files.list("pictures").catch(() => [])) {
      if (!named.has(`pictures/${name}`)) await this.#files.remove(`pictures/${name}`).catch(() => {});
    }
  }
}

/** Waits until no other tab has the draft, and holds it until this one goes. */
function turn() {
  if (!navigator.locks) return Promise.resolve();
  return new Promise((resolve, reject) => {
    navigator.locks.request(LOCK, () => {
      resolve();
      return new Promise(() => {});
    }).catch(reject);
  });
}
