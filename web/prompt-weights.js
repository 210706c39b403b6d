// A word's weight by hand, as A1111's Ctrl+Up and Ctrl+Down give it: brackets with a number, (word:1.1), are put around,
// changed, and taken away again at 1. Tags of adapters, <lora:name:0.8>, have a number of their own. Text alone.

/** What a press changes. */
export const STEP = 0.1;
/** An adapter's strength is finer. */
export const TAG_STEP = 0.05;
/** What brackets without a number mean. */
const BARE = 1.1;

const NUMBER = /:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*$/;
const TAG = /<[^<>:\s]+:[^<>:]+((?::[^<>]*)?)>/g;
/** What parts words, as in A1111's `keyedit_delimiters`. */
const BETWEEN = /[\s.,/\\!?%^*;:{}=`~()[\]<>|]/u;

/**
 * @typedef {object} Edit   `text` takes the place of what stands from `start` to `end`
 * @property {number} start
 * @property {number} end
 * @property {string} text
 * @property {[number, number]} selection   in the whole text afterwards
 */

/**
 * @param {string} text
 * @param {number} start   the selection; where it is empty, the bracket or word that the cursor is in
 * @param {number} end
 * @param {1|-1} sign
 * @returns {?Edit} null: there is no word, or the selection cuts brackets apart
 */
export function weigh(text, start, end, sign) {
  const tag = tagAt(text, start, end);
  if (tag) return ofTag(tag, sign);
  const group = groupAt(text, start, end);
  if (group) return ofGroup(text, group, sign);
  const [from, to] = start === end ? wordAt(text, start) : trimmed(text, start, end);
  if (from === to || !isWhole(text, from, to)) return null;
  return bracketed(from, to, text.slice(from, to), 1 + sign * STEP);
}

/** @param {{from: number, numbers: string}} tag @returns {Edit} */
function ofTag({ from, numbers }, sign) {
  const parts = numbers.split(":").slice(1);
  // the first that has no name, as lbw=OUTS has
  const found = parts.findIndex((part) => !part.includes("="));
  const at = Math.max(0, found);
  const before = found >= 0 && Number.isFinite(Number(parts[at])) ? Number(parts[at]) : 1;
  const value = written(before + sign * TAG_STEP);
  const text = parts.toSpliced(at, found < 0 ? 0 : 1, value).map((part) => `:${part}`).join("");
  const begin = from + parts.slice(0, at).reduce((sum, part) => sum + 1 + part.length, 1);
  return { start: from, end: from + numbers.length, text, selection: [begin, begin + value.length] };
}

/** @returns {Edit} */
function ofGroup(text, { open, close }, sign) {
  const inside = text.slice(open + 1, close);
  const number = NUMBER.exec(inside);
  const words = number ? inside.slice(0, number.index) : inside;
  return bracketed(open, close + 1, words, (number ? Number(number[1]) : BARE) + sign * STEP);
}

/** @returns {Edit} */
function bracketed(start, end, words, weight) {
  const number = written(weight);
  if (number === "1") return { start, end, text: words, selection: [start, start + words.length] };
  return { start, end, text: `(${words}:${number})`, selection: [start + 1, start + 1 + words.length] };
}

function written(weight) {
  return String(Number(weight.toFixed(2)));
}

/** The tag that the selection lies in, and where its numbers begin. */
function tagAt(text, start, end) {
  for (const match of text.matchAll(TAG)) {
    const last = match.index + match[0].length;
    const inside = match.index < start && end < last;
    const itself = match.index === start && end === last && start < end;
    if (inside || itself) return { from: last - 1 - match[1].length, numbers: match[1] };
  }
  return null;
}

/**
 * The innermost round brackets around the cursor; those of which a selection is all, or else those that it is.
 * @returns {?{open: number, close: number}}
 */
function groupAt(text, start, end) {
  const [from, to] = start === end ? [start, end] : trimmed(text, start, end);
  const open = [];
  let itself = null;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === "(") open.push(at);
    else if (text[at] === ")" && open.length > 0) {
      const first = open.pop();
      if (start === end && first < start && start <= at) return { open: first, close: at };
      if (first === from && at + 1 === to) itself = { open: first, close: at };
      if (first < from && to <= at && start !== end && isAll(text, first, at, from, to)) return { open: first, close: at };
    }
  }
  return itself;
}

/** Whether a selection is all that brackets hold, but for their number. */
function isAll(text, open, close, from, to) {
  return text.slice(open + 1, from).trim() === "" && /^\s*(:\s*[+-]?[.\d]+\s*)?$/.test(text.slice(to, close));
}

/** Whether every bracket in it is closed in it, and no escaped sign is parted from its backslash. */
function isWhole(text, from, to) {
  const closing = { "(": ")", "[": "]", "<": ">", "{": "}" };
  const open = [];
  for (let at = from; at < to; at++) {
    const sign = text[at];
    if (sign === "\\") at++;
    else if (sign in closing) open.push(closing[sign]);
    else if (Object.values(closing).includes(sign) && open.pop() !== sign) return false;
    if (at >= to) return false;
  }
  return open.length === 0 && !/(^|[^\\])(\\\\)*\\$/.test(text.slice(0, from));
}

function wordAt(text, at) {
  let [from, to] = [at, at];
  while (from > 0 && !BETWEEN.test(text[from - 1])) from--;
  while (to < text.length && !BETWEEN.test(text[to])) to++;
  return [from, to];
}

function trimmed(text, start, end) {
  const inside = text.slice(start, end);
  const from = start + inside.length - inside.trimStart().length;
  return [from, Math.max(from, end - (inside.length - inside.trimEnd().length))];
}
