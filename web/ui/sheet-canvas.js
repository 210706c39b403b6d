// A sheet as a picture: drawn from its layout, filled cell by cell, and what its file is made of.

/** No browser draws a canvas that is longer. */
const LONGEST = 16384;
/** Pictures of fewer pixels are drawn twice as large, so that the labels beside them can be read. */
const SMALL = 256;
const FAMILY = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

export class SheetCanvas {
  #canvas;
  /** Canvas pixels for one of the sheet: below 1 where the whole is more than this browser draws. */
  #scale = 1;
  #cell = { width: 1, height: 1 };
  #colours = { ground: "", text: "", soft: "", line: "", accent: "" };
  /** @type {?import("../sheet/layout.js").Layout} */
  #layout = null;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
  }

  get canvas() { return this.#canvas; }

  get layout() { return this.#layout; }

  #context() {
    return this.#canvas.getContext("2d", { willReadFrequently: true });
  }

  /** @returns {import("../sheet/layout.js").Measure} */
  get measure() {
    const context = new OffscreenCanvas(1, 1).getContext("2d");
    return (text, font) => {
      context.font = `600 ${font}px ${FAMILY}`;
      return context.measureText(text).width;
    };
  }

  /**
   * An empty sheet in the page's colours.
   * @param {import("../sheet/layout.js").Layout} layout
   * @param {{width: number, height: number}} cell
   */
  begin(layout, cell) {
    this.#layout = layout;
    this.#cell = cell;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.#colours = { ground: colour("surface"), text: colour("text"), soft: colour("soft"), line: colour("sunken"), accent: colour("accent") };
    this.#scale = Math.min(cell.width < SMALL ? 2 : 1, LONGEST / Math.max(layout.width, layout.height));
    while (!this.#resize() && this.#scale > 0.1) this.#scale /= 2;
    this.#labels();
    layout.cells.forEach((_, i) => this.blank(i));
  }

  /** @returns {boolean} whether this browser has room for it */
  #resize() {
    this.#canvas.width = Math.floor(this.#layout.width * this.#scale);
    this.#canvas.height = Math.floor(this.#layout.height * this.#scale);
    const context = this.#context();
    if (!context) return false;
    context.setTransform(this.#scale, 0, 0, this.#scale, 0, 0);
    context.fillStyle = this.#colours.ground;
    context.fillRect(0, 0, this.#layout.width + 1, this.#layout.height + 1);
    return context.getImageData(this.#canvas.width - 1, this.#canvas.height - 1, 1, 1).data[3] > 0;
  }

  #labels() {
    const { titles, headings, columns, rows, foot, font, line } = this.#layout;
    const context = this.#context();
    const write = (text, x, y, { align = "left", size = font, weight = 400, colour = this.#colours.text } = {}) => {
      context.font = `${weight} ${size}px ${FAMILY}`;
      context.textAlign = /** @type {CanvasTextAlign} */ (align);
      context.textBaseline = "middle";
      context.fillStyle = colour;
      context.fillText(text, x, y);
    };
    for (const { x, y, text } of titles) write(text, x, y, { colour: this.#colours.soft });
    for (const { x, y, lines } of headings) lines.forEach((words, i) => write(words, x, y + i * line, { weight: 600 }));
    const all = [...columns, ...rows].map(({ gauge }) => gauge).filter((gauge) => gauge !== undefined);
    const range = { least: Math.min(0, ...all), most: Math.max(1, ...all) };
    const { width } = this.#cell;
    for (const { x, y, lines, gauge } of columns) {
      lines.forEach((words, i) => write(words, x, y + i * line, { align: "center", weight: 600 }));
      if (gauge !== undefined) this.#gauge(x - 0.3 * width, y + (lines.length - 0.3) * line, 0.6 * width, gauge, range);
    }
    for (const { x, y, lines, gauge } of rows) {
      lines.forEach((words, i) => write(words, x, y + i * line, { align: "right", weight: 600 }));
      if (gauge !== undefined) this.#gauge(x - 3 * font, y + (lines.length - 0.3) * line, 3 * font, gauge, range);
    }
    foot.lines.forEach((words, i) => write(words, foot.x, foot.y + 1.3 * i * foot.font, { size: foot.font, colour: this.#colours.soft }));
  }

  /** How strong, from nothing on. */
  #gauge(x, y, width, value, { least, most }) {
    const context = this.#context();
    const at = (strength) => x + width * (strength - least) / (most - least);
    const height = Math.max(3, this.#layout.font / 5);
    const bar = (from, to, colour) => {
      context.fillStyle = colour;
      context.beginPath();
      context.roundRect(Math.min(from, to), y - height / 2, Math.max(height, Math.abs(to - from)), height, height / 2);
      context.fill();
    };
    bar(x, x + width, this.#colours.line);
    if (value !== 0) bar(at(0), at(value), this.#colours.accent);
  }

  /** A cell without its picture. */
  blank(i, words = "") {
    const { x, y } = this.#layout.cells[i];
    const { width, height } = this.#cell;
    const context = this.#context();
    context.fillStyle = this.#colours.line;
    context.fillRect(x, y, width, height);
    if (!words) return;
    context.font = `${this.#layout.font}px ${FAMILY}`;
    context.textAlign = "center";
    context.fillStyle = this.#colours.soft;
    context.fillText(words, x + width / 2, y + height / 2, width);
  }

  /** What there is of it so far. @param {number} i @param {import("../protocol.js").Pixels} pixels */
  preview(i, pixels) {
    this.#draw(i, new ImageData(pixels.rgba, pixels.width, pixels.height));
  }

  /** @param {ImageData} image */
  picture(i, image) {
    const { x, y } = this.#layout.cells[i];
    const { width, height } = this.#cell;
    // pixel by pixel, where there is one for each
    if (this.#scale === 1 && image.width === width && image.height === height) this.#context().putImageData(image, x, y);
    else this.#draw(i, image);
  }

  #draw(i, image) {
    const { x, y } = this.#layout.cells[i];
    const whole = new OffscreenCanvas(image.width, image.height);
    whole.getContext("2d").putImageData(image, 0, 0);
    const context = this.#context();
    context.imageSmoothingQuality = "high";
    context.drawImage(whole, x, y, this.#cell.width, this.#cell.height);
  }

  /** The picture of a cell again, where every pixel of it is there. @returns {?ImageData} */
  image(i) {
    const { x, y } = this.#layout.cells[i];
    return this.#scale === 1 ? this.#context().getImageData(x, y, this.#cell.width, this.#cell.height) : null;
  }

  /** @returns {Promise<Blob>} */
  png() {
    return new Promise((resolve, reject) => {
      this.#canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("this browser has no room for a picture of this size. Take fewer values"))), "image/png");
    });
  }
}
