// Live pictures of a run: the sample in hand at every step, and now and then a whole picture of one seed.

import { RANDOM, randomSeed } from "../seed.js";

/** @type {("sample" | "base" | "now" | "best")[]} */
const TILES = ["sample", "base", "now", "best"];

/** Events: "change" {prompt, seed}. */
export class TrainPreview extends EventTarget {
  #panel = document.querySelector("#preview-panel");
  #prompt = document.querySelector("#preview-prompt");
  #seed = document.querySelector("#preview-seed");

  constructor() {
    super();
    for (const field of [this.#prompt, this.#seed]) {
      field.addEventListener("change", () => {
        if (this.#seed.value.trim() === RANDOM) this.#seed.value = randomSeed();
        if (this.#seed.reportValidity()) this.dispatchEvent(new CustomEvent("change", { detail: this.read() }));
      });
    }
  }

  setShown(shown) {
    this.#panel.hidden = !shown;
  }

  read() {
    return { prompt: this.#prompt.value.trim(), seed: this.#seed.value };
  }

  write({ prompt, seed }) {
    this.#prompt.value = prompt;
    this.#seed.value = seed;
  }

  clear() {
    for (const tile of TILES) this.show(tile, null, "");
  }

  /**
   * @param {"sample"|"base"|"now"|"best"} tile
   * @param {?ImageData} image null: none yet
   * @param {string} [words] the second line
   */
  show(tile, image, words) {
    const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById(`tile-${tile}`));
    if (words !== undefined && tile !== "sample" && tile !== "base") canvas.nextElementSibling.querySelector("small").textContent = words;
    if (!image || canvas.width !== image.width || canvas.height !== image.height) {
      canvas.width = image?.width ?? 8; // which clears it
      canvas.height = image?.height ?? 8;
    }
    if (image) canvas.getContext("2d").putImageData(image, 0, 0);
  }

  /** The last whole preview, small, as a data URL for the adapter's file. @returns {?string} */
  thumbnail(image, side = 256) {
    if (!image) return null;
    const whole = document.createElement("canvas");
    whole.width = image.width;
    whole.height = image.height;
    whole.getContext("2d").putImageData(image, 0, 0);
    const scale = Math.min(1, side / Math.max(image.width, image.height));
    const small = document.createElement("canvas");
    small.width = Math.round(image.width * scale);
    small.height = Math.round(image.height * scale);
    const context = small.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(whole, 0, 0, small.width, small.height);
    return small.toDataURL("image/jpeg", 0.85);
  }
}
