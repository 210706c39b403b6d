// The fold of an adapter's card that spreads its strength: the UNet's blocks, drawn as the U that they are, with a factor
// each, and how the strength goes over a picture's steps.

import { BASE, PRESETS, acting, blocksOf, courseOf, curveOf, factorAt, isSame, listText, presetOf, within, wordsOf } from "../spread.js";
import { LISTS } from "../prompt/spread-words.js";

/** @typedef {import("../spread.js").Spread} Spread */

/** How often the drawing narrows on its way down. */
const LEVELS = 4;
const OTHER = "other";

export class SpreadFold {
  #fold;
  #of;
  #host;
  /** @type {Spread} */
  #spread = { blocks: {}, curve: [] };
  /** @type {string[]} */
  #names = [];
  /** As the fields have it: other places may come to the same curve. @type {?import("../spread.js").Course} */
  #course = courseOf([]);
  /** What it says is left alone meanwhile. @type {?HTMLInputElement} */
  #typedIn = null;

  /**
   * @param {HTMLDetailsElement} fold @param {string} of   the adapter's name
   * @param {{changed: (spread: Spread) => void, released: () => void}} host   released: a slider, after its last change
   */
  constructor(fold, of, host) {
    this.#fold = fold;
    this.#of = of;
    this.#host = host;
    const preset = this.#find(".spread-preset");
    preset.setAttribute("aria-label", `Blocks of ${of}`);
    preset.addEventListener("change", () => this.#takeList(preset.value));
    const list = this.#find(".spread-list");
    list.addEventListener("change", () => this.#takeList(list.value));
    this.#how.addEventListener("input", () => this.#takeCourse());
    for (const field of [this.#from, this.#to]) {
      field.addEventListener("input", () => this.#takeCourse(field));
      field.addEventListener("change", () => this.#writeCourse());
    }
    this.#find(".spread-reset").addEventListener("click", () => host.changed({ blocks: {}, curve: [] }));
  }

  /** @param {Spread} spread @param {string[]} names   the blocks that the adapter acts in */
  show(spread, names) {
    this.#spread = spread;
    if (!isSame(names, this.#names)) {
      this.#names = names;
      this.#build();
    }
    this.#fold.hidden = names.length === 0;
    const words = wordsOf(acting(spread, names));
    this.#find(".summary-line").textContent = words;
    this.#fold.classList.toggle("set", words !== "");
    this.#writeBlocks();
    if (!this.#course || !isSame(curveOf(this.#course), spread.curve)) this.#course = courseOf(spread.curve);
    this.#writeCourse();
  }

  // ---- blocks ------------------------------------------------------------------------------------

  /** A slider for each, where it lies in the U: what goes in at a size beside what comes out at that size. */
  #build() {
    // models have as many inputs as outputs: 12 (SD 1 and 2), 9, 6; adapters act in the first or the last of one of them
    const count = 1 + Math.max(0, ...this.#names.map((name) => Number(/^(?:IN|OUT)(\d+)$/.exec(name)?.[1] ?? 0)));
    const numbers = Array.from({ length: count }, (_, i) => i);
    const two = (number) => String(number).padStart(2, "0");
    const rows = numbers.map((i) => ({ level: Math.floor(LEVELS * i / count), in: `IN${two(i)}`, out: `OUT${two(count - 1 - i)}` }))
      .filter((row) => [row.in, row.out].some((name) => this.#names.includes(name)));
    const top = this.#names.includes(BASE) ? 2 : 1;
    const place = (name, side, row, level = 0) => {
      if (!this.#names.includes(name)) return [];
      const block = this.#slider(name, side);
      block.style.setProperty("--row", String(row));
      block.style.setProperty("--level", String(level));
      return [block];
    };
    const blocks = this.#find(".spread-blocks");
    blocks.style.setProperty("--top", String(top));
    blocks.style.setProperty("--bottom", String(top + rows.length));
    blocks.classList.toggle("no-unet", rows.length === 0);
    blocks.replaceChildren(
      ...place(BASE, "base", 1),
      ...rows.flatMap((row, i) => place(row.in, "in", top + i, row.level)),
      ...place("M00", "middle", top + rows.length),
      // from the deepest, as the picture goes through them
      ...rows.flatMap((row, i) => place(row.out, "out", top + i, row.level)).reverse(),
    );
    this.#find(".spread-steps").hidden = this.#names.every((name) => name === BASE);
    const presets = PRESETS.filter(({ name }) => name !== "ALL" || this.#isPart(name));
    const options = presets.map(({ name, about }) => [name, `${about[0].toUpperCase()}${about.slice(1)} (${name})`]);
    this.#find(".spread-preset").replaceChildren(...[["", "All blocks"], ...options, [OTHER, "By hand"]].map(([value, text]) => new Option(text, value)));
    this.#find(".spread-preset").lastElementChild.hidden = true;
  }

  /** Whether a preset leaves out some of the adapter's blocks. */
  #isPart(name) {
    return Object.keys(within(/** @type {Spread["blocks"]} */ (blocksOf(name)), this.#names)).length > 0;
  }

  #slider(name, side) {
    const block = Object.assign(document.createElement("label"), { className: "spread-block" });
    Object.assign(block.dataset, { block: name, side });
    const slider = Object.assign(document.createElement("input"), { type: "range", min: "-1", max: "2", step: "0.05" });
    slider.setAttribute("aria-label", `${name === BASE ? "Text encoder" : name} of ${this.#of}`);
    const set = (factor) => this.#host.changed({ ...this.#spread, blocks: { ...this.#spread.blocks, [name]: factor } });
    slider.addEventListener("input", () => set(slider.valueAsNumber));
    slider.addEventListener("dblclick", () => set(1));
    slider.addEventListener("pointerup", () => this.#host.released());
    const words = Object.assign(document.createElement("span"), { textContent: name === BASE ? "Text encoder (BASE)" : name });
    block.append(words, document.createElement("output"), slider);
    return block;
  }

  #writeBlocks() {
    const { blocks } = this.#spread;
    for (const block of this.#find(".spread-blocks").children) {
      const factor = blocks[block.dataset.block] ?? 1;
      const slider = block.querySelector("input");
      if (slider.valueAsNumber !== factor) slider.value = String(factor);
      slider.setAttribute("aria-valuetext", String(factor));
      block.querySelector("output").value = factor.toFixed(2);
      block.style.setProperty("--factor", String(Math.min(1, Math.abs(factor) / 2)));
    }
    const all = Object.fromEntries(this.#names.map((name) => [name, blocks[name] ?? 1]));
    const acts = within(blocks, this.#names);
    this.#find(".spread-preset").value = Object.keys(acts).length === 0 ? "" : presetOf(acts) ?? OTHER;
    this.#find(".spread-list").value = listText(all);
    this.#tellWrong("");
  }

  /** @param {string} words   none: all are 1 */
  #takeList(words) {
    const blocks = words.trim() === "" ? {} : blocksOf(words);
    if (blocks) this.#host.changed({ ...this.#spread, blocks });
    else this.#tellWrong(`This is no list of blocks. ${LISTS}.`);
  }

  #tellWrong(words) {
    this.#find(".spread-wrong").textContent = words;
    this.#find(".spread-list").setAttribute("aria-invalid", String(words !== ""));
  }

  // ---- steps -------------------------------------------------------------------------------------

  get #how() { return this.#find(".spread-how"); }

  get #from() { return this.#find(".spread-from"); }

  get #to() { return this.#find(".spread-to"); }

  /** From the fields; half a number is none. @param {?HTMLInputElement} [typedIn] */
  #takeCourse(typedIn = null) {
    const how = this.#how.value;
    const [from, to] = [this.#from, this.#to].map((field) => Math.min(100, Math.max(0, field.valueAsNumber)) / 100);
    if (how === OTHER || Number.isNaN(from + to)) return;
    this.#typedIn = typedIn;
    this.#course = { how, from, to: Math.max(from, to) };
    this.#host.changed({ ...this.#spread, curve: curveOf(this.#course) });
    this.#typedIn = null;
  }

  #writeCourse() {
    const { how, from, to } = this.#course ?? { how: OTHER, from: 0, to: 1 };
    this.#how.value = how;
    this.#how.lastElementChild.hidden = how !== OTHER;
    for (const [field, value] of [[this.#from, from], [this.#to, to]]) {
      field.disabled = how === OTHER;
      if (field !== this.#typedIn) field.value = String(Math.round(1000 * value) / 10);
    }
    this.#find("polyline").setAttribute("points", plotted(this.#spread.curve));
  }

  /** @param {string} selector @returns {any} */
  #find(selector) {
    return this.#fold.querySelector(selector);
  }
}

/** Its points in a drawing of 100 by 40, of factors from 0 to 1, or as far as it goes. @param {Spread["curve"]} curve */
function plotted(curve) {
  const points = [[0, factorAt(curve, 0)], ...curve, [1, curve.at(-1)?.[1] ?? 1]];
  const factors = points.map(([, factor]) => factor);
  const [low, high] = [Math.min(0, ...factors), Math.max(1, ...factors)];
  return points.map(([at, factor]) => `${100 * at},${36 - 32 * (factor - low) / (high - low)}`).join(" ");
}
