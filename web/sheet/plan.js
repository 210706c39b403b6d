// A sheet before it is drawn: its cells, what is wrong with its axes, how many pictures it takes and how long. Pure.

import { about, counted } from "../format.js";
import { sizeAfter } from "../hires.js";
import { fingerprint } from "../pictures.js";
import { stepsMade } from "../start/steps.js";
import { BadValue } from "./values.js";

/** Pixels of one sheet: a quarter of a gigabyte. */
const MOST_PIXELS = 64e6;
const NONE = Object.freeze({ label: "", put: (draft) => draft });

/**
 * @typedef {{axis: ?import("./axes.js").Axis, text: string}} Side   no axis: one value, that of the page
 *
 * @typedef {object} Cell
 * @property {number} column
 * @property {number} row
 * @property {number} block    of those below one another
 * @property {string} key      its picture's fingerprint
 * @property {import("../pictures.js").Job} job
 *
 * @typedef {object} Plan
 * @property {{title: string, values: import("./axes.js").Value[]}} x
 * @property {{title: string, values: import("./axes.js").Value[]}} y
 * @property {{title: string, values: import("./axes.js").Value[]}} z   each value has a block of its own
 * @property {Cell[]} cells    row by row, block by block
 * @property {import("../pictures.js").Job} job  what all have in common, as the page has it
 */

/** @param {Side} side @param {string} place @returns {import("./axes.js").Value[]} */
function valuesOf({ axis, text }, place) {
  if (!axis) return [NONE];
  return named(`${place}, ${axis.label}`, () => {
    const values = axis.read(text);
    if (values.length === 0) throw new BadValue(`there is no value. Write some with commas between them${axis.example ? `, such as ${axis.example}` : ""}`);
    return values;
  });
}

/** What is wrong, with where it is. @template T @param {string} place @param {() => T} work @returns {T} */
function named(place, work) {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof BadValue)) throw error;
    throw new BadValue(`${place}: ${error.message}.`);
  }
}

/** Sides whose axes can't stand beside each other. @param {[string, Side][]} sides */
function checkPairs(sides) {
  sides.forEach(([place, { axis }], i) => sides.slice(i + 1).forEach(([otherPlace, { axis: other }]) => {
    if (!axis || !other) return;
    if (axis.id === other.id) throw new BadValue(`${place} and ${otherPlace.toLowerCase()} are both ${axis.label}: choose another one for one of them.`);
    if (axis.rank === 0 && other.rank === 0) throw new BadValue(`${axis.label} and ${other.label} both say which adapter is on: choose another one for one of them.`);
  }));
}

/**
 * @param {{x: Side, y: Side, z?: Side}} sides   across, down, and in blocks below one another
 * @param {import("./axes.js").Page} page
 * @returns {Plan}
 * @throws {BadValue} what is wrong, by name
 */
export function planOf({ x, y, z = { axis: null, text: "" } }, page) {
  const [columns, rows, blocks] = [valuesOf(x, "Across"), valuesOf(y, "Down"), valuesOf(z, "Blocks")];
  if (!x.axis && !y.axis) throw new BadValue("Choose what changes across, or down.");
  checkPairs([["Across", x], ["Down", y], ["Blocks", z]]);
  const { width, height } = sizeAfter(page.job.settings, page.job.settings.hires);
  const pixels = columns.length * rows.length * blocks.length * width * height;
  const count = [columns, rows, ...(z.axis ? [blocks] : [])].map((values) => values.length).join(" × ");
  if (pixels > MOST_PIXELS) throw new BadValue(`${count} pictures of ${width}×${height} are ${Math.round(pixels / 1e6)} megapixels, and a sheet holds ${MOST_PIXELS / 1e6}: take fewer values, or a smaller size.`);
  const first = { job: page.job, cards: page.cards.filter(({ isOn }) => isOn) };
  const cells = blocks.flatMap((below, block) => rows.flatMap((down, row) => columns.map((across, column) => {
    const parts = [{ side: x, value: across, place: "Across" }, { side: y, value: down, place: "Down" }, { side: z, value: below, place: "Blocks" }];
    parts.sort((a, b) => (a.side.axis?.rank ?? 0) - (b.side.axis?.rank ?? 0));
    const draft = parts.reduce((draft, { side, value, place }) => named(`${place}, ${side.axis?.label}`, () => value.put(draft)), first);
    const job = page.drawn(draft.job, (handle) => Boolean(draft.mayBeNone || draft.set?.includes(handle)));
    return { column, row, block, key: fingerprint(job), job };
  })));
  const titled = (side, values) => ({ title: side.axis?.label ?? "", values });
  return { x: titled(x, columns), y: titled(y, rows), z: titled(z, blocks), cells, job: page.job };
}

/** How much work a picture is, to compare it with another. @param {import("../pictures.js").Job} job */
function workOf({ settings: { steps, start, hires, width, height, guidance } }) {
  const second = hires ? (hires.steps || steps) * hires.scale ** 2 : 0;
  const made = start ? stepsMade(start.strength, steps, start.exactSteps) : steps + second;
  return made * width * height * (guidance > 1 ? 2 : 1);
}

/**
 * What it takes, in words.
 * @param {Plan} plan
 * @param {(job: import("../pictures.js").Job) => boolean} isKnown
 * @param {?import("../pictures.js").Picture} last   the picture drawn last
 */
export function costOf({ cells }, isKnown, last) {
  const different = [...new Map(cells.map((cell) => [cell.key, cell])).values()];
  const fresh = different.filter(({ job }) => !isKnown(job));
  const known = different.length - fresh.length;
  const seconds = last ? fresh.reduce((sum, { job }) => sum + last.seconds * workOf(job) / workOf(last.job), 0) : 0;
  if (fresh.length === 0) return `${counted(cells.length, "picture")}, all in memory: there is nothing to draw`;
  const time = last ? `about ${about(seconds)}` : "how long isn’t known before a picture was drawn";
  return [counted(cells.length, "picture"), known > 0 && `${known} of them ${known === 1 ? "is" : "are"} in memory`, time].filter(Boolean).join(", ");
}
