// Tags of adapters in the text of a picture's settings.

import { readTags, writeTag } from "../prompt/tags.js";

/**
 * The adapters that a prompt asks for; a tag whose strength is no number asks for none.
 * @param {string} prompt
 * @returns {{name: string, textEncoder: number, unet: number, tag: string}[]}
 */
export function tagsOf(prompt) {
  return readTags(prompt).map(({ name, textEncoder, unet, written }) => ({ name, textEncoder, unet, tag: written }));
}

/** A name as tags and lists of hashes can hold it. @param {string} name */
export function tagName(name) {
  return name.replace(/[:,<>]/g, "");
}

/** @param {{name: string, unet: number, textEncoder: number, onePart?: boolean}} adapter */
export function tagFor(adapter) {
  return writeTag({ ...adapter, name: tagName(adapter.name) });
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
