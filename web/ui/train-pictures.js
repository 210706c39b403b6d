// The pictures of a training run: a grid of cards, the trigger phrase, and class pictures folded away.

import { filesOfInput } from "../files.js";
import { counted } from "../format.js";

const ROLES = { train: "train", heldOut: "held out" };

/**
 * Events: "files" {files, role}, "remove" {id}, "role" {id, role}, "caption" {id, caption}, "demo",
 * "options" {trigger, flip}.
 */
export class TrainPictures extends EventTarget {
  #panel = document.querySelector("#pictures-panel");
  #fields = document.querySelector("#pictures-fields");
  #empty = document.querySelector("#pictures-empty");
  #demo = document.querySelector("#pictures-demo");
  #grid = document.querySelector("#picture-grid");
  #options = document.querySelector("#picture-options");
  #trigger = document.querySelector("#trigger");
  #flip = document.querySelector("#flip");
  #classPanel = document.querySelector("#class-panel");
  #classGrid = document.querySelector("#class-grid");
  #chooser = document.querySelector("#picture-input");
  #template = document.querySelector("#picture-card-template").content.firstElementChild;
  /** @type {Map<number, HTMLElement>} */
  #cards = new Map();
  #role = "train";
  #adder;

  constructor() {
    super();
    const add = Object.assign(document.createElement("button"), { type: "button", className: "picture add" });
    add.dataset.choose = "train";
    add.setAttribute("aria-label", "Add pictures");
    add.append("+", Object.assign(document.createElement("small"), { textContent: "add pictures" }));
    this.#adder = document.createElement("div");
    this.#adder.setAttribute("role", "listitem");
    this.#adder.append(add);
    this.#fields.addEventListener("click", ({ target }) => {
      const role = target instanceof Element && target.closest("[data-choose]")?.getAttribute("data-choose");
      if (!role) return;
      this.#role = role;
      this.#chooser.click();
    });
    this.#chooser.addEventListener("change", () => {
      const files = filesOfInput(this.#chooser);
      this.#chooser.value = ""; // the same file again is a change again
      if (files.length > 0) this.#emit("files", { files, role: this.#role });
    });
    this.#demo.addEventListener("click", () => this.#emit("demo"));
    for (const field of [this.#trigger, this.#flip]) {
      field.addEventListener("input", () => this.#emit("options", { trigger: this.#trigger.value.trim(), flip: this.#flip.checked }));
    }
  }

  writeOptions({ trigger, flip }) {
    this.#trigger.value = trigger;
    this.#flip.checked = flip;
  }

  offerDemo(offered) {
    this.#demo.hidden = !offered;
  }

  setLocked(locked) {
    this.#fields.disabled = locked;
  }

  /** Folds the panel away, for what is to be seen beneath, or opens it. */
  fold(folded) {
    this.#panel.open = !folded;
  }

  /** @param {import("../train/picture-set.js").PictureSet} set */
  show(set) {
    const train = set.of("train");
    const classes = set.of("class");
    const kept = new Set(set.items.map(({ id }) => id));
    for (const [id, card] of this.#cards) {
      if (kept.has(id)) continue;
      card.remove();
      this.#cards.delete(id);
    }
    /** @type {[import("../train/picture-set.js").SetPicture[], HTMLElement][]} */
    const grids = [[train, this.#grid], [classes, this.#classGrid]];
    for (const [list, grid] of grids) {
      for (const picture of list) {
        if (!this.#cards.has(picture.id)) this.#cards.set(picture.id, this.#card(picture));
        const card = this.#cards.get(picture.id);
        if (card.parentElement !== grid) grid.append(card);
        this.#write(card, picture);
      }
    }
    this.#empty.hidden = train.length > 0;
    if (train.length > 0) this.#grid.append(this.#adder);
    else this.#adder.remove();
    this.#options.hidden = train.length === 0;
    document.querySelector("#pictures-count").textContent = set.summary;
    document.querySelector("#class-count").textContent = classes.length ? counted(classes.length, "picture") : "prior preservation, optional";
    if (classes.length > 0) this.#classPanel.open = true;
    document.body.dataset.pictures = String(train.length);
  }

  #card({ id, name, role, thumbnail }) {
    const card = /** @type {HTMLElement} */ (this.#template.cloneNode(true));
    const canvas = card.querySelector("canvas");
    canvas.width = thumbnail.width;
    canvas.height = thumbnail.height;
    canvas.getContext("2d").drawImage(thumbnail, 0, 0);
    canvas.setAttribute("aria-label", name);
    canvas.title = name;
    const remove = card.querySelector(".remove");
    remove.setAttribute("aria-label", `Remove ${name}`);
    remove.addEventListener("click", () => this.#emit("remove", { id }));
    const caption = card.querySelector("textarea");
    caption.setAttribute("aria-label", `Caption of ${name}`);
    caption.addEventListener("input", () => this.#emit("caption", { id, caption: caption.value }));
    const button = /** @type {HTMLButtonElement} */ (card.querySelector(".role"));
    button.hidden = role === "class";
    button.addEventListener("click", () => this.#emit("role", { id, role: button.dataset.role === "heldOut" ? "train" : "heldOut" }));
    return card;
  }

  #write(card, { name, caption, role, width, height, warnings }) {
    const field = card.querySelector("textarea");
    if (field.value !== caption) field.value = caption;
    const button = card.querySelector(".role");
    button.dataset.role = role;
    button.textContent = ROLES[role] ?? "";
    button.setAttribute("aria-label", `${button.textContent}: ${name}`);
    button.title = role === "heldOut" ? "Only measured with, to see memorising. Press to train on it" : "Press to hold it out: not trained on, only measured with";
    card.classList.toggle("held-out", role === "heldOut");
    card.querySelector(".picture-size").textContent = `${width}×${height}`;
    const line = card.querySelector(".picture-warning");
    line.hidden = warnings.length === 0;
    line.textContent = warnings.join("; ");
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
