// The picture to start from: what it is, how strongly it is drawn anew, and how it comes to the size that is drawn.

import { shareOf } from "../start/mask.js";
import { stepsMade } from "../start/steps.js";

const THUMBNAIL = 240;
const HINT = "What is drawn comes from this picture rather than from noise alone. Drop or paste one here.";
/** What the fields say before somebody has changed them. */
const FIRST = Object.freeze({
  strength: 0.75, exactSteps: false, resize: /** @type {const} */ ("stretch"),
  inpaint: Object.freeze({
    blur: 4, content: /** @type {const} */ ("original"), area: /** @type {const} */ ("whole"), padding: 32, inverted: false,
  }),
});

/**
 * Events: "files" {files}, "shown" (the picture on show is wanted), "take-size", "remove", "mask" (it is to be painted),
 * "unmask", "strength" (it moves), "released" (it rests).
 */
export class StartPanel extends EventTarget {
  #panel = document.querySelector("#start");
  #fields = document.querySelector("#start-fields");
  #chooser = document.querySelector("#start-input");
  #slider = document.querySelector("#start-strength");
  #number = document.querySelector("#start-strength-number");
  #exact = document.querySelector("#start-exact");
  #resize = document.querySelector("#start-resize");
  #inpaint = document.querySelector("#start-inpaint");
  #blur = document.querySelector("#start-blur");
  #padding = document.querySelector("#start-padding");
  #content = document.querySelector("#start-content");
  #area = document.querySelector("#start-area");
  #inverted = document.querySelector("#start-inverted");
  #thumbnail = document.querySelector("#start-thumbnail");

  constructor() {
    super();
    const click = (selector, act) => document.querySelector(selector).addEventListener("click", act);
    click("#start-choose", () => this.#chooser.click());
    click("#start-shown", () => this.#emit("shown"));
    click("#start-take-size", () => this.#emit("take-size"));
    click("#start-remove", () => this.#emit("remove"));
    click("#start-mask", () => this.#emit("mask"));
    click("#start-unmask", () => this.#emit("unmask"));
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
    for (const field of [this.#number, this.#blur, this.#padding]) {
      field.addEventListener("invalid", () => {
        this.#panel.open = true;
        const fold = field.closest("details");
        if (fold) fold.open = true;
      });
    }
  }

  /** All but what the pictures are called. @returns {Omit<import("../protocol.js").Start, "picture"|"mask">} */
  read() {
    /** @type {any} selects have their options' values alone */
    const { resize, content, area } = { resize: this.#resize.value, content: this.#content.value, area: this.#area.value };
    const [blur, padding] = [Number(this.#blur.value), Number(this.#padding.value)];
    return {
      strength: Number(this.#number.value), exactSteps: this.#exact.checked, resize,
      inpaint: { blur, content, area, padding, inverted: this.#inverted.value !== "" },
    };
  }

  /** Sets the fields that are named. @param {Partial<import("../protocol.js").Start>} start */
  write({ strength, exactSteps, resize, inpaint }) {
    if (strength !== undefined) this.#slider.value = this.#number.value = String(strength);
    if (exactSteps !== undefined) this.#exact.checked = exactSteps;
    if (resize !== undefined) this.#resize.value = resize;
    if (!inpaint) return;
    this.#blur.value = String(inpaint.blur);
    this.#padding.value = String(inpaint.padding);
    this.#content.value = inpaint.content;
    this.#area.value = inpaint.area;
    this.#inverted.value = inpaint.inverted ? "1" : "";
  }

  /** As they were at first. */
  reset() {
    this.write(FIRST);
  }

  /**
   * Another picture, or none.
   * @param {?{name: string, pixels: import("../protocol.js").Pixels, mask: ?import("../protocol.js").Pixels}} picture
   */
  show(picture) {
    this.#fields.hidden = this.#fields.disabled = !picture;
    this.hint(picture ? "" : HINT);
    if (!picture) return;
    const { name, pixels, mask } = picture;
    document.querySelector("#start-name").textContent = name;
    document.querySelector("#start-mask").textContent = mask ? "Change the mask…" : "Paint a mask…";
    document.querySelector("#start-mask-words").textContent = mask ? `${shareText(shareOf(mask))} masked` : "";
    document.querySelector("#start-unmask").hidden = this.#inpaint.hidden = this.#inpaint.disabled = !mask;
    this.#thumbnail.setAttribute("aria-label", `Start picture: ${name}`);
    const scale = Math.min(1, THUMBNAIL / Math.max(pixels.width, pixels.height));
    this.#thumbnail.width = Math.max(1, Math.round(pixels.width * scale));
    this.#thumbnail.height = Math.max(1, Math.round(pixels.height * scale));
    this.#draw(pixels, "source-over");
    if (mask) this.#draw(mask, "lighten");
  }

  /** @param {import("../protocol.js").Pixels} pixels @param {GlobalCompositeOperation} how */
  #draw({ width, height, rgba }, how) {
    const whole = new OffscreenCanvas(width, height);
    whole.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
    const context = this.#thumbnail.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.globalCompositeOperation = how;
    context.drawImage(whole, 0, 0, this.#thumbnail.width, this.#thumbnail.height);
    context.globalCompositeOperation = "source-over";
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
   * @param {boolean} isMasked
   */
  tell({ width, height }, settings, isMasked) {
    const { strength, exactSteps, inpaint: { content, area } } = this.read();
    const isSame = width === settings.width && height === settings.height;
    document.querySelector("#start-size").textContent = `${width}×${height}`;
    document.querySelector("#start-take-size").hidden = isSame;
    // the masked part alone is cut out in the shape that is drawn
    document.querySelector("#start-resize-field").hidden = isSame || (isMasked && area === "masked");
    const made = stepsMade(strength, settings.steps, exactSteps);
    document.querySelector("#start-steps").textContent = `At 0 the picture stays, at 1 little of it is left. ${made} of ${settings.steps} steps are made.`;
    const wantsAll = ["noise", "nothing"].includes(content) && strength < 1;
    document.querySelector("#start-content-hint").hidden = !wantsAll;
    document.querySelector("#start-padding-field").hidden = area !== "masked";
    this.summarise(`strength ${strength}${isMasked ? ", masked" : ""}`);
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

function shareText(share) {
  const percent = 100 * share;
  return percent < 1 ? "Less than 1 %" : `${Math.round(percent)} %`;
}
