// What is said of the pictures that wait. Pure.

import { counted } from "./format.js";

/** More chips than these say nothing. */
const CHIPS = 12;

/**
 * @typedef {object} Chip
 * @property {string} id       of an entry, or of a group
 * @property {string} text
 * @property {string} name     as it stands in a sentence
 *
 * @typedef {object} Line
 * @property {string} words    nothing: there is nothing to say
 * @property {Chip[]} chips
 * @property {number} more     that have no chip
 * @property {boolean} stuck   it goes on when somebody says so
 */

/** @param {import("./queue.js").Entry} entry */
function chipOf({ id, job }) {
  const { prompt, seed } = job.settings;
  return { id: String(id), text: `${prompt || "no prompt"} · ${seed}`, name: `${prompt || "no prompt"}, seed ${seed}` };
}

/** One for each that waits, and one for all of a group. @param {readonly import("./queue.js").Entry[]} waiting @returns {Chip[]} */
export function chipsOf(waiting) {
  /** @type {Map<object, Chip & {count: number}>} */
  const groups = new Map();
  return waiting.flatMap((entry) => {
    if (!entry.group) return [chipOf(entry)];
    const known = groups.get(entry.group);
    if (known) {
      known.count += 1;
      known.text = `Sheet · ${known.count} left`;
      known.name = `the sheet, of which ${counted(known.count, "picture")} are left`;
      return [];
    }
    const chip = { id: `group ${entry.id}`, text: "Sheet · 1 left", name: "the sheet, of which a picture is left", count: 1 };
    groups.set(entry.group, chip);
    return [chip];
  });
}

/** Which entries a chip stands for. @param {readonly import("./queue.js").Entry[]} waiting @param {string} id */
export function behindChip(waiting, id) {
  const first = waiting.find((entry) => id === String(entry.id) || id === `group ${entry.id}`);
  if (!first) return () => false;
  return first.group ? ({ group }) => group === first.group : (entry) => entry === first;
}

/**
 * @param {import("./queue.js").State} state
 * @param {{training: boolean, broken: boolean, then: string}} page
 *   training: a run has the engine; broken: it broke again and again; then: what comes after them
 * @returns {Line}
 */
export function lineOf({ waiting, hand }, { training, broken, then }) {
  const chips = chipsOf(waiting);
  const [first] = chips;
  const count = `${counted(waiting.length, "picture")} ${waiting.length === 1 ? "waits" : "wait"}`;
  const stuck = broken && waiting.length > 0;
  const isSheet = first?.id.startsWith("group");
  const what = isSheet ? "" : `; next: ${first?.name}`;
  const why = stuck ? ": the engine broke twice in a row" : training ? " until the training run rests" : what;
  const line = waiting.length === 0 ? "" : `${count}${why}`;
  const after = hand || waiting.length > 0 ? then : "";
  const words = [line, after].filter(Boolean).join("; ");
  const shown = chips.slice(0, CHIPS);
  return { words: words.charAt(0).toUpperCase() + words.slice(1), chips: shown, more: chips.length - shown.length, stuck };
}
