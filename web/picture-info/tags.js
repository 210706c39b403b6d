// Tags of adapters in a prompt: `<lora:name:te:unet>`, as A1111 reads them (src/prompt/tags.rs has the same rules).

import { numberOr } from "./found.js";

const TAG = /<(?:lora|lyco):([^>:]*)((?::[^>:]*)*)>/g;

/**
 * The adapters that a prompt asks for; a tag whose strength is no number asks for none.
 * @param {string} prompt
 * @returns {{name: string, textEncoder: number, unet: number, tag: string}[]}
 */
export function tagsOf(prompt) {
  return [...prompt.matchAll(TAG)].flatMap(([tag, name, rest]) => {
    const parts = rest.split(":").slice(1);
    const placed = parts.filter((part) => !part.includes("="));
    const named = (key) => parts.findLast((part) => part.startsWith(`${key}=`))?.slice(key.length + 1);
    const text = named("te") ?? placed[0];
    const textEncoder = text === undefined ? 1 : numberOr(text);
    const second = named("unet") ?? placed[1];
    const unet = second === undefined ? textEncoder : numberOr(second);
    return textEncoder === null || unet === null ? [] : [{ name, textEncoder, unet, tag }];
  });
}

/** A name as tags and lists of hashes can hold it. @param {string} name */
export function tagName(name) {
  return name.replace(/[:,<>]/g, "");
}

/**
 * With one number where two would be the same.
 * @param {{name: string, unet: number, textEncoder: number, onePart?: boolean}} adapter
 */
export function tagFor({ name, unet, textEncoder, onePart = false }) {
  const strengths = onePart ? [unet || textEncoder] : unet === textEncoder ? [unet] : [textEncoder, unet];
  return `<lora:${[tagName(name), ...strengths].join(":")}>`;
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
