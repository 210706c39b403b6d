// What a seed makes of a prompt with choices (template.js): the same text for the same seed, template and lists.

import { Dice } from "./dice.js";
import { linesNamed } from "./lists.js";
import { readTemplate } from "./template.js";

/** Lists that name each other go no deeper, and draw no more: what is beyond stays as it stands. */
const DEEPEST = 20;
const MOST = 2000;
/** A sign that is in no tag and in no choice. */
const BLANK = ">";

/**
 * @typedef {object} Drawn
 * @property {string} text
 * @property {string[]} unknown   lists that aren't here, by name
 * @property {string[]} endless   lists that name themselves
 * @property {boolean} open       a brace isn't closed
 */

/**
 * @param {string} template
 * @param {string|number|bigint} seed
 * @param {import("./lists.js").Lists} lists
 * @param {bigint} [stream]   of a second prompt with the same seed
 * @returns {Drawn}
 */
export function draw(template, seed, lists, stream = 0n) {
  const { nodes, open } = readTemplate(template);
  const drawing = new Drawing(new Dice(seed, stream), lists);
  const text = drawing.text(nodes, 0);
  // an adapter's name may have such underscores too
  const words = text.replace(/<[^<>]*>/g, "");
  const unknown = [...drawing.unknown].filter((name) => words.includes(`__${name}__`));
  return { text, unknown, endless: [...drawing.endless], open };
}

class Drawing {
  #dice;
  #lists;
  #made = 0;
  /** @type {Set<string>} */
  unknown = new Set();
  /** @type {Set<string>} */
  endless = new Set();

  /** @param {Dice} dice @param {import("./lists.js").Lists} lists */
  constructor(dice, lists) {
    this.#dice = dice;
    this.#lists = lists;
  }

  /** @param {import("./template.js").Node[]} nodes @param {number} depth @returns {string} */
  text(nodes, depth) {
    return nodes.map((node) => (typeof node === "string" ? node : node.kind === "group" ? this.#group(node, depth) : this.#list(node, depth))).join("");
  }

  /** @param {import("./template.js").Group} group */
  #group({ options, ...group }, depth) {
    const [only] = options;
    const alone = options.length === 1 && only.nodes.length === 1 ? only.nodes[0] : null;
    // of a list alone, so many of its lines
    const isList = alone !== null && typeof alone !== "string" && alone.kind === "list";
    if (!isList) return this.#some(options, group, depth);
    const lines = this.#linesOf(alone, depth);
    return lines ? this.#some(lines, group, depth + 1) : alone.written;
  }

  /** @param {import("./template.js").Listed} list */
  #list(list, depth) {
    const lines = this.#linesOf(list, depth);
    return lines ? this.#some(lines, { least: 1, most: 1, joiner: "" }, depth + 1) : list.written;
  }

  /**
   * So many of them, each once, in the order in which they are drawn.
   * @param {readonly {weight: number, nodes: import("./template.js").Node[]}[]} options
   */
  #some(options, { least, most, joiner }, depth) {
    const [low, high] = [Math.min(least, options.length), Math.min(most, options.length)];
    const count = low < high ? this.#dice.whole(low, high) : low;
    const left = [...options];
    const taken = [];
    while (taken.length < count) {
      const index = left.length > 1 ? this.#dice.weighed(left.map(({ weight }) => weight)) : 0;
      taken.push(...left.splice(index, 1));
    }
    return taken.map(({ nodes }) => this.text(nodes, depth)).join(joiner);
  }

  /** @param {import("./template.js").Listed} list @returns {?import("./lists.js").Line[]} null: it stays as it stands */
  #linesOf({ name }, depth) {
    const lines = linesNamed(name, this.#lists);
    this.#made += 1;
    const ends = depth > DEEPEST || this.#made > MOST;
    if (lines.length > 0 && ends) this.endless.add(name);
    // words between underscores that are no name are nobody's list
    else if (lines.length === 0 && !/\s/.test(name)) this.unknown.add(name);
    return lines.length > 0 && !ends ? lines : null;
  }
}

/**
 * The template with its choices blanked, sign by sign: what stands outside of them, where it stood.
 * @param {string} template @param {import("./lists.js").Lists} lists
 */
export function outside(template, lists) {
  let text = template;
  for (const node of readTemplate(template).nodes) {
    if (typeof node === "string" || (node.kind === "list" && linesNamed(node.name, lists).length === 0)) continue;
    text = text.slice(0, node.from) + BLANK.repeat(node.to - node.from) + text.slice(node.to);
  }
  return text;
}

/** Whether anything is drawn. @param {string} template @param {import("./lists.js").Lists} lists */
export function hasChoices(template, lists) {
  return outside(template, lists) !== template;
}
