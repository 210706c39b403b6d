// The mask over a picture: strokes, rectangles, files, and the picture made larger, each with a way back. What is done is
// kept as a list and done anew for each step back. It is shown no larger than a screen needs, so that painting on a photo
// is as quick as on a stamp, and done at the picture's own size when it is through.

import { extended } from "../start/extend.js";
import { maskOf, shareOf } from "../start/mask.js";
import { MaskLayer } from "./mask-layer.js";

/** Longest side that is shown. */
const SHOWN = 1280;

/** @typedef {import("./mask-layer.js").Deed} Deed */

export class MaskCanvas {
  #picture;
  /** What is seen of it. */
  #layer;
  /** What it began with. @type {?{pixels: import("../protocol.js").Pixels, mask: ?import("../protocol.js").Pixels}} */
  #first = null;
  /** @type {import("../protocol.js").Pixels} */
  #pixels;
  /** @type {Deed[]} */
  #deeds = [];
  /** How many of them are done. */
  #done = 0;
  /** What each that makes the picture larger has made. @type {WeakMap<Deed, import("../protocol.js").Pixels>} */
  #grown = new WeakMap();

  /** @param {HTMLCanvasElement} picture @param {HTMLCanvasElement} canvas   over it */
  constructor(picture, canvas) {
    this.#picture = picture;
    this.#layer = new MaskLayer(canvas, shownScale);
  }

  /** @param {import("../protocol.js").Pixels} pixels @param {?import("../protocol.js").Pixels} mask */
  begin(pixels, mask) {
    this.#first = { pixels, mask };
    this.#deeds = [];
    this.#done = 0;
    this.#rebuild();
  }

  /** Of the picture. */
  get size() { return this.#layer.size; }

  get canUndo() { return this.#done > 0; }

  get canRedo() { return this.#done < this.#deeds.length; }

  /** @param {Deed} deed */
  do(deed) {
    this.#deeds.splice(this.#done, Infinity, deed);
    this.#done += 1;
    this.#apply(deed);
  }

  /** One more point of the stroke that was done last. @param {[number, number]} point */
  go(point) {
    const stroke = this.#deeds[this.#done - 1];
    if (stroke?.kind !== "stroke") return;
    this.#layer.line(stroke, stroke.points.at(-1), point);
    stroke.points.push(point);
  }

  undo() {
    if (!this.canUndo) return;
    this.#done -= 1;
    this.#rebuild();
  }

  redo() {
    if (!this.canRedo) return;
    this.#done += 1;
    this.#apply(this.#deeds[this.#done - 1]);
  }

  /** Takes back what was done last, for good. */
  drop() {
    this.undo();
    this.#deeds.length = this.#done;
  }

  /**
   * What it came to, at the picture's own size; mask: null where nothing is painted.
   * @returns {{pixels: import("../protocol.js").Pixels, mask: ?import("../protocol.js").Pixels, isExtended: boolean}}
   */
  get result() {
    const whole = new MaskLayer(new OffscreenCanvas(1, 1), () => 1);
    const isExtended = this.#doneDeeds.some(({ kind }) => kind === "extend");
    this.#do(whole);
    const mask = maskOf(whole.image);
    return { pixels: this.#pixels, mask: shareOf(mask) > 0 ? mask : null, isExtended };
  }

  get #doneDeeds() { return this.#deeds.slice(0, this.#done); }

  #rebuild() {
    this.#do(this.#layer);
    this.#show(this.#doneDeeds.reduce((pixels, deed) => this.#after(pixels, deed), this.#first.pixels));
  }

  /** All that is done. @param {MaskLayer} layer */
  #do(layer) {
    const { pixels, mask } = this.#first;
    layer.begin(pixels);
    if (mask) layer.load(mask);
    for (const deed of this.#doneDeeds) layer.apply(deed);
  }

  /** @param {Deed} deed */
  #apply(deed) {
    this.#layer.apply(deed);
    this.#show(this.#after(this.#pixels, deed));
  }

  /** The picture after it. @param {import("../protocol.js").Pixels} pixels @param {Deed} deed */
  #after(pixels, deed) {
    if (deed.kind !== "extend") return pixels;
    const grown = this.#grown.get(deed) ?? extended(pixels, deed.sides, deed.filling);
    this.#grown.set(deed, grown);
    return grown;
  }

  /** @param {import("../protocol.js").Pixels} pixels */
  #show(pixels) {
    if (pixels === this.#pixels) return;
    this.#pixels = pixels;
    const whole = new OffscreenCanvas(pixels.width, pixels.height);
    whole.getContext("2d").putImageData(new ImageData(pixels.rgba, pixels.width, pixels.height), 0, 0);
    const scale = shownScale(pixels);
    this.#picture.width = Math.max(1, Math.round(pixels.width * scale));
    this.#picture.height = Math.max(1, Math.round(pixels.height * scale));
    const context = this.#picture.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(whole, 0, 0, this.#picture.width, this.#picture.height);
  }
}

/** @param {{width: number, height: number}} size */
function shownScale({ width, height }) {
  return Math.min(1, SHOWN / Math.max(width, height));
}
