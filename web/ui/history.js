// A strip of the pictures made last.

import { roving } from "./roving.js";

const LENGTH = 24;
const THUMBNAIL = 128;

/** Events: "select" {picture}. */
export class History extends EventTarget {
  #strip = document.querySelector("#history");
  #buttons = new Map();

  constructor() {
    super();
    roving(this.#strip);
  }

  /** Marks the picture as the one on show; a new one goes to the front. */
  show(picture, label) {
    const button = this.add(picture, label);
    for (const other of this.#buttons.values()) other.setAttribute("aria-pressed", other === button);
  }

  /** A new one goes to the front, and the one on show stays marked. @returns {HTMLButtonElement} */
  add(picture, label) {
    this.#strip.hidden = false;
    const known = this.#buttons.get(picture.fingerprint);
    if (known) return known;
    const button = this.#thumbnail(picture, label);
    this.#buttons.set(picture.fingerprint, button);
    this.#strip.prepend(button);
    for (const key of [...this.#buttons.keys()].slice(0, -LENGTH)) {
      this.#buttons.get(key).remove();
      this.#buttons.delete(key);
    }
    this.#strip.scrollTo({ left: 0 });
    return button;
  }

  #thumbnail(picture, label) {
    const { image } = picture;
    const whole = new OffscreenCanvas(image.width, image.height);
    whole.getContext("2d").putImageData(image, 0, 0);
    const canvas = document.createElement("canvas");
    const scale = Math.min(1, THUMBNAIL / Math.max(image.width, image.height));
    canvas.width = Math.round(image.width * scale);
    canvas.height = Math.round(image.height * scale);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(whole, 0, 0, canvas.width, canvas.height);
    const button = document.createElement("button");
    button.type = "button";
    button.title = label;
    button.setAttribute("aria-label", `Show: ${label}`);
    button.append(canvas);
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("select", { detail: { picture } })));
    return button;
  }
}
