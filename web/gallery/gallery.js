// The gallery of this browser: the album in its private files, and word of it to other tabs.

import { OpfsFolder } from "../train/folder.js";
import { Album } from "./album.js";

/** The name of the error where there is no place to keep anything, as in private windows. */
export const NO_STORAGE = "NoStorage";

const FOLDER = "gallery";
const CHANNEL = "lorakeet gallery";

/** Event: "change": the pictures aren't what they were, here or in another tab. */
export class Gallery extends EventTarget {
  #channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(CHANNEL);
  /** @type {?Promise<Album>} */
  #album = null;

  constructor() {
    super();
    this.#channel?.addEventListener("message", () => this.#changed());
  }

  /** Why nothing can be kept; null where it can. */
  static get problem() {
    return isSecureContext && navigator.storage?.getDirectory ? null : "This browser keeps no files for this page.";
  }

  async list() { return (await this.#opened()).list(); }

  async read(id) { return (await this.#opened()).read(id); }

  keep(png, digest) { return this.#told(async (album) => album.keep(png, digest)); }

  star(id, starred) { return this.#told(async (album) => album.star(id, starred)); }

  remove(id) { return this.#told(async (album) => album.remove(id)); }

  putBack(removed) { return this.#told(async (album) => album.putBack(removed)); }

  /** @template T @param {(album: Album) => Promise<T>} work @returns {Promise<T>} */
  async #told(work) {
    try {
      return await work(await this.#opened());
    } finally {
      this.#changed();
      this.#channel?.postMessage("change");
    }
  }

  /** Tried again after it failed. */
  #opened() {
    this.#album ??= open().catch((error) => {
      this.#album = null;
      throw error;
    });
    return this.#album;
  }

  #changed() {
    this.dispatchEvent(new CustomEvent("change"));
  }
}

async function open() {
  try {
    if (Gallery.problem) throw new Error(Gallery.problem);
    const album = new Album(await OpfsFolder.open(FOLDER));
    await album.sweep();
    return album;
  } catch (error) {
    throw Object.assign(new Error(`This browser keeps no pictures for this page (${error.message})`), { name: NO_STORAGE });
  }
}
