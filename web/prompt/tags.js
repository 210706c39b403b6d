// Tags of adapters in a prompt: <lora:name:te:unet>, as A1111 reads them (extra_networks_lora.py). src/prompt/tags.rs
// reads them alike, for the command line and for what the page leaves in a prompt.

import { numberOf } from "../spread.js";
import { wordsFor } from "./spread-words.js";

/**
 * @typedef {object} Asked
 * @property {string} name
 * @property {number} textEncoder   strength for the text encoder
 * @property {number} unet          strength for the UNet
 * @property {string} [lbw]         factors of blocks (spread-words.js reads these three)
 * @property {string} [start]       the first step that it acts in
 * @property {string} [stop]        the first in which it no longer does
 *
 * @typedef {object} Place
 * @property {number} at            where it begins in the prompt
 * @property {string} written       as it stands there
 *
 * @typedef {Asked & Place} AdapterTag
 */

const TAG = /<([\p{L}\p{N}_]+):([^>]+)>/gu;
const KINDS = ["lora", "lyco"];

/** Those whose strengths are numbers, in order; none of a comment. @param {string} prompt @returns {AdapterTag[]} */
export function readTags(prompt) {
  const tags = [];
  for (const match of prompt.matchAll(TAG)) {
    const [written, kind, inside] = match;
    const line = prompt.slice(prompt.lastIndexOf("\n", match.index) + 1, match.index);
    if (!KINDS.includes(kind) || line.includes("#")) continue;
    const tag = strengths(inside.split(":"));
    if (tag) tags.push({ ...tag, at: match.index, written });
  }
  return tags;
}

/**
 * The first strength is the text encoder's, and both without a second; `te=` and `unet=` name them. `step=3-8` is
 * `start=3:stop=8`, and counts before them.
 * @param {string[]} parts @returns {?Asked}
 */
function strengths([name, ...parts]) {
  const named = (key) => parts.findLast((part) => part.startsWith(`${key}=`))?.slice(key.length + 1);
  const [first, second] = parts.filter((part) => !part.includes("="));
  const textEncoder = numberOf(named("te") ?? first ?? "1");
  const unet = numberOf(named("unet") ?? second ?? String(textEncoder));
  if (textEncoder === null || unet === null) return null;
  const [, from, to] = /^([^-]*)-(.*)$/s.exec(named("step") ?? "") ?? [null, named("start"), named("stop")];
  return { name, textEncoder, unet, ...given({ lbw: named("lbw"), start: from, stop: to }) };
}

/** @param {Record<string, string|undefined>} words */
function given(words) {
  return Object.fromEntries(Object.entries(words).filter(([, word]) => word !== undefined));
}

/**
 * One for each adapter, in the order in which they are named first: the strengths of all its tags added. (A1111 puts an
 * adapter on once for each of its tags, but all at the strength of the last one, since it keeps one object for the file:
 * the same where they are equal.) How it is spread the last one says.
 * @param {Asked[]} tags
 * @returns {Asked[]}
 */
export function sumsOf(tags) {
  /** @type {Asked[]} */
  const sums = [];
  for (const { name, textEncoder, unet, lbw, start, stop } of tags) {
    const words = given({ lbw, start, stop });
    const sum = sums.find((one) => isNamed(one.name, name));
    if (sum) Object.assign(sum, added(sum, { textEncoder, unet }), words);
    else sums.push({ name, textEncoder, unet, ...words });
  }
  return sums;
}

/**
 * Strengths are written with few digits, and so is their sum.
 * @param {{textEncoder: number, unet: number}} one @param {{textEncoder: number, unet: number}} other
 */
export function added(one, other) {
  const sum = (a, b) => Math.round(1e6 * (a + b)) / 1e6;
  return { textEncoder: sum(one.textEncoder, other.textEncoder), unet: sum(one.unet, other.unet) };
}

/**
 * With one number where two would be the same, or where the adapter sits on one of the two parts alone.
 * @param {{name: string, textEncoder: number, unet: number, onePart?: boolean, spread?: ?import("../spread.js").Spread}} tag
 * @param {number} [steps]   of the picture, which steps are counted in
 * @param {boolean} [byName] lists of blocks that have a name by that
 */
export function writeTag({ name, onePart = false, spread, ...strengths }, steps = 0, byName = false) {
  const { unet, textEncoder } = onePart ? bothParts(strengths) : strengths;
  return `<lora:${name}:${textEncoder}${unet === textEncoder ? "" : `:${unet}`}${wordsFor(spread, steps, byName)}>`;
}

/**
 * Of an adapter that sits on one part alone: a tag gives both the strength of that one.
 * @param {{unet: number, textEncoder: number}} strength
 */
export function bothParts({ unet, textEncoder }) {
  const one = unet || textEncoder;
  return { unet: one, textEncoder: one };
}

/** The prompt with other words in a tag's place. @param {string} prompt @param {AdapterTag} tag @param {string} words */
export function replaceTag(prompt, { at, written }, words) {
  return prompt.slice(0, at) + words + prompt.slice(at + written.length);
}

/**
 * The prompt without the tags that are meant; their blanks stay, as A1111 leaves them.
 * @param {string} prompt
 * @param {(tag: AdapterTag) => boolean} isMeant
 */
export function withoutTags(prompt, isMeant) {
  return readTags(prompt).filter(isMeant).reduceRight((text, tag) => replaceTag(text, tag, ""), prompt);
}

/** Whether a tag means the adapter of this name. @param {string} tag @param {string} name */
export function isNamed(tag, name) {
  return tag.trim().toLowerCase() === name.trim().toLowerCase();
}
