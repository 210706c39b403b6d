// What was dropped: told apart by names and by the keys in a safetensors header. No tensor is read here.

import { partOf } from "./model-files.js";

const MODEL_FILE = /\.(safetensors|json|txt)$/i;
const YAML = /\.ya?ml$/i;
const PICTURE = /\.(png|jpe?g|webp|gif|avif|bmp|heic|heif|tiff?)$/i;
const PICKLE = /\.(ckpt|pt|pth|bin|pkl)$/i;

/** An adapter's config has some hundred names of layers at most. */
const LARGEST_CONFIG = 4 << 20;
const UNREADABLE = "It can't be read: it was moved or deleted meanwhile, this browser may not read it, or it isn't on this machine yet (a cloud's placeholder).";
/** A folder as kohya's scripts want it: how often its pictures are repeated, and what they show. */
const REPEATS = /^\d+_./;

/**
 * @typedef {{path: string, file: ?File, place?: FileSystemHandle, root?: string}} Dropped   file: null where it can't be
 *   read; place: of what was dropped, the file or the folder named `root`, where the browser can find it again
 * @typedef {object} Sorted
 * @property {{name: string, files: import("./protocol.js").ModelFile[], hasTokenizer: boolean, place?: FileSystemHandle}[]} models
 * @property {import("./protocol.js").ModelFile[]} parts   VAEs, text encoders and .yaml files that came without a model
 * @property {{name: string, file: File, config: ?string, place?: FileSystemHandle}[]} adapters
 * @property {{name: string, path: string, file: File}[]} pictures
 * @property {{name: string, path: string, file: File}[]} texts       captions, where their paths are those of pictures
 * @property {{name: string, problem: string}[]} refused
 */

/** Every file in a drop, folders walked. Call it before the drop event ends. @returns {Promise<Dropped[]>} */
export async function filesOfDrop(dataTransfer) {
  const items = [...dataTransfer.items].filter((i) => i.kind === "file");
  // all asked for at once: the items are gone after the first wait
  const entries = items.map((i) => i.webkitGetAsEntry?.() ?? i.getAsFile());
  const places = items.map((i) => i.getAsFileSystemHandle?.().catch(() => null));
  const found = await Promise.all(entries.map(async (entry, index) => {
    if (!entry) return [];
    const place = await places[index];
    return (await walk(entry)).map((dropped) => (place ? { ...dropped, place, root: entry.name } : dropped));
  }));
  return found.flat();
}

