// Where runs are kept: a folder of the browser's private file system (OPFS), behind five calls. Tests stand in
// for it with one that dies or is full at any call.

/**
 * Paths go by "/" and begin in the folder. Each call has happened when it resolves.
 *
 * @typedef {object} Files
 * @property {(path: string) => Promise<?Blob>} read   null: there is no such file
 * @property {(path: string, data: Blob|Uint8Array|string) => Promise<void>} write   whole or not at all, with the folders it needs. A tab
 *   that dies meanwhile may leave an empty file, where there was none before.
 * @property {(from: string, to: string) => Promise<void>} move   a file within its folder, in place of what is there
 * @property {(path: string) => Promise<void>} remove   a file, or a folder with all in it; nothing where there is none
 * @property {(path: string) => Promise<{name: string, folder: boolean, size: number, modified: number}[]>} list   what is in a folder;
 *   milliseconds since 1970
 */

/** @implements {Files} */
export class OpfsFolder {
  #root;

  /** @param {FileSystemDirectoryHandle} root */
  constructor(root) {
    this.#root = root;
  }

  /** @param {string} name of a folder at the top, which is made @returns {Promise<OpfsFolder>} */
  static async open(name) {
    const top = await navigator.storage.getDirectory();
    const root = await top.getDirectoryHandle(name, { create: true });
    if (!("createWritable" in FileSystemFileHandle.prototype)) throw new Error("it cannot write files");
    return new OpfsFolder(root);
  }

  read(path) {
    return orNull(async () => {
      const { folder, name } = await this.#place(path);
      return (await folder.getFileHandle(name)).getFile();
    });
  }

  async write(path, data) {
    const { folder, name } = await this.#place(path, true);
    const file = await folder.getFileHandle(name, { create: true });
    try {
      const stream = await file.createWritable();
      try {
        await stream.write(data);
        await stream.close();
      } catch (error) {
        await stream.abort().catch(() => {});
        throw error;
      }
    } catch (error) {
      // the handle made an empty file
      const left = await file.getFile().catch(() => null);
      if (left?.size === 0) await folder.removeEntry(name).catch(() => {});
      throw error;
    }
  }

  async move(from, to) {
    const { folder, name } = await this.#place(from);
    const file = await folder.getFileHandle(name);
    const target = to.slice(to.lastIndexOf("/") + 1);
    try {
      await file.move(target);
    } catch {
      // a browser that can't rename, or not over another file; what is written is whole or not at all, too
      await this.write(to, await file.getFile());
      await folder.removeEntry(name);
    }
  }

  remove(path) {
    return orNull(async () => {
      const { folder, name } = await this.#place(path);
      await folder.removeEntry(name, { recursive: true });
    });
  }

  async list(path) {
    const folder = await orNull(() => this.#folder(path.split("/").filter(Boolean), false));
    const found = [];
    for await (const [name, handle] of folder?.entries() ?? []) {
      const file = handle.kind === "file" && await orNull(() => handle.getFile());
      if (file !== null) found.push({ name, folder: !file, size: file ? file.size : 0, modified: file ? file.lastModified : 0 });
    }
    return found;
  }

  async #place(path, create = false) {
    const parts = path.split("/");
    const name = parts.pop();
    return { folder: await this.#folder(parts, create), name };
  }

  async #folder(parts, create) {
    let folder = this.#root;
    for (const part of parts) folder = await folder.getDirectoryHandle(part, { create });
    return folder;
  }
}

/**
 * All files below a folder, with their paths from there.
 * @param {Files} files
 * @returns {Promise<{path: string, size: number, modified: number}[]>}
 */
export async function filesBelow(files, path, prefix = "") {
  const found = [];
  for (const { name, folder, size, modified } of await files.list(path)) {
    if (folder) found.push(...await filesBelow(files, `${path}/${name}`, `${prefix}${name}/`));
    else found.push({ path: prefix + name, size, modified });
  }
  return found;
}

/** What isn't there is null; other errors pass. */
async function orNull(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name === "NotFoundError" || error.name === "TypeMismatchError") return null;
    throw error;
  }
}
