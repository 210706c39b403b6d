// The dialog of a sheet: its axes, what it takes, and the sheet itself, each cell a button.

import { roving } from "./roving.js";
import { SheetCanvas } from "./sheet-canvas.js";

/** Cells are not shown smaller than this; the sheet scrolls then. */
const LEAST = 72;

/** What an axis is called that isn't there. */
const NOTHING = ["", "nothing: one row", "nothing"];

/** Events: "open", "changed", "draw", "stop", "save", "restore" {index}. */
export class SheetDialog extends EventTarget {
  #dialog = document.querySelector("#sheet-dialog");
  #form = document.querySelector("#sheet-form");
  #figure = document.querySelector("#sheet-figure");
  #cells = document.querySelector("#sheet-cells");
  #cost = document.querySelector("#sheet-cost");
  #problem = document.querySelector("#sheet-problem");
  #status = document.querySelector("#sheet-status");
  #draw = document.querySelector("#sheet-draw");
  #sides = {
    x: { axis: document.querySelector("#sheet-x"), values: document.querySelector("#sheet-x-values") },
    y: { axis: document.querySelector("#sheet-y"), values: document.querySelector("#sheet-y-values") },
    z: { axis: document.querySelector("#sheet-z"), values: document.querySelector("#sheet-z-values") },
  };
  /** What was typed for each axis. @type {Map<string, string>} */
  #typed = new Map();
  /** @type {{id: string, example: string}[]} */
  #axes = [];
  sheet = new SheetCanvas(document.querySelector("#sheet-canvas"));

  constructor() {
    super();
    roving(this.#cells);
    for (const id of ["#sheet-open", "#sheet-strengths"]) document.querySelector(id).addEventListener("click", () => this.#emit("open"));
    for (const side of Object.values(this.#sides)) {
      side.axis.addEventListener("change", () => {
        this.#fill(side);
        this.#emit("changed");
      });
      side.values.addEventListener("input", () => {
        this.#typed.set(side.axis.value, side.values.value);
        this.#emit("changed");
      });
    }
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#draw.disabled && !this.#draw.hidden) this.#emit("draw");
    });
    document.querySelector("#sheet-stop").addEventListener("click", () => this.#emit("stop"));
    document.querySelector("#sheet-save").addEventListener("click", () => this.#emit("save"));
    document.querySelector("#sheet-close").addEventListener("click", () => this.close());
  }

  open() {
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  close() {
    this.#dialog.close();
  }

  get isOpen() { return this.#dialog.open; }

  /**
   * @param {{id: string, label: string, example: string}[]} axes
   * @param {[string, string, string]} first   to begin with: across, down, blocks
   */
  setAxes(axes, first) {
    this.#axes = axes;
    Object.values(this.#sides).forEach((side, i) => {
      const before = side.axis.value;
      const options = axes.map(({ id, label }) => new Option(label, id));
      side.axis.replaceChildren(...options, ...(i > 0 ? [new Option(NOTHING[i], "")] : []));
      const isThere = before && axes.some(({ id }) => id === before);
      side.axis.value = isThere ? before : first[i];
      this.#fill(side);
    });
  }

  #fill({ axis, values }) {
    const { id, example = "" } = this.#axes.find((one) => one.id === axis.value) ?? { id: "" };
    values.value = this.#typed.get(id) ?? example;
    values.disabled = id === "";
  }

  /** @returns {Record<"x"|"y"|"z", {id: string, text: string}>} */
  get wish() {
    const of = ({ axis, values }) => ({ id: axis.value, text: values.value });
    const { x, y, z } = this.#sides;
    return { x: of(x), y: of(y), z: of(z) };
  }

  /** @param {{cost?: string, problem?: string}} told */
  tell({ cost = "", problem = "" }) {
    this.#cost.textContent = cost;
    this.#problem.textContent = problem;
    this.#problem.hidden = !problem;
    this.#draw.disabled = Boolean(problem);
  }

  status(words) {
    if (this.#status.textContent !== words) this.#status.textContent = words;
  }

  running(on) {
    this.#draw.hidden = on;
    document.querySelector("#sheet-stop").hidden = !on;
  }

  setSavable(on) {
    document.querySelector("#sheet-save").disabled = !on;
  }

  /**
   * An empty sheet.
   * @param {import("../sheet/layout.js").Layout} layout
   * @param {{width: number, height: number}} cell
   * @param {string[]} names   of its cells, for whoever doesn't see it
   * @param {string} about
   */
  begin(layout, cell, names, about) {
    this.sheet.begin(layout, cell);
    this.sheet.canvas.setAttribute("aria-label", about);
    this.#figure.hidden = false;
    const share = (part, whole) => `${100 * part / whole}%`;
    const set = (element, values) => { for (const [name, value] of Object.entries(values)) element.style.setProperty(`--${name}`, value); };
    set(this.#figure, {
      natural: `${this.sheet.canvas.width}px`,
      least: `${LEAST / cell.width * layout.width}px`,
      ratio: String(layout.width / layout.height),
    });
    this.#cells.replaceChildren(...layout.cells.map(({ x, y }, index) => {
      const button = Object.assign(document.createElement("button"), { type: "button", disabled: true });
      button.setAttribute("aria-label", `Use ${names[index]}`);
      button.title = names[index];
      const [w, h] = [share(cell.width, layout.width), share(cell.height, layout.height)];
      set(button, { x: share(x, layout.width), y: share(y, layout.height), w, h });
      button.addEventListener("click", () => this.#emit("restore", { index }));
      return button;
    }));
  }

  /** A cell has its picture. @param {number} index @param {ImageData} image */
  picture(index, image) {
    this.sheet.picture(index, image);
    this.#button(index).disabled = false;
    this.#button(index).classList.remove("drawing");
  }

  /** @param {number} index @param {import("../protocol.js").Pixels} pixels */
  preview(index, pixels) {
    this.sheet.preview(index, pixels);
    this.#button(index).classList.add("drawing");
  }

  /** A cell without one. */
  blank(index, words = "") {
    this.sheet.blank(index, words);
    this.#button(index).classList.remove("drawing");
  }

  /** @returns {HTMLButtonElement} */
  #button(index) {
    return /** @type {HTMLButtonElement} */ (this.#cells.children[index]);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
