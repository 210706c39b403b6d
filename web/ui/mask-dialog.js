// The dialog in which a mask is painted. What is painted stays, however the dialog is closed; undo is for the rest.

import { LARGEST } from "../start/store.js";
import { MaskCanvas } from "./mask-canvas.js";
import { MaskView } from "./mask-view.js";

/** A brush's size is this share of the longer side, from the slider's one end to the other. */
const [THINNEST, THICKEST] = [1 / 400, 1 / 2];
const STEP = 1.25;

/** Events: "done" {pixels, mask, isExtended}, "load" {file}. */
export class MaskDialog extends EventTarget {
  #dialog = document.querySelector("#mask-dialog");
  #size = document.querySelector("#mask-size");
  #eraser = document.querySelector("#mask-eraser");
  #words = document.querySelector("#mask-words");
  #soft = document.querySelector("#mask-soft");
  #mask = new MaskCanvas(document.querySelector("#mask-picture"), document.querySelector("#mask-canvas"));
  #view = new MaskView(
    document.querySelector("#mask-view"), document.querySelector("#mask-pair"), document.querySelector("#mask-ring"), () => this.#mask.size,
  );

  constructor() {
    super();
    const click = (name, act) => document.querySelector(`#mask-${name}`).addEventListener("click", act);
    click("done", () => this.#dialog.close());
    click("brush", () => this.#erase(false));
    click("eraser", () => this.#erase(true));
    click("undo", () => this.#undo());
    click("redo", () => this.#redo());
    click("fill", () => this.#do({ kind: "all", erase: false }));
    click("clear", () => this.#do({ kind: "all", erase: true }));
    click("invert", () => this.#do({ kind: "invert" }));
    click("smaller", () => this.#view.zoom(1 / STEP));
    click("larger", () => this.#view.zoom(STEP));
    click("fit", () => this.#view.fit());
    const chooser = document.querySelector("#mask-input");
    click("load", () => chooser.click());
    chooser.addEventListener("change", () => {
      const [file] = chooser.files;
      chooser.value = ""; // the same file again is a change again
      if (file) this.dispatchEvent(new CustomEvent("load", { detail: { file } }));
    });
    this.#size.addEventListener("input", () => { this.#view.brush = this.#brush; });
    this.#soft.addEventListener("change", () => document.querySelector("#mask-canvas").toggleAttribute("data-soft", this.#soft.checked));
    document.querySelector("#mask-rectangle").addEventListener("submit", (event) => this.#rectangle(event));
    document.querySelector("#mask-extend").addEventListener("submit", (event) => this.#extend(event));
    this.#paint();
    this.#dialog.addEventListener("keydown", (event) => this.#key(event));
    this.#dialog.addEventListener("close", () => this.#closed());
  }

  /**
   * @param {import("../protocol.js").Pixels} pixels @param {?import("../protocol.js").Pixels} mask
   * @param {number} blur   of the mask, in pixels
   */
  open(pixels, mask, blur) {
    document.querySelector("#mask-pair").style.setProperty("--blur", String(blur));
    this.#dialog.showModal();
    this.#mask.begin(pixels, mask);
    for (const side of /** @type {const} */ (["width", "height"])) {
      const field = /** @type {HTMLInputElement} */ (document.querySelector("#mask-rectangle").elements.namedItem(side));
      field.value = String(Math.ceil(pixels[side] / 2));
    }
    this.#erase(false);
    this.#view.fit();
    this.#view.brush = this.#brush;
    this.#tell("");
    document.querySelector("#mask-view").focus();
  }

  /** A mask's file was read. @param {import("../protocol.js").Pixels} pixels @param {string} name */
  load(pixels, name) {
    const { width, height } = this.#mask.size;
    const isOther = pixels.width !== width || pixels.height !== height;
    this.#do({ kind: "load", pixels }, `${name} is the mask now${isOther ? `, stretched from ${pixels.width}×${pixels.height}` : ""}.`);
  }

  /** What went wrong. */
  say(words) {
    this.#words.textContent = words;
  }

  get #brush() {
    const { width, height } = this.#mask.size;
    return Math.max(1, Math.max(width, height) * THINNEST * (THICKEST / THINNEST) ** (this.#size.valueAsNumber / 100));
  }

  get #isEraser() { return this.#eraser.getAttribute("aria-pressed") === "true"; }

  #erase(on) {
    this.#eraser.setAttribute("aria-pressed", on);
    document.querySelector("#mask-brush").setAttribute("aria-pressed", !on);
  }

  #paint() {
    const on = (type, act) => this.#view.addEventListener(type, ({ detail }) => act(detail));
    on("begin", ({ point, erase }) => this.#mask.do({ kind: "stroke", points: [point], size: this.#brush, erase: erase || this.#isEraser }));
    on("go", ({ point }) => this.#mask.go(point));
    on("end", () => this.#tell(""));
    on("drop", () => {
      this.#mask.drop();
      this.#tell("");
    });
  }

  #do(deed, words = "") {
    this.#mask.do(deed);
    this.#tell(words);
  }

  #undo() {
    this.#mask.undo();
    this.#tell("");
  }

  #redo() {
    this.#mask.redo();
    this.#tell("");
  }

  #rectangle(event) {
    event.preventDefault();
    const at = numbersOf(event.target);
    this.#do({ kind: "rectangle", x: at.x, y: at.y, width: at.width, height: at.height, erase: event.submitter?.value === "erase" });
  }

  #extend(event) {
    event.preventDefault();
    const { left, right, top, bottom } = numbersOf(event.target);
    const filling = event.target.elements.filling.value;
    const { width, height } = this.#mask.size;
    const [wide, high] = [width + left + right, height + top + bottom];
    if (wide === width && high === height) return this.say("Say by how many pixels, on one side at least.");
    if (Math.max(wide, high) > LARGEST) return this.say(`${wide}×${high} is more than ${LARGEST} pixels on a side: extend it by less.`);
    this.#do({ kind: "extend", sides: { left, right, top, bottom }, filling }, `${wide}×${high}, with the new part masked.`);
    this.#view.fit();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { key, target, ctrlKey, metaKey, altKey, shiftKey } = event;
    const isWriting = target instanceof Element && target.matches("select, input:not([type=range], [type=checkbox])");
    if (isWriting || altKey) return;
    const size = (by) => {
      this.#size.value = String(this.#size.valueAsNumber + by);
      this.#view.brush = this.#brush;
    };
    const deeds = ctrlKey || metaKey
      ? { z: () => (shiftKey ? this.#redo() : this.#undo()), y: () => this.#redo() }
      : {
        "[": () => size(-5), "]": () => size(5), b: () => this.#erase(false), e: () => this.#erase(true),
        "+": () => this.#view.zoom(STEP), "=": () => this.#view.zoom(STEP), "-": () => this.#view.zoom(1 / STEP), 0: () => this.#view.fit(),
      };
    const deed = deeds[key.length === 1 ? key.toLowerCase() : key];
    if (!deed) return;
    event.preventDefault();
    deed();
  }

  #tell(words) {
    document.querySelector("#mask-undo").disabled = !this.#mask.canUndo;
    document.querySelector("#mask-redo").disabled = !this.#mask.canRedo;
    this.#view.layOut();
    this.say(words);
  }

  #closed() {
    if (this.#mask.canUndo) this.dispatchEvent(new CustomEvent("done", { detail: this.#mask.result }));
  }
}

/** @param {HTMLFormElement} form @returns {Record<string, number>} */
function numbersOf(form) {
  return Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, Number(value)]));
}
