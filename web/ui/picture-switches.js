// Switches about pictures that are no settings of a picture: they are remembered, and "Back to the defaults" leaves them.

import { recall, remember } from "../storage.js";

export class PictureSwitches {
  #carry = document.querySelector("#carry-settings");
  #keep = document.querySelector("#keep-pictures");

  constructor() {
    this.#remembered(this.#carry, "pictures.carry");
    this.#remembered(this.#keep, "pictures.keep");
  }

  /** Whether a saved picture says how it was made. */
  get carry() { return this.#carry.checked; }

  /** Whether what is drawn stays in the gallery. */
  get keep() { return this.#keep.checked; }

  /** @param {?string} problem why nothing can be kept */
  setKeepable(problem) {
    this.#keep.disabled = Boolean(problem);
    document.querySelector("#keep-pictures-why").textContent = problem ?? "";
  }

  #remembered(box, key) {
    box.checked = recall(key, true);
    box.addEventListener("change", () => remember(key, box.checked));
  }
}
