// What is painted of a mask, as how opaque a canvas is. Places are pixels of the picture, whatever the canvas has.

import { keptOf } from "../start/extend.js";
import { paintedBy } from "../start/mask.js";

/** Stripes of two colours that everybody tells apart, whatever lies below. */
const STRIPES = ["#ffd60a", "#0a3cff"];
/** So many on the longer side. */
const STRIPES_ACROSS = 48;

/**
 * @typedef {{width: number, height: number}} Size
 * @typedef {{kind: "stroke", points: [number, number][], size: number, erase: boolean}
 *   | {kind: "rectangle", x: number, y: number, width: number, height: number, erase: boolean}
 *   | {kind: "all", erase: boolean} | {kind: "invert"}
 *   | {kind: "load", pixels: import("../protocol.js").Pixels}
 *   | {kind: "extend", sides: import("../start/extend.js").Sides, filling: "edge"|"noise"}} Deed
 */
export class MaskLayer {
  /** @type {HTMLCanvasElement|OffscreenCanvas} */
  #canvas;
  #scaleOf;
  /** Of the picture. @type {Size} */
  size = { width: 1, height: 1 };
  /** @type {CanvasPattern} */
  #stripes;

  /** @param {HTMLCanvasElement|OffscreenCanvas} canvas @param {(size: Size) => number} scaleOf   its pixels for one of the picture */
  constructor(canvas, scaleOf) {
    this.#canvas = canvas;
    this.#scaleOf = scaleOf;
  }

  /** Nothing is painted, of a picture of this size. @param {Size} size */
  begin({ width, height }) {
    this.size = { width, height };
    const scale = this.#scaleOf(this.size);
    this.#canvas.width = Math.max(1, Math.round(width * scale));
    this.#canvas.height = Math.max(1, Math.round(height * scale));
    this.#context.setTransform(this.#canvas.width / width, 0, 0, this.#canvas.height / height, 0, 0);
    this.#stripes = this.#pattern();
  }

  get image() {
    return this.#context.getImageData(0, 0, this.#canvas.width, this.#canvas.height);
  }

  /** @param {Deed} deed */
  apply(deed) {
    const all = { x: 0, y: 0, ...this.size };
    if (deed.kind === "stroke") {
      const { points } = deed;
      for (let i = 0; i < points.length; i += 1) this.line(deed, points[Math.max(0, i - 1)], points[i]);
    } else if (deed.kind === "rectangle") {
      this.#fill(deed.erase ? "destination-out" : "source-over", deed);
    } else if (deed.kind === "all") {
      this.#fill(deed.erase ? "destination-out" : "source-over", all);
    } else if (deed.kind === "invert") {
      this.#fill("xor", all);
    } else if (deed.kind === "load") {
      this.load(deed.pixels);
    } else {
      this.#extend(deed.sides);
    }
  }

  /** Takes the place of what was painted. @param {import("../protocol.js").Pixels} pixels */
  load({ width, height, rgba }) {
    const painted = paintedBy(rgba);
    const image = new ImageData(width, height);
    for (let i = 0; i < painted.length; i += 1) image.data[4 * i + 3] = painted[i];
    const loaded = new OffscreenCanvas(width, height);
    loaded.getContext("2d").putImageData(image, 0, 0);
    const all = { x: 0, y: 0, ...this.size };
    this.#fill("destination-out", all);
    this.#context.imageSmoothingQuality = "high";
    this.#context.drawImage(loaded, 0, 0, all.width, all.height);
    this.#fill("source-in", all);
  }

  /** @param {{size: number, erase: boolean}} brush @param {[number, number]} from @param {[number, number]} to */
  line({ size, erase }, from, to) {
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

  /** @param {import("../start/extend.js").Sides} sides */
  #extend(sides) {
    const { left, right, top, bottom } = sides;
    const { width, height } = this.size;
    const before = new OffscreenCanvas(this.#canvas.width, this.#canvas.height);
    before.getContext("2d").drawImage(this.#canvas, 0, 0);
    this.begin({ width: width + left + right, height: height + top + bottom });
    this.#fill("source-over", { x: 0, y: 0, ...this.size });
    this.#fill("destination-out", keptOf({ width, height }, sides));
    this.#context.drawImage(before, left, top, width, height);
  }

  /** @returns {CanvasRenderingContext2D} */
  get #context() {
    const context = this.#canvas.getContext("2d", { willReadFrequently: true });
    return /** @type {CanvasRenderingContext2D} */ (context);
  }

  /** @param {GlobalCompositeOperation} how @param {{x: number, y: number, width: number, height: number}} where */
  #fill(how, { x, y, width, height }) {
    const context = this.#context;
    context.globalCompositeOperation = how;
    context.fillStyle = this.#stripes;
    context.fillRect(x, y, width, height);
    context.globalCompositeOperation = "source-over";
  }

  #pattern() {
    const side = Math.max(4, Math.round(Math.max(this.size.width, this.size.height) / STRIPES_ACROSS));
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
