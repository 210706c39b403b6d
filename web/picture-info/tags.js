// Tags of adapters in the text of a picture's settings.

import { saidBy } from "../prompt/spread-words.js";
import { readTags, writeTag } from "../prompt/tags.js";

/**
 * The adapters that a prompt asks for; a tag whose strength is no number asks for none.
 * @param {string} prompt @param {number} steps   of the picture
 * @returns {{name: string, textEncoder: number, unet: number, spread?: import("../spread.js").Spread, tag: string, unread: string[]}[]}
 *   unread: what of its spread can't be read
 */
export function tagsOf(prompt, steps) {
  return readTags(prompt).map((tag) => {
    const { name, textEncoder, unet, written } = tag;
    const { blocks, curve, wrong } = saidBy(tag, steps);
    const spread = blocks || curve ? { spread: { blocks: blocks ?? {}, curve: curve ?? [] } } : {};
    return { name, textEncoder, unet, ...spread, tag: written, unread: wrong.map(({ problem }) => problem) };
  });
}

/** A name as tags and lists of hashes can hold it. @param {string} name */
export function tagName(name) {
  return name.replace(/[:,<>]/g, "");
}

/**
 * @param {{name: string, unet: number, textEncoder: number, onePart?: boolean, spread?: import("../spread.js").Spread}} adapter
 * @param {number} steps   of the picture
 */
export function tagFor(adapter, steps) {
  return writeTag({ ...adapter, name: tagName(adapter.name) }, steps);
}

/** @param {string} prompt @param {string[]} tags   each is taken out once, with the blanks before it */
export function withoutTags(prompt, tags) {
  let text = prompt;
  for (const tag of tags) {
    const at = text.indexOf(tag);
    if (at >= 0) text = text.slice(0, at).replace(/[ \t]+$/, "") + text.slice(at + tag.length);
  }
  return text.trim();
}
