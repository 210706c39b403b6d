// The picture: strength 0 to the left of a divider, now to the right of it; previews while it is drawn.

import "./lorakeet-two-up.js";

export class TwoUp {
  #stage = document.querySelector("#stage");
  #figure = document.querySelector("#two-up");
  #now = document.querySelector("#canvas-now");
  #base = document.querySelector("#canvas-base");
  #hint = document.querySelector("#two-up-hint");
  /** What is drawn when no run is on: {image, words, base}. */
  #settled = null;
  /** Where previews show a part alone. @type {?{image: ImageData, crop: import("../start/crop.js").Box}} */
  #part = null;

  /** An empty stage of this shape. */
  clear({ width, height }, hint) {
    this.#settled = null;
    this.#setBase(null);
    this.#resize(this.#now, width, height);
    this.#shape(width, height);
    this.#now.setAttribute("aria-label", "No picture yet");
    this.#hint.textContent = hint;
    this.#figure.toggleAttribute("data-empty", true);
  }

  /** Words on an empty stage. */
  hint(words) {
    this.#hint.textContent = words;
  }

  /**
   * A run begins: the old picture stays until previews cover it.
   * @param {{width: number, height: number}} size @param {?ImageData} base
   * @param {?{picture: import("../protocol.js").Pixels, crop: import("../start/crop.js").Box}} part   a part alone is drawn
   */
  begin({ width, height }, base, part) {
    this.#part = part && { image: new ImageData(part.picture.rgba, width, height), crop: part.crop };
    if (this.#now.width !== width || this.#now.height !== height) {
      this.#resize(this.#now, width, height);
      this.#shape(width, height);
    }
    this.#hint.textContent = "";
    this.#setBase(base);
  }

  /**
   * A small picture of what the run has so far, over what was there.
   * @param {import("../protocol.js").Pixels} pixels
   * @param {number} fraction of the run that is done
   */
  preview({ width, height, rgba }, fraction) {
    const small = new OffscreenCanvas(width, height);
    small.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
    const context = this.#now.getContext("2d");
    context.imageSmoothingQuality = "high";
    if (this.#part) {
      const { image: whole, crop: { left, top, right, bottom } } = this.#part;
      context.putImageData(whole, 0, 0);
      context.drawImage(small, left, top, right - left, bottom - top);
      this.#figure.toggleAttribute("data-empty", false);
      return;
    }
    const image = this.#settled?.image;
    const covers = image?.width === this.#now.width && image?.height === this.#now.height;
    if (covers) context.putImageData(image, 0, 0);
    context.globalAlpha = covers ? Math.min(1, 0.15 + 1.7 * fraction) : 1;
    context.drawImage(small, 0, 0, this.#now.width, this.#now.height);
    context.globalAlpha = 1;
    this.#figure.toggleAttribute("data-empty", false);
  }

  /**
   * @param {ImageData} image
   * @param {{alt: string, adapters: string}} words
   * @param {?ImageData} base
   */
  show(image, words, base) {
    this.#settled = { image, words, base };
    this.#resize(this.#now, image.width, image.height);
    this.#shape(image.width, image.height);
    this.#now.getContext("2d").putImageData(image, 0, 0);
    this.#now.setAttribute("aria-label", words.adapters ? `${words.alt}, with ${words.adapters}` : words.alt);
    this.#hint.textContent = "";
    this.#figure.toggleAttribute("data-empty", false);
    this.#setBase(base);
  }

  /** @param {ImageData} base the picture on show, at strength 0 */
  setBase(base) {
    if (this.#settled) this.#settled.base = base;
    this.#setBase(base);
  }

  /** Back to the last whole picture, after a run that was stopped. */
  revert() {
    if (this.#settled) this.show(this.#settled.image, this.#settled.words, this.#settled.base);
  }

  #setBase(base) {
    this.#figure.single = !base;
    this.#figure.rightLabel = base ? this.#settled?.words.adapters || "now" : "";
    if (!base) return;
    this.#resize(this.#base, base.width, base.height);
    this.#base.getContext("2d").putImageData(base, 0, 0);
  }

  #resize(canvas, width, height) {
    canvas.width = width;
    canvas.height = height;
  }

  #shape(width, height) {
    this.#stage.style.setProperty("--ratio", width / height);
  }
}
