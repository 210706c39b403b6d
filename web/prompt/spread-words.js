// The words of a tag that spread an adapter's strength, as sd-webui-lora-block-weight writes them: lbw=, start=, stop=.
// src/adapters/spread.rs (`Spread::of_tag`) reads them alike.

import { blocksOf, factorAt, isSame, jump, listText, presetOf } from "../spread.js";

/**
 * @typedef {import("../spread.js").Spread} Spread
 * @typedef {{lbw?: string, start?: string, stop?: string}} Words   as they stand in the tag
 *
 * @typedef {object} Said
 * @property {?Spread["blocks"]} blocks   null: it doesn't say, or what it says can't be read
 * @property {?Spread["curve"]} curve     the same
 * @property {{problem: string, remedy: string}[]} wrong   what can't be read, and what could be
 */

export const LISTS = "Write 17 numbers from -10 to 10, or 26 (SDXL: 12 or 20), or one of NONE, ALL, INS, IND, INALL, MIDD, OUTD, OUTS, OUTALL";
const MOST_SHOWN = 80;

/** @param {Words} words @param {number} steps of the picture @returns {Said} */
export function saidBy({ lbw, start, stop }, steps) {
  const wrong = [];
  const blocks = lbw === undefined ? null : blocksOf(lbw);
  if (lbw !== undefined && !blocks) wrong.push({ problem: `lbw: ${shown(lbw)} is no list of blocks`, remedy: LISTS });
  return { blocks, curve: curveSaid(start, stop, steps, wrong), wrong };
}

/**
 * `start` is the first step that it acts in, and `stop` the first in which it no longer does, from 1.
 * @returns {?Spread["curve"]}
 */
function curveSaid(start, stop, steps, wrong) {
  if (start === undefined && stop === undefined) return null;
  const [first, last] = Object.entries({ start, stop }).map(([name, word]) => {
    if (word === undefined) return null;
    const isStep = /^\+?\d+$/.test(word.trim()) && Number(word) > 0 && Number(word) < 2 ** 32;
    if (!isStep) wrong.push({ problem: `${name}: ${shown(word)} is no step`, remedy: "Write a number from 1, as in start=3" });
    return isStep ? (Number(word) - 1) / (steps || 1) : Number.NaN;
  });
  if (Number.isNaN(first) || Number.isNaN(last)) return null;
  /** @type {Spread["curve"]} */
  const curve = first !== null && first > 0 ? jump(Math.min(1, first), 0, 1) : [];
  if (last === null || last > 1) return curve;
  return first !== null && last <= first ? [[0, 0]] : [...curve, ...jump(last, 1, 0)];
}

/**
 * The words that say this; what they can't say is left out: a curve that isn't 1 between two steps and 0 elsewhere.
 * @param {?Spread|undefined} spread   that acts @param {number} steps @param {boolean} [byName]   lists that have one by their names
 * @returns {string} ":lbw=OUTS:start=3"
 */
export function wordsFor(spread, steps, byName = false) {
  if (!spread) return "";
  const { blocks, curve } = spread;
  const list = Object.keys(blocks).length > 0 ? (byName && presetOf(blocks)) || listText(blocks) : "";
  return [list && `:lbw=${list}`, ...stepWords(curve, steps)].filter(Boolean).join("");
}

/** @param {Spread["curve"]} curve @param {number} steps @returns {string[]} */
function stepWords(curve, steps) {
  const factors = factorsOf(curve, steps);
  const first = factors.indexOf(1);
  if (first < 0) return factors.every((factor) => factor === 0) ? [":start=2:stop=1"] : [];
  const off = factors.indexOf(0, first);
  const isSaid = factors.every((factor, step) => factor === (step >= first && (off < 0 || step < off) ? 1 : 0));
  return isSaid ? [...first > 0 ? [`:start=${first + 1}`] : [], ...off > 0 ? [`:stop=${off + 1}`] : []] : [];
}

/** Whether two curves come to the same in a picture of so many steps. @param {Spread["curve"]} one @param {Spread["curve"]} other */
export function isSameIn(one, other, steps) {
  return isSame(factorsOf(one, steps), factorsOf(other, steps));
}

/** In each step, as the engine has it, whose numbers are of 32 bits. @param {Spread["curve"]} curve @param {number} steps */
function factorsOf(curve, steps) {
  const points = curve.map(([at, factor]) => /** @type {[number, number]} */ ([Math.fround(at), Math.fround(factor)]));
  return Array.from({ length: steps || 1 }, (_, step) => Math.fround(factorAt(points, Math.fround(step / (steps || 1)))));
}

function shown(word) {
  return `“${word.length > MOST_SHOWN ? `${word.slice(0, MOST_SHOWN)}…` : word}”`;
}
