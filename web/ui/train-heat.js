// Inside the adapter: how much each layer changed, by block, and what the last evaluation found. To a screen reader the
// map is a slider over the layers, as train-plot.js' is over the steps.

import { findings, number, percent } from "../train/log.js";

const BLOCKS = [["down", "way down"], ["mid", "middle"], ["up", "way up"]];
const BANDS = ["texture", "form", "composition"];

export class TrainHeat {
  #panel = document.querySelector("#inside-panel");
  #findings = document.querySelector("#findings");
  #bands = document.querySelector("#bands");
  #heat = document.querySelector("#heat");
  #readout = document.querySelector("#heat-readout");
  #note = document.querySelector("#inside-note");
  /** @type {{path: string, ratio: number, cell: HTMLElement}[]} */
  #cells = [];
  #cursor = -1;
  /** What is said when no layer is pointed at. */
  #rest = "";

  constructor() {
    this.#heat.addEventListener("pointerover", ({ target }) => this.#point(this.#cells.findIndex(({ cell }) => cell === target)));
    this.#heat.addEventListener("pointerleave", () => this.#point(-1));
    this.#heat.addEventListener("blur", () => this.#point(-1));
    this.#heat.addEventListener("keydown", (event) => {
      const last = this.#cells.length - 1;
      const at = this.#cursor;
      const to = {
        ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1, PageUp: at - 10, PageDown: at + 10, Home: 0, End: last,
      }[event.key];
      if (to === undefined || last < 0) return;
      event.preventDefault();
      this.#point(Math.min(last, Math.max(0, to)));
    });
  }

  /** @param {?import("../protocol.js").Evaluation} evaluation */
  show(evaluation) {
    this.#panel.hidden = !evaluation;
    if (!evaluation) return;
    this.#note.textContent = `at step ${evaluation.step}`;
    this.#findings.replaceChildren(...findings(evaluation).map(({ text, warn }) => {
      const item = document.createElement("li");
      item.textContent = text;
      item.classList.toggle("warn", Boolean(warn));
      return item;
    }));
    this.#showBands(evaluation.bands ?? []);
    this.#showHeat(evaluation.heat ?? []);
  }

  #showBands(bands) {
    this.#bands.hidden = bands.length === 0;
    this.#bands.replaceChildren(...bands.map(({ from, to, ratio }, i) => {
      const row = document.createElement("div");
      const name = bands.length === BANDS.length ? BANDS[i] : "loss";
      const words = Object.assign(document.createElement("span"), { textContent: name, title: `timesteps ${from} to ${to}` });
      const range = Object.assign(document.createElement("small"), { textContent: `t ${from}–${to}` });
      const bar = document.createElement("i");
      bar.style.setProperty("--part", Math.min(1, ratio));
      const value = Object.assign(document.createElement("output"), { textContent: percent(ratio) });
      row.append(words, range, bar, value);
      return row;
    }));
  }

  #showHeat(heat) {
    const highest = Math.max(...heat.map(({ ratio }) => ratio), 1e-12);
    this.#cells = [];
    this.#cursor = -1;
    this.#heat.replaceChildren(...BLOCKS.map(([block, words]) => {
      const inside = heat.filter(({ path }) => path.startsWith(block));
      if (inside.length === 0) return "";
      const column = document.createElement("div");
      column.className = "heat-block";
      const title = document.createElement("b");
      title.textContent = words;
      column.append(title);
      for (const [part, modules] of grouped(inside)) {
        const row = document.createElement("div");
        row.className = "heat-row";
        row.dataset.part = part;
        for (const { path, ratio } of modules) {
          const cell = document.createElement("i");
          cell.style.setProperty("--heat", Math.sqrt(ratio / highest).toFixed(3));
          cell.title = `${path}: ${number(ratio)}`;
          row.append(cell);
          this.#cells.push({ path, ratio, cell });
        }
        column.append(row);
      }
      return column;
    }));
    const most = heat.reduce((a, b) => (b.ratio > (a?.ratio ?? -1) ? b : a), null);
    this.#heat.setAttribute("aria-label", most ? `Change of ${heat.length} layers` : "No layer yet");
    this.#heat.setAttribute("aria-valuemax", this.#cells.length);
    this.#rest = most ? `most: ${most.path} ${number(most.ratio)}` : "";
    this.#tell(this.#rest);
  }

  #point(index) {
    if (index === this.#cursor) return;
    this.#cells[this.#cursor]?.cell.classList.remove("at");
    this.#cursor = index;
    const at = this.#cells[index];
    at?.cell.classList.add("at");
    this.#tell(at ? `${at.path} ${number(at.ratio)}` : this.#rest);
  }

  #tell(words) {
    this.#readout.textContent = words;
    this.#heat.setAttribute("aria-valuenow", this.#cursor + 1);
    this.#heat.setAttribute("aria-valuetext", words);
  }
}

/** Down to the block's attention or residual layer. */
function partOf(path) {
  return path.split(".").slice(0, path.startsWith("mid") ? 3 : 4).join(".");
}

function grouped(modules) {
  const groups = new Map();
  for (const module of modules) groups.set(partOf(module.path), [...groups.get(partOf(module.path)) ?? [], module]);
  return groups;
}
