// The library itself: models and adapters that stay, on a store of seven methods (store.js). An entry says
// "whole" only once every byte of it is on disk; whatever ends in between is taken away or, where it came from
// an address, goes on later.

import { Sha256 } from "./sha256.js";

/**
 * @typedef {object} Entry
 * @property {string} id
 * @property {"model"|"adapter"|"wildcards"} kind
 * @property {string} name                what the page calls it
 * @property {"partial"|"whole"|"leaving"} state
 * @property {"copy"|"place"|"download"} by   a copy in this browser; where its file lies on this machine; copied from an address
 * @property {Part[]} files
 * @property {FileSystemHandle} [handle]  of "place": the file, or the model's folder
 * @property {number} size                bytes, of all files
 * @property {string} added               ISO time
 * @property {string} used                when it was last loaded
 * @property {boolean} hasTokenizer
 * @property {?string} config             an adapter's adapter_config.json
 * @property {string[]} triggers
 * @property {?string} base               what an adapter was trained on
 * @property {?import("../spread.js").Powers} strength   of an adapter, the last
 * @property {Source} [source]            of "download"
 * @property {?string} [note]             why a download stands still
 *
 * @typedef {object} Part
 * @property {string} path                inside the model
 * @property {?string} name               in the store; null: of "place"
 * @property {?number} size               null: not known yet
 * @property {?string} sha256             of what is on disk; null: not computed yet
 * @property {string} [url]               of "download"
 * @property {?string} [wanted]           the sum that the host or the person gave
 * @property {?string} [etag]             of the bytes that are there
 * @property {number} [have]              bytes that are there
 *
 * @typedef {object} Source
 * @property {string} page                where it was asked for
 * @property {string[]} hosts             that it may be fetched from
 * @property {?string} licence
 *
 * What a list shows beside that: `gone`: a file of it isn't there any more; `busy`: being written, here or in another tab.
 * @typedef {Entry & {gone: boolean, busy: boolean}} Listed
 */

const INDEX_LOCK = "lorakeet library index";
const ENTRY_LOCK = "lorakeet library entry ";

export const CHUNK = 8 * 1024 * 1024;

/** Bytes of a file that are looked at before all of it is. */
const SAMPLES = 16;
const SAMPLE = 4096;

export class Shelf {
  #store;
  #locks;
  #chunk;

  /** @param {import("./store.js").Store} store @param {LockManager} locks @param {number} chunk bytes written at a time */
  constructor(store, locks, chunk = CHUNK) {
    this.#store = store;
    this.#locks = locks;
    this.#chunk = chunk;
  }

  get store() {
    return this.#store;
  }

