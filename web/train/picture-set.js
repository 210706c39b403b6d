// The pictures to train on: decoding, captions, and what is wrong with them. Only the files are kept;
// pixels are read anew when the engine wants them.

import { bitmapOf, pixelsOf } from "../decode.js";
import { counted } from "../format.js";

const THUMBNAIL = 320;
/** Longest side that reaches the engine; of many pictures a shorter one, for the sake of memory. */
const LARGEST = 2048;
const LARGEST_OF_MANY = 1024;
const MANY = 12;

/**
 * @typedef {object} SetPicture
 * @property {number} id
 * @property {string} name        unique in the set
 * @property {string} path        as it was dropped
 * @property {File|Blob} file
 * @property {string} caption
 * @property {"train"|"heldOut"|"class"} role
 * @property {number} width
 * @property {number} height
 * @property {ImageBitmap} thumbnail
 * @property {string[]} warnings
 */
export const UNREADABLE = "This picture could not be read: the file is damaged, or of a kind that this browser doesn't know. Save it as PNG, JPEG or WebP.";

export class PictureSet {
  /** @type {SetPicture[]} */
  items = [];
  #lastId = 0;

  /**
   * @param {{name: string, path?: string, file: Blob, caption: string, role: "train"|"heldOut"|"class"}[]} pictures
   *   path: in the folder that was dropped
   * @returns {Promise<{name: string, problem: string}[]>} those that could not be read
   */
  async add(pictures) {
    const refused = [];
    for (const { name, path = name, file, caption, role } of pictures) {
      try {
        const { thumbnail, width, height } = await lookAt(file);
        /** @type {SetPicture} */
        const picture = { id: ++this.#lastId, name: this.#unique(name), path, file, caption, role, width, height, thumbnail, warnings: [] };
        this.items.push(picture);
      } catch {
        refused.push({ name, problem: UNREADABLE });
      }
    }
    return refused;
  }

  find(id) {
    return this.items.find((picture) => picture.id === id);
  }

  /**
   * Gives a caption to the pictures at this path without its ending; or to the only one of that name, should the text
   * come without its folder. @returns {boolean} whether there is one
   */
  setCaption(stem, caption) {
    const last = (path) => stemOf(path).split("/").at(-1);
    const named = this.items.filter(({ path }) => last(path) === last(stem) && (path.includes("/") !== stem.includes("/")));
    const there = this.items.filter(({ path }) => stemOf(path) === stem);
    const found = there.length > 0 || named.length > 1 ? there : named;
    for (const picture of found) picture.caption = caption;
    return found.length > 0;
  }

  remove(id) {
    this.find(id)?.thumbnail.close();
    this.items = this.items.filter((picture) => picture.id !== id);
  }

  clear() {
    for (const { thumbnail } of this.items) thumbnail.close();
    this.items = [];
  }

  /** Those of a role; "train" here means the main set: also those held out of it. */
  of(role) {
    return this.items.filter((picture) => (picture.role === "class") === (role === "class"));
  }

  get counts() {
    const count = (role) => this.items.filter((picture) => picture.role === role).length;
    return { train: count("train"), heldOut: count("heldOut"), class: count("class") };
  }

  /** In words. */
  get summary() {
    const { train, heldOut } = this.counts;
    if (train + heldOut === 0) return "";
    return counted(train + heldOut, "picture") + (heldOut ? `, ${heldOut} held out` : "");
  }

  /** With their pixels, as the engine takes them. @returns {Promise<import("../protocol.js").TrainPicture[]>} */
  async decoded() {
    const longest = this.items.length > MANY ? LARGEST_OF_MANY : LARGEST;
    const pictures = [];
    for (const { name, caption, role, file } of this.items) {
      pictures.push({ name, caption: caption.trim(), role, ...await pixelsOf(file, longest) });
    }
    return pictures;
  }

  #unique(name) {
    const taken = new Set(this.items.map((picture) => picture.name));
    const dot = name.lastIndexOf(".");
    const [stem, ending] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
    let unique = name;
    for (let i = 2; taken.has(unique); i += 1) unique = `${stem} (${i})${ending}`;
    return unique;
  }
}

/** A name or a path without its ending. */
export function stemOf(name) {
  return name.replace(/\.[^./]*$/, "");
}

async function lookAt(file) {
  const whole = await bitmapOf(file);
  const { width, height } = whole;
  const scale = Math.min(1, THUMBNAIL / Math.min(width, height));
  const thumbnail = await createImageBitmap(whole, {
    resizeWidth: Math.max(1, Math.round(width * scale)),
    resizeHeight: Math.max(1, Math.round(height * scale)),
    resizeQuality: "high",
  });
  whole.close();
  return { thumbnail, width, height };
}