/** Every file of an `<input type=file>`. @returns {Dropped[]} */
export function filesOfInput(input) {
  return [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** Files that the system opens with the installed page. @param {FileSystemFileHandle[]} handles @returns {Promise<Dropped[]>} */
export function filesOfLaunch(handles) {
  return Promise.all(handles.map(async (place) => ({ path: place.name, file: await place.getFile().catch(() => null), place })));
}

async function walk(entry) {
  if (entry instanceof File) return [{ path: entry.name, file: entry }];
  const path = entry.fullPath.replace(/^\//, "");
  try {
    if (entry.isFile) return [{ path, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) }];
    const reader = entry.createReader();
    const inside = [];
    for (;;) { // a reader gives at most 100 entries at a time
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) break;
      inside.push(...some);
    }
    return (await Promise.all(inside.map(walk))).flat();
  } catch {
    return [{ path, file: null }];
  }
}

/** The folders of kohya's kind that pictures came in; empty where there are none. @param {{path: string}[]} pictures */
export function repeatsOf(pictures) {
  const folders = pictures.map(({ path }) => path.split("/").at(-2) ?? "").filter((folder) => REPEATS.test(folder));
  return [...new Set(folders)].join(", ");
}

/** @param {Dropped[]} dropped @returns {Promise<Sorted>} */
export async function sortFiles(dropped) {
  const sorted = { models: [], parts: [], adapters: [], pictures: [], texts: [], refused: [] };
  const wanted = dropped.filter(({ path }) => !/(^|\/)(\.[^/]*|Thumbs\.db)$/.test(path));
  for (const { path, file } of wanted) {
    if (!file) sorted.refused.push({ name: path, problem: UNREADABLE });
  }
  let rest = wanted.filter(({ file }) => file);

  const roots = rest.filter(({ path }) => /(^|\/)model_index\.json$/.test(path)).map(({ path }) => directory(path));
  for (const root of roots) {
    const inside = rest.filter(({ path }) => path.startsWith(root));
    rest = rest.filter(({ path }) => !path.startsWith(root));
    const files = inside.filter(({ path }) => MODEL_FILE.test(path))
      .map(({ path, file }) => ({ path: path.slice(root.length), blob: file }));
    sorted.models.push({
      name: root.split("/").at(-2) ?? "the dropped model",
      files,
      hasTokenizer: files.some(({ path }) => path.startsWith("tokenizer/")),
      place: inside.find(({ root: dropped }) => root === `${dropped}/`)?.place,
    });
  }

  const configs = new Map(rest.filter(({ path }) => /(^|\/)adapter_config\.json$/.test(path)).map(({ path, file }) => [directory(path), file]));
  for (const { path, file, place } of rest) {
    const name = path.split("/").at(-1);
    if (YAML.test(name)) {
      sorted.parts.push({ path: name, blob: file, part: "yaml" });
    } else if (/\.safetensors$/i.test(name)) {
      const part = await partOf(file);
      if (part === "checkpoint" || part === "unet") {
        sorted.models.push({ name, files: [{ path: name, blob: file }], hasTokenizer: false, place: place?.kind === "file" ? place : undefined });
      } else if (part !== "adapter") {
        sorted.parts.push({ path: name, blob: file, part });
      } else {
        const config = configs.get(directory(path));
        configs.delete(directory(path));
        const text = config ? await textOf(config) : null;
        if (text === undefined) sorted.refused.push({ name: `${directory(path)}adapter_config.json`, problem: UNREADABLE });
        else sorted.adapters.push({ name: adapterName(path), file, config: text });
      }
    } else if (PICTURE.test(name) || file.type.startsWith("image/")) {
      sorted.pictures.push({ name, path, file });
    } else if (/\.(txt|caption)$/i.test(name)) {
      sorted.texts.push({ name, path, file });
    } else if (PICKLE.test(name)) {
      sorted.refused.push({ name, problem: "Files of this kind can run code when opened, so Lorakeet doesn't read them. Save it as .safetensors and drop that." });
    } else if (name !== "adapter_config.json" && dropped.length === 1) {
      sorted.refused.push({ name, problem: "Lorakeet reads .safetensors files, model folders with a model_index.json, and pictures to train on." });
    }
  }
  shareParts(sorted);
  const nothing = Object.values(sorted).every((list) => list.length === 0);
  if (nothing && dropped.length > 0) {
    const name = dropped[0].path.split("/")[0];
    sorted.refused.push(configs.size > 0
      ? { name: "adapter_config.json", problem: "This describes an adapter but holds no weights. Drop it together with its adapter_model.safetensors." }
      : { name, problem: "There is no .safetensors file, no model_index.json and no picture in it." });
  }
  return sorted;
}

/** The text of a config; undefined where it can't be read, or is none by its size. @param {File} config */
function textOf(config) {
  return config.size > LARGEST_CONFIG ? undefined : config.text().catch(() => undefined);
}

function directory(path) {
  return path.slice(0, path.lastIndexOf("/") + 1);
}

/** The file's name, or its folder's where the file has the name that PEFT and diffusers give to all. */
function adapterName(path) {
  const parts = path.split("/");
  const name = parts.at(-1).replace(/\.safetensors$/i, "");
  return /^(adapter_model|pytorch_lora_weights)$/.test(name) && parts.length > 1 ? parts.at(-2) : name;
}

/** Gives what came beside models to them: a VAE and a text encoder to each, a .yaml to that of its name, or to the only one. */
function shareParts(sorted) {
  if (sorted.models.length === 0) return;
  const stem = (name) => name.replace(/\.[^.]*$/, "");
  for (const part of sorted.parts.splice(0)) {
    for (const { name, files } of sorted.models) {
      if (part.part !== "yaml" || sorted.models.length === 1 || stem(part.path) === stem(name)) files.push(part);
    }
  }
}
