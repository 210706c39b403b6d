// Lists that a prompt draws from by name (wildcards): their files, their names, and which of them a name means.

import { readTemplate } from "./template.js";

/**
 * @typedef {{weight: number, nodes: import("./template.js").Node[]}} Line
 * @typedef {ReadonlyMap<string, readonly Line[]>} Lists   by name
 */

/** What the library calls them. */
export const LIST_KIND = "wildcards";

const WEIGHT = /^(\d+\.?\d*|\.\d+)::\s*/;

/** The lines of a file: a choice each, without comments. @param {string} text @returns {Line[]} */
export function linesOf(text) {
  return text.split(/\r\n?|\n/).map((line) => line.replace(/#.*/, "").trim()).filter(Boolean).map((line) => {
    const [mark, weight] = WEIGHT.exec(line) ?? ["", "1"];
    return { weight: Number(weight), nodes: readTemplate(line.slice(mark.length)).nodes };
  });
}

/**
 * What a file's list is called: its path below the folder of lists, without the ending.
 * @param {string} path
 */
export function nameOfList(path) {
  const parts = path.replace(/\.txt$/i, "").split("/");
  const top = parts.lastIndexOf("wildcards");
  return parts.slice(top < 0 ? 0 : top + 1).join("/").replace(/[(){}#$|<>\n]/g, "").replace(/_{2,}/g, "_").replace(/^_+|_+$/g, "").trim();
}

/**
 * All lines that a name means: `*` stands for anything, and a name alone finds a list in a folder too, as Fooocus does.
 * @param {string} name @param {Lists} lists @returns {Line[]} none: there is no such list
 */
export function linesNamed(name, lists) {
  const wanted = name.toLowerCase();
  const names = [...lists.keys()].toSorted();
  const isIt = wanted.includes("*") ? matcher(wanted) : (one) => one === wanted;
  const found = names.filter((one) => isIt(one.toLowerCase()));
  const last = (one) => one.slice(one.lastIndexOf("/") + 1).toLowerCase();
  const meant = found.length > 0 ? found : names.filter((one) => isIt(last(one)));
  return meant.flatMap((one) => lists.get(one) ?? []);
}

/** @param {string} pattern with stars */
function matcher(pattern) {
  const parts = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  const test = new RegExp(`^${parts.join(".*")}$`);
  return (/** @type {string} */ name) => test.test(name);
}
