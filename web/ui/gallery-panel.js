// The gallery's panel: the pictures that were kept, newest first, searched by their prompts.

import { counted, size } from "../format.js";
import { MOST, MOST_BYTES } from "../gallery/album.js";
import { roving } from "./roving.js";

const WHEN = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

/** @typedef {import("../gallery/album.js").Shown} Shown */

/** What a picture shows, in words. @param {Shown} shown */
export function wordsOf({ found, drawn }) {
  const what = found ? [found.prompt || "no prompt", found.seed && `seed ${found.seed}`] : ["a picture without settings"];
  return [...what, WHEN.format(drawn)].filter(Boolean).join(", ");
}

/** Events: "unfold", "open" {id}, "delete" {id}, "star" {id, starred}, "save" {starred}. */
export class GalleryPanel extends EventTarget {
  #panel = document.querySelector("#gallery");
  #list = document.querySelector("#gallery-list");
  #search = document.querySelector("#gallery-search");
  #starred = document.querySelector("#gallery-starred");
  #none = document.querySelector("#gallery-none");
  #saveStarred = document.querySelector("#gallery-save-starred");
  /** @type {Shown[]} */
  #shown = [];
  /** By id, with the name of the file that its picture is shown from. @type {Map<string, {row: HTMLElement, name: string}>} */
  #rows = new Map();
  /** Set by whoever has the pictures. @type {(id: string) => Promise<?Blob>} */
  read = async () => null;

  constructor() {
    super();
    roving(this.#list);
    this.#search.addEventListener("input", () => this.#filter());
    this.#starred.addEventListener("change", () => this.#filter());
    // pictures are loaded when they are to be seen
    this.#panel.addEventListener("toggle", () => { if (this.isOpen) this.#emit("unfold", {}); });
    document.querySelector("#gallery-save").addEventListener("click", () => this.#emit("save", { starred: false }));
    this.#saveStarred.addEventListener("click", () => this.#emit("save", { starred: true }));
    this.#list.addEventListener("keydown", (event) => {
      const id = event.target instanceof HTMLElement ? event.target.closest("li")?.dataset.picture : null;
      if (!id || event.key !== "Delete") return;
      event.preventDefault();
      this.#emit("delete", { id });
    });
  }

  get isOpen() { return this.#panel.open; }

  /** @param {Shown[]} shown @param {number} left how many have made room in this visit */
  show(shown, left) {
    this.#shown = shown;
    this.#panel.hidden = shown.length === 0;
    const bytes = shown.reduce((sum, one) => sum + one.size, 0);
    const stars = shown.filter(({ starred }) => starred).length;
    document.querySelector("#gallery-summary").textContent = [counted(shown.length, "picture"), stars > 0 && `★ ${stars}`, size(bytes)].filter(Boolean).join(", ");
    const gone = left > 0 ? ` ${counted(left, "older one")} made room in this visit.` : "";
    document.querySelector("#gallery-bound").textContent = `The newest ${MOST} stay, up to ${size(MOST_BYTES)}, and all with a star.${gone}`;
    this.#saveStarred.hidden = stars === 0;
    const there = new Set(shown.map(({ id }) => id));
    for (const [id, { row }] of this.#rows) {
      if (there.has(id)) continue;
      URL.revokeObjectURL(row.querySelector("img").src);
      row.remove();
      this.#rows.delete(id);
    }
    this.#fill();
  }

  #fill() {
    if (!this.isOpen) return;
    let before = null;
    for (const one of this.#shown) {
      const row = this.#row(one);
      const next = before ? before.nextElementSibling : this.#list.firstElementChild;
      if (row !== next) this.#list.insertBefore(row, next);
      before = row;
    }
    this.#filter();
  }

  /** @param {Shown} one */
  #row(one) {
    const { id, name, starred } = one;
    const known = this.#rows.get(id);
    const row = known?.row ?? this.#made(id);
    row.toggleAttribute("data-starred", starred);
    const words = wordsOf(one);
    row.querySelector("button").setAttribute("aria-label", `${starred ? "With a star: " : ""}${words}`);
    row.title = words;
    if (known?.name !== name) {
      this.#rows.set(id, { row, name });
      this.#picture(row, id);
    }
    return row;
  }

  #made(id) {
    const row = document.createElement("li");
    row.dataset.picture = id;
    row.dataset.testid = "gallery-picture";
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(Object.assign(new Image(), { alt: "", loading: "lazy", decoding: "async" }));
    button.addEventListener("click", () => this.#emit("open", { id }));
    row.append(button);
    return row;
  }

  async #picture(row, id) {
    const blob = await this.read(id).catch(() => null);
    const image = row.querySelector("img");
    URL.revokeObjectURL(image.src);
    if (blob && this.#rows.has(id)) image.src = URL.createObjectURL(blob);
  }

  #filter() {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { id, found, starred } of this.#shown) {
      const row = this.#rows.get(id)?.row;
      if (!row) continue;
      const text = [found?.prompt, found?.negativePrompt, found?.seed, found?.model?.name, ...found?.adapters.map(({ name }) => name) ?? []].join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word)) || (this.#starred.checked && !starred);
      if (!row.hidden) shown += 1;
    }
    this.#none.hidden = shown > 0;
    this.#none.textContent = this.#none.hidden ? "" : "No such picture.";
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
