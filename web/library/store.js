// Where the library lies: an index in IndexedDB, whose changes are whole or not at all, and files in the
// browser's private file system (OPFS), written in place, so that what is written outlives the tab.
// Needs a worker: the handles that write in place exist nowhere else.

/**
 * What the library asks of a place to keep things. Each call is on disk when it resolves. Tests stand in for
 * it with one that dies or is full at any call.
 *
 * @typedef {object} Store
 * @property {() => Promise<import("./shelf.js").Entry[]>} entries
 * @property {(entry: import("./shelf.js").Entry) => Promise<void>} commit   adds or replaces one entry of the index
 * @property {(id: string) => Promise<void>} forget                           takes one out
 * @property {() => Promise<string[]>} names                                  of all files
 * @property {(name: string) => Promise<?Blob>} read                          null: there is none
 * @property {(name: string, at: number, bytes: Uint8Array) => Promise<void>} append   cuts the file at `at` and adds the bytes
 * @property {(name: string) => Promise<void>} remove
 */

const FOLDER = "library";
const DATABASE = "lorakeet library";
const TABLE = "entries";

/** @implements {Store} */
export class BrowserStore {
  #folder;
  #database;

  constructor(folder, database) {
    this.#folder = folder;
    this.#database = database;
  }

  static async open() {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle(FOLDER, { create: true });
    if (!("createSyncAccessHandle" in FileSystemFileHandle.prototype)) throw new Error("it cannot write files in place");
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(TABLE, { keyPath: "id" });
    return new BrowserStore(folder, await settled(opening));
  }

  entries() {
    return settled(this.#table("readonly").getAll());
  }

  commit(entry) {
    return this.#change((table) => table.put(entry));
  }

  forget(id) {
    return this.#change((table) => table.delete(id));
  }

  async names() {
    const names = [];
    for await (const name of this.#folder.keys()) names.push(name);
    return names;
  }

  async read(name) {
    try {
      return await (await this.#folder.getFileHandle(name)).getFile();
    } catch (error) {
      if (error.name === "NotFoundError") return null;
      throw error;
    }
  }

  async append(name, at, bytes) {
    const file = await this.#folder.getFileHandle(name, { create: true });
    const handle = await file.createSyncAccessHandle();
    try {
      if (handle.getSize() !== at) handle.truncate(at);
      // a full disk may take a part only
      const written = handle.write(bytes, { at });
      if (written !== bytes.length) throw new DOMException("There is no room for more.", "QuotaExceededError");
      handle.flush();
    } finally {
      handle.close();
    }
  }

  async remove(name) {
    try {
      await this.#folder.removeEntry(name);
    } catch (error) {
      if (error.name !== "NotFoundError") throw error;
    }
  }

  #table(mode, options) {
    return this.#database.transaction(TABLE, mode, options).objectStore(TABLE);
  }

  #change(work) {
    // "strict": on disk before it is told
    const table = this.#table("readwrite", { durability: "strict" });
    work(table);
    return /** @type {Promise<void>} */ (new Promise((resolve, reject) => {
      table.transaction.oncomplete = () => resolve();
      table.transaction.onabort = table.transaction.onerror = () => reject(table.transaction.error ?? new Error("the index could not be written"));
    }));
  }
}

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
