// The fields of the second, larger pass (hires fix): off until somebody chooses how the picture is made larger.

import { MOST_SIDE, sizeAfter } from "../hires.js";

/** The strength that suits each: what latents lose has to be drawn anew. */
const STRENGTHS = { latent: 0.7, "latent-nearest": 0.7, lanczos: 0.4 };

export class HiresFields {
  #upscaler = document.querySelector("#hires-upscaler");
  #rest = document.querySelector("#hires-rest");
  #scale = document.querySelector("#hires-scale");
  #strength = document.querySelector("#hires-strength");
  #steps = document.querySelector("#hires-steps");
  /** Whether a picture is started from, which is drawn once. */
  #isIdle = false;

  constructor() {
    this.#upscaler.addEventListener("change", () => {
      const { value } = this.#upscaler;
      if (value) this.#strength.value = String(STRENGTHS[value]);
      this.#switch();
    });
    for (const field of [this.#scale, this.#strength, this.#steps]) {
      field.addEventListener("invalid", () => { document.querySelector("#hires").open = true; });
    }
    this.#switch();
  }

  /** @returns {?import("../protocol.js").Hires} null: one pass alone */
  read() {
    const upscaler = /** @type {import("../protocol.js").Hires["upscaler"]|""} */ (this.#upscaler.value);
    if (!upscaler) return null;
    return { scale: this.#scale.valueAsNumber, upscaler, strength: this.#strength.valueAsNumber, steps: this.#steps.valueAsNumber };
  }

  /** @param {?import("../protocol.js").Hires} hires */
  write(hires) {
    this.#upscaler.value = hires?.upscaler ?? "";
    if (hires) {
      this.#scale.value = String(hires.scale);
      this.#strength.value = String(hires.strength);
      this.#steps.value = String(hires.steps);
    }
    this.#switch();
  }

  /** @param {boolean} isIdle   a picture is started from */
  setIdle(isIdle) {
    this.#isIdle = isIdle;
  }

  /** What the settings' folded line says of it, for pictures of this size. @param {{width: number, height: number}} size */
  summary(size) {
    const hires = this.read();
    const { width, height } = sizeAfter(size, hires);
    const isTooLarge = Boolean(hires) && !this.#isIdle && Math.max(width, height) > MOST_SIDE;
    this.#scale.setCustomValidity(isTooLarge ? `${width}×${height} is too large: ${MOST_SIDE} pixels a side are the most.` : "");
    const larger = `to ${width}×${height}`;
    const words = this.#isIdle ? "not with a start picture" : larger;
    document.querySelector("#hires-summary").textContent = hires ? words : "off";
    return hires && !this.#isIdle ? ` ${larger}` : "";
  }

  #switch() {
    this.#rest.hidden = this.#rest.disabled = !this.#upscaler.value;
  }
}