  /** Ends what was begun and nobody goes on with. Once per visit. */
  sweep() {
    return this.#indexed(async () => {
      const named = new Set();
      const held = await this.#held();
      for (const entry of await this.#store.entries()) {
        const abandoned = entry.state === "leaving" || (entry.state === "partial" && entry.by !== "download");
        if (abandoned && !held.has(entry.id)) await this.#drop(entry);
        else for (const { name } of entry.files) named.add(name);
      }
      for (const name of await this.#store.names()) {
        if (!named.has(name) && !held.has(name.split(".")[0])) await this.#store.remove(name);
      }
    });
  }

  /** The one used last first. @returns {Promise<Listed[]>} */
  async list() {
    const held = await this.#held();
    const entries = (await this.#store.entries()).filter(({ state }) => state !== "leaving");
    const listed = await Promise.all(entries.map(async (entry) => {
      const busy = entry.state === "partial" && held.has(entry.id);
      return { ...entry, busy, gone: !busy && await this.#gone(entry) };
    }));
    return listed.sort((a, b) => b.used.localeCompare(a.used) || a.name.localeCompare(b.name));
  }

  async entry(id) {
    return (await this.#store.entries()).find((entry) => entry.id === id) ?? null;
  }

  /**
   * Copies files in, or with a handle only remembers where they lie; their sums are taken on the way.
   * @param {Partial<Entry> & {kind: string, name: string}} about
   * @param {{path: string, blob: Blob}[]} files
   * @param {{handle?: FileSystemHandle, signal?: AbortSignal, onProgress?: (progress: {done: number, total: number}) => void}} options
   * @returns {Promise<{entry: Entry, known: boolean}>} known: it was there before
   */
  async keep(about, files, { handle, signal, onProgress } = {}) {
    const known = await this.find(files, { signal, onProgress });
    if (known) return { entry: known, known: true };
    const entry = fresh(about, handle ? "place" : "copy", files.map(({ path, blob }) => ({ path, size: blob.size })));
    if (handle) entry.handle = handle;
    return this.#holding(entry.id, async () => {
      // named before the first byte is written, so that no byte is ever without a name
      await this.#store.commit(entry);
      try {
        let before = 0;
        for (const [index, { blob }] of files.entries()) {
          const part = entry.files[index];
          const tell = (done) => onProgress?.({ done: before + done, total: entry.size });
          part.sha256 = await this.#passed(blob, handle ? null : part.name, signal, tell);
          before += blob.size;
        }
        entry.state = "whole";
        await this.#store.commit(entry);
      } catch (error) {
        await this.#drop(entry).catch(() => {}); // what can't be removed now is at the next visit
        throw error;
      }
      return { entry, known: false };
    });
  }

  /**
   * Begins a download: named, and nothing fetched yet.
   * @param {Partial<Entry> & {kind: string, name: string}} about
   * @param {{path: string, url: string, size: ?number, wanted: ?string}[]} parts
   * @param {Source} source
   * @returns {Promise<Entry>}
   */
  async begin(about, parts, source) {
    const entry = { ...fresh(about, "download", parts.map((part) => ({ have: 0, ...part }))), source };
    await this.#store.commit(entry);
    return entry;
  }

  /**
   * Goes on with a download. Where it ends before the end, its entry says why.
   * @param {import("../download/fetcher.js").Fetcher} fetcher
   */
  fetch(id, fetcher, options) {
    return this.#holding(id, async () => {
      const entry = await this.entry(id);
      if (!entry || entry.by !== "download") throw missing("This download");
      for (const part of entry.files) {
        const there = await this.#store.read(/** @type {string} */ (part.name));
        if (!part.sha256 || there?.size === part.size) continue;
        // cleared by the browser: the same bytes again
        Object.assign(part, { wanted: part.sha256, sha256: null, have: 0 });
        entry.state = "partial";
      }
      try {
        return await fetcher.fetch(entry, options);
      } catch (error) {
        // an address that gave nothing leaves nothing
        const came = entry.files.some(({ have, sha256 }) => have || sha256);
        if (error.name === "Refused" && !came) {
          await this.#drop(entry).catch(() => {});
          throw error;
        }
        const note = error.name === "AbortError" ? null : error.message;
        await this.#store.commit({ ...entry, note }).catch(() => {}); // with a full disk it is told without
        throw error;
      }
    });
  }

  /** Reads a file to its end, writes it where there is a name, and returns its sum. */
  async #passed(blob, name, signal, onProgress) {
    const sum = new Sha256();
    const piece = (at) => blob.slice(at, at + this.#chunk).arrayBuffer();
    let coming = piece(0);
    for (let at = 0; at < blob.size || at === 0; at += this.#chunk) {
      signal?.throwIfAborted();
      const bytes = new Uint8Array(await coming);
      // the next piece is read while this one is summed up and written
      coming = piece(at + this.#chunk);
      coming.catch(() => {});
      sum.update(bytes);
      if (name) await this.#store.append(name, at, bytes);
      onProgress(at + bytes.length);
    }
    return sum.hex();
  }

  /**
   * The whole entry with these bytes. Sizes and samples tell most apart; where they agree, all is read.
   * @param {{path: string, blob: Blob}[]} files
   * @param {{signal?: AbortSignal, onProgress?: (progress: {done: number, total: number}) => void}} [watch]
   * @returns {Promise<?Entry>}
   */
  async find(files, { signal, onProgress } = {}) {
    const total = files.reduce((sum, { blob }) => sum + blob.size, 0);
    for (const entry of await this.#store.entries()) {
      if (entry.state !== "whole" || entry.size !== total || entry.files.length !== files.length) continue;
      const isSame = (part) => ({ path, blob }) => blob.size === part.size && (files.length === 1 || path === part.path);
      /** @type {[Part, Blob | undefined][]} */
      const pairs = entry.files.map((part) => [part, files.find(isSame(part))?.blob]);
      if (pairs.some(([, blob]) => !blob) || await this.#gone(entry) || !await this.#alike(pairs)) continue;
      let before = 0;
      let same = true;
      for (const [part, blob] of pairs) {
        same &&= part.sha256 === await this.#passed(blob, null, signal, (done) => onProgress?.({ done: before + done, total }));
        before += part.size ?? 0;
      }
      if (same) return entry;
    }
    return null;
  }

  async #alike(pairs) {
    for (const [{ name, size }, blob] of pairs) {
      const kept = name && await this.#store.read(name);
      if (!kept) continue;
      for (let i = 0; i < SAMPLES; i++) {
        const at = Math.floor(i / SAMPLES * size);
        const [a, b] = await Promise.all([kept, blob].map(async (from) => new Uint8Array(await from.slice(at, at + SAMPLE).arrayBuffer())));
        if (a.some((byte, k) => byte !== b[k])) return false;
      }
    }
    return true;
  }

  /**
   * Its files, as the engine takes them.
   * @returns {Promise<{entry: Entry, files: ?import("../protocol.js").ModelFile[]}>} null: of "place", which only the page may ask for
   */
  async open(id) {
    const entry = await this.entry(id);
    if (!entry || entry.state !== "whole") throw missing(entry?.name ?? "This");
    if (entry.by === "place") return { entry, files: null };
    const files = await Promise.all(entry.files.map(async ({ path, name, size }) =>
      ({ path, size, blob: await this.#store.read(/** @type {string} */ (name)) })));
    if (files.some(({ blob, size }) => blob?.size !== size)) throw missing(entry.name);
    return { entry, files: files.map(({ path, blob }) => ({ path, blob: /** @type {Blob} */ (blob) })) };
  }

  /** Changes what is said of an entry: name, strength, use. @returns {Promise<?Entry>} null: it is gone */
  change(id, fields) {
    return this.#indexed(async () => {
      const entry = await this.entry(id);
      if (!entry || entry.state === "leaving") return null;
      const changed = { ...entry, ...fields };
      await this.#store.commit(changed);
      return changed;
    });
  }

  /** Deletes an entry; one that another tab uses stays, and the error says so. */
  async remove(id) {
    const done = await this.#locks.request(ENTRY_LOCK + id, { ifAvailable: true }, async (lock) => {
      if (!lock) return false;
      const entry = await this.entry(id);
      if (entry) await this.#drop(entry);
      return true;
    });
    if (!done) throw Object.assign(new Error("Another tab uses it, or is just writing it. Close that tab first."), { name: "InUse" });
  }

  /** Holds an entry against being deleted or written elsewhere while `work` runs. */
  async #holding(id, work) {
    return this.#locks.request(ENTRY_LOCK + id, { ifAvailable: true }, (lock) => {
      if (!lock) throw Object.assign(new Error("Another tab is just writing it."), { name: "InUse" });
      return work();
    });
  }

  /** Unnamed last: whoever is stopped in between finds the name at the next visit, and goes on. */
  async #drop(entry) {
    await this.#store.commit({ ...entry, state: "leaving" });
    for (const { name } of entry.files) if (name) await this.#store.remove(name);
    await this.#store.forget(entry.id);
  }

  async #gone(entry) {
    if (entry.by === "place") return false; // its file is asked for when it is loaded
    if (entry.state === "partial") return false;
    const blobs = await Promise.all(entry.files.map(({ name }) => this.#store.read(name)));
    return blobs.some((blob, i) => blob?.size !== entry.files[i].size);
  }

  #indexed(work) {
    return this.#locks.request(INDEX_LOCK, work);
  }

  /** Ids of entries that a tab holds. */
  async #held() {
    const { held } = await this.#locks.query();
    const names = (held ?? []).map(({ name }) => name ?? "");
    return new Set(names.filter((name) => name.startsWith(ENTRY_LOCK)).map((name) => name.slice(ENTRY_LOCK.length)));
  }
}

/** The lock that a page holds, shared, on an entry whose files its engine reads. */
export function useLock(id) {
  return ENTRY_LOCK + id;
}

/** By time, and apart from what another tab begins in the same moment. */
export function newId() {
  return `${new Date().toISOString().replace(/\D/g, "")}${crypto.getRandomValues(new Uint16Array(1))[0]}`;
}

/** @param {{path: string, size: ?number}[]} parts @returns {Entry} that has nothing yet */
export function fresh(about, by, parts) {
  const now = new Date().toISOString();
  const id = about.id ?? newId();
  return {
    state: "partial", added: now, used: now, hasTokenizer: false, config: null, triggers: [], base: null, strength: null,
    ...about,
    id,
    by,
    files: parts.map((part, index) => ({ sha256: null, ...part, name: by === "place" ? null : `${id}.${index}` })),
    size: parts.reduce((sum, { size }) => sum + (size ?? 0), 0),
  };
}

function missing(name) {
  return Object.assign(new Error(`${name} is not there any more: the browser cleared its files to make room. Drop it again, or download it anew.`), { name: "Gone" });
}
