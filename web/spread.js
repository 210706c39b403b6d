// How an adapter's strength is spread over the model's blocks and over a picture's steps: the rules of
// src/adapters/spread.rs, and what is said of it. Pure.

/**
 * Factors of the strength, by block and by how much of the steps is done.
 * @typedef {object} Spread
 * @property {Record<string, number>} blocks   by name: BASE (the text encoder), IN00 to IN11, M00, OUT00 to OUT11; what isn't named has 1
 * @property {[number, number][]} curve        points [part of the steps done, factor] in order, of the UNet's strength: straight lines
 *   between them, the first's and the last's factor before and after, two at one place are a jump; none: 1 all along
 *
 * @typedef {object} Powers   how strong an adapter is, and where and when
 * @property {number} unet
 * @property {number} textEncoder
 * @property {Spread} [spread]   absent: everywhere the same
 *
 * @typedef {"at-once"|"in"|"out"|"both"} How  at once: it acts between the two places alone; in: it rises between them; out: it falls;
 *   both: it rises up to the middle and falls again
 * @typedef {{how: How, from: number, to: number}} Course   from and to: parts of the steps
 */

export const BASE = "BASE";
/** What a factor may be. */
export const MOST = 10;

const two = (number) => String(number).padStart(2, "0");
const inputs = (...numbers) => numbers.map((number) => `IN${two(number)}`);
const outputs = (first, end) => Array.from({ length: end - first }, (_, i) => `OUT${two(first + i)}`);
const ALL_INPUTS = inputs(...Array.from({ length: 12 }, (_, i) => i));

/** The blocks that a list of so many numbers is of: sd-webui-lora-block-weight, BLOCKID12 to BLOCKID26. @type {Record<number, string[]>} */
const LISTED = {
  12: [BASE, ...inputs(4, 5, 7, 8), "M00", ...outputs(0, 6)],
  17: [BASE, ...inputs(1, 2, 4, 5, 7, 8), "M00", ...outputs(3, 12)],
  20: [BASE, ...ALL_INPUTS.slice(0, 9), "M00", ...outputs(0, 9)],
  26: [BASE, ...ALL_INPUTS, "M00", ...outputs(0, 12)],
};

/** Lists with names, of 17: which of them are 1, as `lbwpresets.txt` has them; what they are in words. */
export const PRESETS = [
  { name: "NONE", ones: [], about: "none" },
  { name: "ALL", ones: [...LISTED[17].keys()], about: "all with attention" },
  { name: "INALL", ones: [0, 1, 2, 3, 4, 5, 6], about: "way in" },
  { name: "INS", ones: [0, 1, 2, 3], about: "way in, first half" },
  { name: "IND", ones: [0, 4, 5, 6], about: "way in, second half" },
  { name: "MIDD", ones: [0, 4, 5, 6, 7, 8, 9, 10, 11], about: "around the middle" },
  { name: "OUTALL", ones: [0, 8, 9, 10, 11, 12, 13, 14, 15, 16], about: "way out" },
  { name: "OUTD", ones: [0, 8, 9, 10, 11], about: "way out, first half" },
  { name: "OUTS", ones: [0, 12, 13, 14, 15, 16], about: "way out, second half" },
];

// ---- lists of blocks ------------------------------------------------------------------------------

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** @param {string} text @returns {?number} null: it is none, as A1111 reads numbers */
export function numberOf(text) {
  const value = NUMBER.test(text.trim()) ? Number(text) : Number.NaN;
  return Number.isFinite(value) ? value : null;
}

/**
 * A list of 12, 17, 20 or 26 numbers, or a preset's name: what it leaves out has 0.
 * @param {string} words @returns {?Spread["blocks"]} null: it is no such list
 */
export function blocksOf(words) {
  const name = words.trim().toUpperCase();
  const preset = PRESETS.find((one) => one.name === name);
  const numbers = preset ? LISTED[17].map((_, i) => Number(preset.ones.includes(i))) : words.split(",").map(numberOf);
  const names = LISTED[numbers.length];
  if (!names || numbers.some((number) => number === null || Math.abs(number) > MOST)) return null;
  const said = names.map((block, i) => [block, numbers[i]]);
  return Object.fromEntries([...LISTED[26].map((block) => [block, 0]), ...said]);
}

/** As such a list: of 17 where that says all, else of 26. @param {Spread["blocks"]} blocks   all that the adapter acts in */
export function listText(blocks) {
  const isSaid = Object.entries(blocks).every(([name, factor]) => factor === 0 || LISTED[17].includes(name));
  return LISTED[isSaid ? 17 : 26].map((name) => blocks[name] ?? 1).join(",");
}

/** The preset that comes to this in an adapter that acts in these blocks. @param {Spread["blocks"]} blocks @returns {?string} */
export function presetOf(blocks) {
  const isIt = ({ name }) => isSame(blocks, within(/** @type {Spread["blocks"]} */ (blocksOf(name)), Object.keys(blocks)));
  return Object.keys(blocks).length > 0 ? PRESETS.find(isIt)?.name ?? null : null;
}

// ---- the curve ------------------------------------------------------------------------------------

/** The curve's factor where this part of the steps is done. @param {Spread["curve"]} curve @param {number} done */
export function factorAt(curve, done) {
  // of a jump, what comes after it
  const next = curve.findIndex(([at]) => at > done);
  if (next < 0) return curve.at(-1)?.[1] ?? 1;
  const [to, end] = curve[next];
  if (next === 0) return end;
  const [from, begin] = curve[next - 1];
  return begin + (end - begin) * (done - from) / (to - from);
}

