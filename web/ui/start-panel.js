// The picture to start from: what it is, how strongly it is drawn anew, and how it comes to the size that is drawn.

import { stepsMade } from "../start/steps.js";

const THUMBNAIL = 240;
const HINT = "What is drawn comes from this picture rather than from noise alone. Drop or paste one here.";
/** What the fields say before somebody has changed them. */
const FIRST = Object.freeze({ strength: 0.75, exactSteps: false, resize: "stretch" });

/**
 * Events: "files" {files}, "shown" (the picture on show is wanted), "take-size", "remove", "strength" (it moves), "released"
 * (it rests).
 */
export class StartPanel extends EventTarget {
  #panel = document.querySelector("#start");
  #fields = document.querySelector("#start-fields");
  #chooser = document.querySelector("#start-input");
  #slider = document.querySelector("#start-strength");
  #number = document.querySelector("#start-strength-number");
  #exact = document.querySelector("#start-exact");
  #resize = document.querySelector("#start-resize");
  #thumbnail = document.querySelector("#start-thumbnail");

  constructor() {
    super();
    const click = (selector, act) => document.querySelector(selector).addEventListener("click", act);
    click("#start-choose", () => this.#chooser.click());
    click("#start-shown", () => this.#emit("shown"));
    click("#start-take-size", () => this.#emit("take-size"));
    click("#start-remove", () => this.#emit("remove"));
    this.#chooser.addEventListener("change", () => {
      const files = [...this.#chooser.files];
      this.#chooser.value = ""; // the same file again is a change again
      if (files.length > 0) this.#emit("files", { files });
    });
    for (const [input, other] of [[this.#slider, this.#number], [this.#number, this.#slider]]) {
      input.addEventListener("input", () => {
        other.value = input.value;
        this.#emit("strength");
      });
      input.addEventListener("change", () => this.#emit("released"));
    }
    // a field inside closed details cannot show what is wrong with it
    for (const field of [this.#number]) field.addEventListener("invalid", () => { this.#panel.open = true; });
  }

  /** @returns {{strength: number, exactSteps: boolean, resize: import("../protocol.js").Start["resize"]}} */
  read() {
    const resize = /** @type {import("../protocol.js").Start["resize"]} */ (this.#resize.value);
    return { strength: Number(this.#number.value), exactSteps: this.#exact.checked, resize };
  }

  /** Sets the fields that are named. @param {Partial<import("../protocol.js").Start>} start */
  write({ strength, exactSteps, resize }) {
    if (strength !== undefined) this.#slider.value = this.#number.value = String(strength);
    if (exactSteps !== undefined) this.#exact.checked = exactSteps;
    if (resize !== undefined) this.#resize.value = resize;
  }

  /** As they were at first. */
  reset() {
    this.write(FIRST);
  }

  /** Another picture, or none. @param {?{name: string, pixels: import("../protocol.js").Pixels}} picture */
  show(picture) {
    this.#fields.hidden = this.#fields.disabled = !picture;
    this.hint(picture ? "" : HINT);
    if (!picture) return;
    const { name, pixels } = picture;
    document.querySelector("#start-name").textContent = name;
    this.#thumbnail.setAttribute("aria-label", `Start picture: ${name}`);
    const whole = new OffscreenCanvas(pixels.width, pixels.height);
    whole.getContext("2d").putImageData(new ImageData(pixels.rgba, pixels.width, pixels.height), 0, 0);
    const scale = Math.min(1, THUMBNAIL / Math.max(pixels.width, pixels.height));
    this.#thumbnail.width = Math.max(1, Math.round(pixels.width * scale));
    this.#thumbnail.height = Math.max(1, Math.round(pixels.height * scale));
    const context = this.#thumbnail.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(whole, 0, 0, this.#thumbnail.width, this.#thumbnail.height);
  }

  /** Words in the place of a picture. */
  hint(words) {
    document.querySelector("#start-hint").textContent = words;
  }

  /** What the folded line says. */
  summarise(words) {
    document.querySelector("#start-summary").textContent = words;
  }

  /**
   * What the settings come to.
   * @param {{width: number, height: number}} picture @param {{width: number, height: number, steps: number}} settings
   */
  tell({ width, height }, settings) {
    const { strength, exactSteps } = this.read();
    const isSame = width === settings.width && height === settings.height;
    document.querySelector("#start-size").textContent = `${width}×${height}`;
    document.querySelector("#start-take-size").hidden = isSame;
    document.querySelector("#start-resize-field").hidden = isSame;
    const made = stepsMade(strength, settings.steps, exactSteps);
    document.querySelector("#start-steps").textContent = `At 0 the picture stays, at 1 little of it is left. ${made} of ${settings.steps} steps are made.`;
    this.summarise(`strength ${strength}`);
  }

  open() {
    this.#panel.open = true;
  }

  /** Whether there is a picture on show that could be taken. */
  setShown(there) {
    document.querySelector("#start-shown").disabled = !there;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
