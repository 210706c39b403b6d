// The values of a sheet's axis, as A1111 writes them: `0, 0.5, 1`, `0-1 (+0.25)`, `0-1 [5]`, `1-5`; words with commas in
// double quotes. Ranges go up to their end and with it, never past it. Pure.

/** More of one axis is a slip of the finger. */
const MOST = 100;
/** Decimals are kept to so many places. */
const PLACES = 8;
const NUMBER = String.raw`[+-]?(?:\d+(?:\.\d*)?|\.\d+)`;
const RANGE = new RegExp(String.raw`^(${NUMBER})\s*-\s*(${NUMBER})\s*(?:\(\s*(${NUMBER})\s*\)|\[\s*(\d+)\s*\])?$`);
const ONE = new RegExp(`^${NUMBER}$`);

/** What is wrong with a value, in words for people. */
export class BadValue extends Error {}

/** @param {string} text @returns {string[]} its parts between commas; those in quotes whole */
export function listOf(text) {
  const parts = [];
  let part = "";
  let isQuoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const sign = text[i];
    if (isQuoted && sign === '"' && text[i + 1] === '"') part += text[i += 1];
    else if (sign === '"' && (isQuoted || part.trim() === "")) [isQuoted, part] = [!isQuoted, isQuoted ? part : ""];
    else if (sign === "," && !isQuoted) [part] = ["", parts.push(part.trim())];
    else part += sign;
  }
  if (isQuoted) throw new BadValue(`a quotation mark is open: ${text}`);
  return [...parts, part.trim()].filter(Boolean);
}

/** @param {string} text @returns {number[]} */
export function numbersOf(text) {
  return spread(text, { read: Number, range: decimals });
}

/** Whole numbers of any length. @param {string} text @returns {bigint[]} */
export function wholesOf(text) {
  return spread(text, { read: (word) => whole(word, word), range: wholes });
}

/** @template T @param {string} text @param {{read: (word: string) => T, range: (...words: string[]) => T[]}} how @returns {T[]} */
function spread(text, { read, range }) {
  const values = text.replaceAll("−", "-").split(",").map((word) => word.trim()).filter(Boolean).flatMap((word) => {
    if (ONE.test(word)) return [read(word)];
    const [, from, to, step, count] = RANGE.exec(word) ?? [];
    if (from === undefined) throw new BadValue(`“${word}” is no number and no range such as 0-1 (+0.25) or 0-1 [5]`);
    return range(word, from, to, step, count);
  });
  if (values.length > MOST) throw new BadValue(`these are ${values.length} values, and at most ${MOST} fit on a side`);
  return values;
}

function whole(word, number) {
  if (!/^[+-]?\d+$/.test(number)) throw new BadValue(`“${word}” has a fraction, and only whole numbers fit here`);
  return BigInt(number.replace("+", ""));
}

/** Not more than can be made, and not none. @param {string} word @param {number} count */
function checked(word, count) {
  if (count > MOST) throw new BadValue(`“${word}” is ${count > 1e6 ? "more than a million" : count} values, and at most ${MOST} fit on a side`);
  if (count < 1) throw new BadValue(`“${word}” is no value at all: [ ] takes how many, from 1 on`);
  return count;
}

/** @param {number} sign of the step @param {number} way of the range */
function checkWay(word, sign, way) {
  if (sign === 0) throw new BadValue(`“${word}” goes nowhere: its step is 0`);
  if (way !== 0 && sign !== way) throw new BadValue(`“${word}” steps away from its end: turn the sign of its step`);
}

function decimals(word, from, to, step, count) {
  const [first, last] = [Number(from), Number(to)];
  const rounded = (value) => Number(value.toFixed(PLACES));
  if (count !== undefined) {
    const length = checked(word, Number(count));
    return Array.from({ length }, (_, i) => (length === 1 ? first : rounded(first + (last - first) * i / (length - 1))));
  }
  const by = step === undefined ? Math.sign(last - first) || 1 : Number(step);
  checkWay(word, Math.sign(by), Math.sign(last - first));
  const length = checked(word, Math.floor((last - first) / by + 1e-9) + 1);
  return Array.from({ length }, (_, i) => rounded(first + by * i));
}

const signOf = (big) => (big > 0n ? 1 : big < 0n ? -1 : 0);

function wholes(word, from, to, step, count) {
  const [first, last] = [whole(word, from), whole(word, to)];
  const way = signOf(last - first);
  if (count !== undefined) {
    const length = checked(word, Number(count));
    return Array.from({ length }, (_, i) => (length === 1 ? first : first + (last - first) * BigInt(i) / BigInt(length - 1)));
  }
  const by = step === undefined ? BigInt(way || 1) : whole(word, step);
  checkWay(word, signOf(by), way);
  const length = checked(word, Number((last - first) / by) + 1);
  return Array.from({ length }, (_, i) => first + by * BigInt(i));
}
