// "Keep it for the next visit": one line beneath a model or the adapters, which says what that costs and how far
// the copying is.

/** Events: "keep" {how: "copy"|"place"}, "leave" (the tick was taken away), "how" {how}, "cancel". */
export class KeepLine extends EventTarget {
  #element;
  #box;
  #how;
  #note;
  #cancel;

  /** @param {"#keep-model" | "#keep-adapters"} selector */
  constructor(selector) {
    super();
    this.#element = /** @type {HTMLElement} */ (document.querySelector(selector));
    this.#box = this.#element.querySelector("input");
    this.#how = this.#element.querySelector("select");
    this.#note = this.#element.querySelector(".hint");
    this.#cancel = this.#element.querySelector("button");
    this.#box.addEventListener("change", () => this.#emit(this.#box.checked ? "keep" : "leave", { how: this.how }));
    this.#how?.addEventListener("change", () => this.#emit("how", { how: this.how }));
    this.#cancel.addEventListener("click", () => this.#emit("cancel"));
  }

  get how() {
    return this.#how?.value ?? "copy";
  }

  /**
   * @param {object} line
   * @param {boolean} line.shown
   * @param {string} [line.words]       what the tick is for
   * @param {boolean} [line.checked]
   * @param {boolean} [line.settled]    the tick can't be changed here any more
   * @param {boolean} [line.places]     whether the browser can remember where the file lies
   * @param {?string} [line.how]
   * @param {string} [line.note]
   * @param {boolean} [line.copying]
   */
  show({ shown, words, checked = false, settled = false, places = false, how = null, note = "", copying = false }) {
    this.#element.hidden = !shown;
    if (words) this.#element.querySelector(".keep-words").textContent = words;
    this.#box.checked = checked;
    this.#box.disabled = settled || copying;
    if (this.#how) {
      this.#how.parentElement.hidden = !places || settled;
      this.#how.disabled = copying;
      if (how) this.#how.value = how;
    }
    // how far it is would be read out ten times a second
    this.#note.setAttribute("aria-live", copying ? "off" : "polite");
    if (this.#note.textContent !== note) this.#note.textContent = note;
    this.#cancel.hidden = !copying;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
