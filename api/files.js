// Which of some files is the model, and which the adapter. Whoever has sorted them gives that.

import { sortFiles } from "../web/files.js";

/**
 * A file by itself, with its path inside a folder where there is one (`webkitRelativePath` is read), or what `filesOfDrop`
 * gives.
 * @typedef {Blob | {path: string, blob: Blob} | import("../web/files.js").Dropped} Given
 * @typedef {Given | Iterable<Given>} Files
 * @typedef {import("../web/files.js").Sorted["models"][number]} SortedModel   of `sortFiles`
 * @typedef {import("../web/files.js").Sorted["adapters"][number]} SortedAdapter
 */

/** @param {Files | SortedModel} files @returns {Promise<SortedModel>} */
export async function modelOf(files) {
  if ("hasTokenizer" in files) return files;
  const { models, parts, adapters, refused } = await sorted(files, "model.safetensors");
  const [model, another] = models;
  if (!model) {
    const others = adapters.map(({ name }) => ({ name, problem: "It is an adapter: attach it to a model." }));
    const alone = parts.map(({ path }) => ({ name: path, problem: "It is one part of a model. Give the model's file along with it." }));
    throw new Error(none("model", [...refused, ...others, ...alone]));
  }
  if (another) throw new Error(`${model.name} and ${another.name}: these are two models. Load one of them`);
  return model;
}

/** @param {Files | SortedAdapter} files @returns {Promise<SortedAdapter>} */
export async function adapterOf(files) {
  if ("config" in files) return files;
  const { models, adapters, refused } = await sorted(files, "adapter.safetensors");
  const [adapter, another] = adapters;
  if (!adapter) {
    const others = models.map(({ name }) => ({ name, problem: "It is a model: load it." }));
    throw new Error(none("adapter", [...refused, ...others]));
  }
  if (another) throw new Error(`${adapter.name} and ${another.name}: these are two adapters. Attach one after the other`);
  return adapter;
}

/** @param {Files} files @param {string} nameless   what a Blob without a name is called */
function sorted(files, nameless) {
  const list = isOne(files) ? [files] : [...files];
  return sortFiles(list.map((given) => dropped(given, nameless)));
}

/** @param {Files} files @returns {files is Given} */
function isOne(files) {
  return files instanceof Blob || "path" in files;
}

/** @param {Given} given @param {string} nameless @returns {import("../web/files.js").Dropped} */
function dropped(given, nameless) {
  if (given instanceof File) return { path: given.webkitRelativePath || given.name, file: given };
  if (given instanceof Blob) return { path: nameless, file: new File([given], nameless) };
  if ("file" in given) return given;
  const name = given.path.split("/").at(-1) ?? given.path;
  return { path: given.path, file: given.blob instanceof File ? given.blob : new File([given.blob], name) };
}

/** @param {string} what @param {{name: string, problem: string}[]} refused */
function none(what, refused) {
  const reasons = refused.map(({ name, problem }) => `${name}: ${problem}`);
  return [`There is no ${what} among these files.`, ...reasons].join(" ");
}
