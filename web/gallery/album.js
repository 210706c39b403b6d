// The pictures that stay: a folder with one file for each, which says by its text how it was made and by its name when,
// and whether it has a star. There is no list beside them that could be wrong: a picture is there whole or not at all, and
// two tabs can't take away each other's.

/**
 * @typedef {object} Kept
 * @property {string} id        when it was drawn, and what it is
 * @property {string} name      of its file
 * @property {boolean} starred
 * @property {Date} drawn
 * @property {number} size      bytes
 *
 * With what its text says; null: not read yet, or nothing.
 * @typedef {Kept & {found: ?import("../picture-info/found.js").Found}} Shown
 */

/** So many without a star are kept, and no more than this of them. */
export const MOST = 400;
export const MOST_BYTES = 500e6;

const NAME = /^((\d{17})-[0-9a-f]{16})(\.star)?\.png$/;
const DAY = 86_400_000;

export class Album {
  #files;
  #most;

  /**
   * @param {import("../train/folder.js").Files} files
   * @param {{count: number, bytes: number}} [most]
   */
  constructor(files, most = { count: MOST, bytes: MOST_BYTES }) {
    this.#files = files;
    this.#most = most;
  }

  /** What a tab that died while it wrote has left; another tab may be writing just now. Once per visit. */
  async sweep(now = Date.now()) {
    for (const { name, size, modified } of await this.#files.list("")) {
      if (size === 0 && now - modified > DAY) await this.#files.remove(name);
    }
  }

  /** The newest first. @returns {Promise<Kept[]>} */
  async list() {
    const found = new Map();
    for (const { name, size } of await this.#files.list("")) {
      const [, id, time, star] = NAME.exec(name) ?? [];
      if (!id || size === 0) continue;
      // a browser that can't rename, and a tab that died over it, leave both: they are the same
      if (!star && found.has(id)) continue;
      found.set(id, { id, name, starred: Boolean(star), drawn: dateOf(time), size });
    }
    return [...found.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
  }

  /** @param {string} id @returns {Promise<?Blob>} */
  async read(id) {
    return await this.#files.read(nameOf(id, true)) ?? this.#files.read(nameOf(id, false));
  }

  /**
   * @param {Blob} png
   * @param {string} digest   16 hexadecimal digits of what the picture is: one that is there already is not kept again
   * @returns {Promise<{known: boolean, left: number}>} left: how many older ones made room
   */
  async keep(png, digest, drawn = new Date()) {
    const before = await this.list();
    if (before.some(({ id }) => id.endsWith(`-${digest}`))) return { known: true, left: 0 };
    await this.#files.write(nameOf(`${stampOf(drawn)}-${digest}`, false), png);
    return { known: false, left: await this.#trim() };
  }

  /** @param {string} id @param {boolean} starred */
  async star(id, starred) {
    const [from, to] = [nameOf(id, !starred), nameOf(id, starred)];
    if (await this.#files.read(from)) await this.#files.move(from, to);
    else if (!await this.#files.read(to)) throw gone();
  }

  /** @param {string} id @returns {Promise<{id: string, starred: boolean, png: Blob}>} for `putBack` */
  async remove(id) {
    const starred = Boolean(await this.#files.read(nameOf(id, true)));
    const blob = await this.read(id);
    if (!blob) throw gone();
    // its bytes: the file behind a Blob goes
    const png = new Blob([await blob.arrayBuffer()], { type: "image/png" });
    for (const star of [true, false]) await this.#files.remove(nameOf(id, star));
    return { id, starred, png };
  }

  /** @param {{id: string, starred: boolean, png: Blob}} removed */
  putBack({ id, starred, png }) {
    return this.#files.write(nameOf(id, starred), png);
  }

  /** The oldest without a star go. @returns {Promise<number>} how many */
  async #trim() {
    const { count, bytes } = this.#most;
    let left = 0;
    let sum = 0;
    for (const [i, { name, size }] of (await this.list()).filter(({ starred }) => !starred).entries()) {
      sum += size;
      if (i < count && sum <= bytes || i === 0) continue;
      await this.#files.remove(name);
      left += 1;
    }
    return left;
  }
}

const nameOf = (id, starred) => `${id}${starred ? ".star" : ""}.png`;

function stampOf(date) {
  return date.toISOString().replace(/\D/g, "");
}

function dateOf(stamp) {
  return new Date(stamp.replace(/(....)(..)(..)(..)(..)(..)(...)/, "$1-$2-$3T$4:$5:$6.$7Z"));
}

function gone() {
  return Object.assign(new Error("It isn’t there any more: another tab or the browser deleted it."), { name: "Gone" });
}