/** @param {Course} course @returns {Spread["curve"]} */
export function curveOf({ how, from, to }) {
  if (how === "in") return [[from, 0], [to, 1]];
  if (how === "out") return [[from, 1], [to, 0]];
  if (how === "both") return [[from, 0], [(from + to) / 2, 1], [to, 0]];
  if (to <= from) return [[0, 0]];
  return [...from > 0 ? jump(from, 0, 1) : [], ...to < 1 ? jump(to, 1, 0) : []];
}

/** @param {number} at @param {number} before @param {number} after @returns {[number, number][]} */
export const jump = (at, before, after) => [[at, before], [at, after]];

/** @param {Spread["curve"]} curve @returns {?Course} null: it is another one than these */
export function courseOf(curve) {
  const places = curve.map(([at]) => at);
  const [first = 0, last = 1] = [places[0], places.at(-1)];
  const ends = [{ from: first, to: last }, { from: first, to: 1 }, { from: 0, to: last }, { from: 0, to: 0 }];
  const courses = ["at-once", "in", "out", "both"].flatMap((how) => ends.map((end) => ({ how: /** @type {How} */ (how), ...end })));
  return courses.find((course) => isSame(curveOf(course), curve)) ?? null;
}

// ---- both -----------------------------------------------------------------------------------------

/** @param {any} one @param {any} other both of numbers, in the same order */
export const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** @param {Spread["blocks"]} blocks @param {string[]} names @returns {Spread["blocks"]} of these alone, each with its factor */
export function within(blocks, names) {
  const factors = names.toSorted().map((name) => /** @type {[string, number]} */ ([name, blocks[name] ?? 1]));
  return factors.some(([, factor]) => factor !== 1) ? Object.fromEntries(factors) : {};
}

/**
 * What of it acts: spreads that mean the same of an adapter are the same then, and a list of its blocks can be made of it.
 * @param {Spread} spread @param {string[]} names the blocks that the adapter acts in
 * @returns {?Spread} null: none, its strength is the same everywhere
 */
export function acting({ blocks, curve }, names) {
  const hasUnet = names.some((name) => name !== BASE);
  const kept = { blocks: within(blocks, names), curve: hasUnet && curve.some(([, factor]) => factor !== 1) ? curve : [] };
  return Object.keys(kept.blocks).length + kept.curve.length > 0 ? kept : null;
}

/** What may be an adapter's spread, of a text that anybody could have written. @param {any} value @returns {?Spread} */
export function checked(value) {
  if (typeof value !== "object" || value === null) return null;
  const { blocks = {}, curve = [] } = value;
  const isFactor = (factor) => typeof factor === "number" && Math.abs(factor) <= MOST;
  const isPair = (point) => Array.isArray(point) && point.length === 2 && typeof point[0] === "number" && isFactor(point[1]);
  const isPoint = (point, i) => isPair(point) && point[0] >= (curve[i - 1]?.[0] ?? 0) && point[0] <= 1;
  if (typeof blocks !== "object" || blocks === null || !Array.isArray(curve)) return null;
  const isRight = Object.entries(blocks).every(([name, factor]) => LISTED[26].includes(name) && isFactor(factor)) && curve.every(isPoint);
  return isRight ? { blocks, curve } : null;
}

// ---- in words -------------------------------------------------------------------------------------

const SIDES = { "text encoder": /^BASE/, IN: /^IN/, middle: /^M/, OUT: /^OUT/ };
const percent = (part) => Math.round(1000 * part) / 10;

/** @param {?Spread} spread that acts; null: none @returns {string} "OUT blocks · steps 10–60 %" */
export function wordsOf(spread) {
  return spread ? [blocksText(spread.blocks), curveText(spread.curve)].filter(Boolean).join(" · ") : "";
}

/** @param {Spread["blocks"]} blocks */
function blocksText(blocks) {
  const factors = Object.entries(blocks);
  if (factors.length === 0) return "";
  const ofSide = (isIts) => factors.filter(([block]) => isIts.test(block)).map(([, factor]) => factor);
  const sides = Object.entries(SIDES).map(([name, isIts]) => ({ name, own: ofSide(isIts) })).filter(({ own }) => own.length > 0);
  if (factors.every(([, factor]) => factor === 0)) return "no blocks";
  const changed = factors.filter(([, factor]) => factor !== 1);
  if (changed.length <= 2) return changed.map(([block, factor]) => `${block === BASE ? "text encoder" : block} ${factor}`).join(", ");
  if (sides.every(({ own }) => own.every((factor) => factor === own[0] && [0, 1].includes(factor)))) {
    const on = sides.filter(({ own }) => own[0] === 1).map(({ name }) => name);
    const unet = on.filter((name) => name !== "text encoder");
    return [unet.length > 0 && `${unet.join(" and ")} blocks`, on.includes("text encoder") && "text encoder"].filter(Boolean).join(", ");
  }
  const preset = presetOf(blocks);
  return preset ? `${preset} blocks` : `${changed.length} of ${factors.length} blocks changed`;
}

/** @param {Spread["curve"]} curve */
function curveText(curve) {
  if (curve.length === 0) return "";
  const course = courseOf(curve);
  if (!course) return "a curve over the steps";
  const { how, from, to } = course;
  if (how === "at-once" && to <= from) return "no steps";
  const range = `${percent(from)}–${percent(to)} %`;
  return { "at-once": `steps ${range}`, in: `rising, steps ${range}`, out: `falling, steps ${range}`, both: `rising and falling, steps ${range}` }[how];
}
