// The mask over a picture: strokes, rectangles, files, and the picture made larger, each with a way back. What is done is
// kept as a list and done anew for each step back, so that a large picture takes no more memory than once.

import { extended, keptOf } from "../start/extend.js";
import { maskOf, paintedBy, shareOf } from "../start/mask.js";

/** Stripes of two colours that everybody tells apart, whatever lies below. */
const STRIPES = ["#ffd60a", "#0a3cff"];
/** So many on the longer side. */
const STRIPES_ACROSS = 48;

/**
 * @typedef {{kind: "stroke", points: [number, number][], size: number, erase: boolean}
 *   | {kind: "rectangle", x: number, y: number, width: number, height: number, erase: boolean}
 *   | {kind: "all", erase: boolean} | {kind: "invert"}
 *   | {kind: "load", pixels: import("../protocol.js").Pixels}
 *   | {kind: "extend", sides: import("../start/extend.js").Sides, filling: "edge"|"noise"}} Deed
 */
export class MaskCanvas {
  #picture;
  #canvas;
  /** What it began with. @type {?{pixels: import("../protocol.js").Pixels, mask: ?import("../protocol.js").Pixels}} */
  #first = null;
  /** @type {import("../protocol.js").Pixels} */
  #pixels;
  /** @type {Deed[]} */
  #deeds = [];
  /** How many of them are done. */
  #done = 0;
  /** @type {CanvasPattern} */
  #stripes;

  /** @param {HTMLCanvasElement} picture @param {HTMLCanvasElement} canvas   over it */
  constructor(picture, canvas) {
    this.#picture = picture;
    this.#canvas = canvas;
  }

  /** @param {import("../protocol.js").Pixels} pixels @param {?import("../protocol.js").Pixels} mask */
  begin(pixels, mask) {
    this.#first = { pixels, mask };
    this.#deeds = [];
    this.#done = 0;
    this.#rebuild();
  }

  get size() { return { width: this.#canvas.width, height: this.#canvas.height }; }

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
    this.#line(stroke, stroke.points.at(-1), point);
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
   * What it came to; mask: null where nothing is painted.
   * @returns {{pixels: import("../protocol.js").Pixels, mask: ?import("../protocol.js").Pixels, isExtended: boolean}}
   */
  get result() {
    const { width, height } = this.#canvas;
    const mask = maskOf(this.#context.getImageData(0, 0, width, height));
    const isExtended = this.#deeds.slice(0, this.#done).some(({ kind }) => kind === "extend");
    return { pixels: this.#pixels, mask: shareOf(mask) > 0 ? mask : null, isExtended };
  }

  get #context() {
    return this.#canvas.getContext("2d", { willReadFrequently: true });
  }

  #rebuild() {
    const { pixels, mask } = this.#first;
    this.#to(pixels);
    if (mask) this.#load(mask);
    for (const deed of this.#deeds.slice(0, this.#done)) this.#apply(deed);
  }

  /** Another picture, with nothing painted. */
  #to(pixels) {
    this.#pixels = pixels;
    for (const canvas of [this.#picture, this.#canvas]) {
      canvas.width = pixels.width;
      canvas.height = pixels.height;
    }
    this.#stripes = this.#pattern();
    this.#picture.getContext("2d").putImageData(new ImageData(pixels.rgba, pixels.width, pixels.height), 0, 0);
  }

  /** @param {Deed} deed */
  #apply(deed) {
    const { width, height } = this.#canvas;
    if (deed.kind === "stroke") {
      const { points } = deed;
      for (let i = 0; i < points.length; i += 1) this.#line(deed, points[Math.max(0, i - 1)], points[i]);
    } else if (deed.kind === "rectangle") {
      this.#fill(deed.erase ? "destination-out" : "source-over", deed);
    } else if (deed.kind === "all") {
      this.#fill(deed.erase ? "destination-out" : "source-over", { x: 0, y: 0, width, height });
    } else if (deed.kind === "invert") {
      this.#fill("xor", { x: 0, y: 0, width, height });
    } else if (deed.kind === "load") {
      this.#load(deed.pixels);
    } else {
      this.#extend(deed);
    }
  }

  #extend({ sides, filling }) {
    const before = new OffscreenCanvas(this.#canvas.width, this.#canvas.height);
    before.getContext("2d").drawImage(this.#canvas, 0, 0);
    const kept = keptOf(this.#pixels, sides);
    this.#to(extended(this.#pixels, sides, filling));
    this.#fill("source-over", { x: 0, y: 0, ...this.size });
    this.#fill("destination-out", kept);
    this.#context.drawImage(before, sides.left, sides.top);
  }

  /** Takes the place of what was painted. @param {import("../protocol.js").Pixels} pixels */
  #load({ width, height, rgba }) {
    const painted = paintedBy(rgba);
    const image = new ImageData(width, height);
    for (let i = 0; i < painted.length; i += 1) image.data[4 * i + 3] = painted[i];
    const loaded = new OffscreenCanvas(width, height);
    loaded.getContext("2d").putImageData(image, 0, 0);
    const all = { x: 0, y: 0, ...this.size };
    this.#fill("destination-out", all);
    this.#context.drawImage(loaded, 0, 0, all.width, all.height);
    this.#fill("source-in", all);
  }

  /** @param {GlobalCompositeOperation} how @param {{x: number, y: number, width: number, height: number}} where */
  #fill(how, { x, y, width, height }) {
    const context = this.#context;
    context.globalCompositeOperation = how;
    context.fillStyle = this.#stripes;
    context.fillRect(x, y, width, height);
    context.globalCompositeOperation = "source-over";
  }

  /** @param {{size: number, erase: boolean}} brush @param {[number, number]} from @param {[number, number]} to */
  #line({ size, erase }, from, to) {
    const context = this.#context;
    context.globalCompositeOperation = erase ? "destination-out" : "source-over";
    context.fillStyle = context.strokeStyle = this.#stripes;
    // a line of no length is none
    context.beginPath();
    context.arc(...to, size / 2, 0, 2 * Math.PI);
    context.fill();
    context.lineWidth = size;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    context.globalCompositeOperation = "source-over";
  }

  #pattern() {
    const side = Math.max(4, Math.round(Math.max(this.#canvas.width, this.#canvas.height) / STRIPES_ACROSS));
    const tile = new OffscreenCanvas(side, side);
    const context = tile.getContext("2d");
    [context.fillStyle] = STRIPES;
    context.fillRect(0, 0, side, side);
    context.strokeStyle = STRIPES[1];
    context.lineWidth = side / Math.SQRT2 / 2;
    for (const shift of [-side, 0, side]) {
      context.beginPath();
      context.moveTo(shift - side / 2, side * 1.5);
      context.lineTo(shift + side * 1.5, -side / 2);
      context.stroke();
    }
    return this.#context.createPattern(tile, "repeat");
  }
}
