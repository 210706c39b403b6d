// Switches about pictures that are no settings of a picture: they are remembered, and "Back to the defaults" leaves them.

import { recall, remember } from "../storage.js";

export class PictureSwitches {
  #carry = document.querySelector("#carry-settings");

  constructor() {
    this.#remembered(this.#carry, "pictures.carry");
  }

  /** Whether a saved picture says how it was made. */
  get carry() { return this.#carry.checked; }

  #remembered(box, key) {
    box.checked = recall(key, true);
    box.addEventListener("change", () => remember(key, box.checked));
  }
}
