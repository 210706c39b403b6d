// Losses of a run as a drawing: above, the stable loss at evaluations in units of the base model's; below,
// the loss of each step. One reading line for pointer and arrow keys. To a screen reader it is a slider over the steps,
// whose value is what the line reads: so the arrow keys reach it, and each reading is said.

import { VERDICTS, number, percent } from "../train/log.js";

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 44;
const RIGHT = 14;
const TOP = 20;
const GAP = 34;
const BOTTOM = 22;

export class TrainPlot {
  #plot = document.querySelector("#plot");
  #readout = document.querySelector("#plot-readout");
  #verdict = document.querySelector("#verdict");
  #words = document.querySelector("#verdict-words");
  /** @type {?import("../train/log.js").RunLog} */
  #log = null;
  #steps = 1;
  /** @type {?number} the step that is read */
  #cursor = null;
  #frame = 0;

  constructor() {
    new ResizeObserver(() => this.#later()).observe(this.#plot);
    this.#plot.addEventListener("pointermove", (event) => this.#point(this.#stepAt(event)));
    this.#plot.addEventListener("pointerleave", () => this.#point(null));
    this.#plot.addEventListener("focus", () => this.#tellPlace(this.#cursor ?? this.#last));
    this.#plot.addEventListener("blur", () => this.#point(null));
    this.#plot.addEventListener("keydown", (event) => {
      const last = this.#last;
      const at = this.#cursor ?? last;
      const to = {
        ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, PageUp: at + 10, PageDown: at - 10, Home: 1, End: last,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.#point(Math.min(last, Math.max(0, to)));
    });
  }

  /** @param {import("../train/log.js").RunLog} log @param {number} steps of the whole run */
  show(log, steps) {
    this.#log = log;
    this.#steps = Math.max(1, steps, log.steps.at(-1)?.step ?? 0);
    this.#plot.dataset.points = String(log.steps.length);
    this.#later();
    this.#say();
    const last = log.evaluations.at(-1);
    this.#verdict.hidden = !last;
    this.#verdict.textContent = last ? VERDICTS[last.verdict] ?? last.verdict : "";
    this.#verdict.dataset.verdict = last?.verdict ?? "";
    if (this.#words.textContent !== (last?.words ?? "")) this.#words.textContent = last?.words ?? "";
  }

  /** The last step that there is. */
  get #last() {
    return this.#log?.steps.at(-1)?.step ?? 0;
  }

  /** For those who hear the page. */
  #say() {
    const { steps, evaluations } = this.#log;
    const last = steps.at(-1);
    const parts = [`Losses of ${steps.length} steps.`];
    if (last) parts.push(`At step ${last.step} the smoothed loss is ${number(last.smooth ?? 0)}.`);
    const measured = evaluations.at(-1);
    if (measured) {
      parts.push(`Measured at step ${measured.step}: ${percent(measured.train.ratio)} of the base model's loss on the pictures`
        + `${measured.heldOut ? `, ${percent(measured.heldOut.ratio)} on those held out` : ""}.`);
    }
    this.#plot.setAttribute("aria-label", parts.join(" "));
    this.#plot.setAttribute("aria-valuemax", this.#last);
    if (document.activeElement !== this.#plot) this.#tellPlace(this.#last);
  }

  #later() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#log && this.#plot.clientWidth > 0) this.#draw();
    });
  }

  #draw() {
    const width = this.#plot.clientWidth;
    const height = this.#plot.clientHeight;
    const { steps, evaluations, best } = this.#log;
    const share = Math.round((height - TOP - GAP - BOTTOM) * 0.55);
    const upper = { top: TOP, bottom: TOP + share };
    const lower = { top: TOP + share + GAP, bottom: height - BOTTOM };
    const x = (step) => LEFT + (width - LEFT - RIGHT) * step / this.#steps;

    const ratios = evaluations.flatMap(({ train, heldOut }) => [train.ratio, heldOut?.ratio ?? 0]);
    const topRatio = Math.max(1, ...ratios) * 1.04;
    const yRatio = (value) => upper.bottom - (upper.bottom - upper.top) * value / topRatio;
    const topLoss = highest(steps) * 1.05 || 1;
    const yLoss = (value) => lower.bottom - (lower.bottom - lower.top) * Math.min(1, value / topLoss);

    const svg = node("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const add = (name, attributes, text) => svg.append(node(name, attributes, text));

    for (const { band, y, values, title, words } of [
      { band: upper, y: yRatio, values: topRatio < 1.6 ? [0, 0.25, 0.5, 0.75, 1] : [...new Set([1, ...ticks(topRatio)])], title: width < 480 ? "stable loss, %" : "stable loss, % of the base model's", words: (value) => String(100 * value) },
      { band: lower, y: yLoss, values: ticks(topLoss), title: "loss of each step", words: number },
    ]) {
      add("text", { class: "title", x: LEFT, y: band.top - 7 }, title);
      for (const value of values) {
        add("line", { class: value === 1 && band === upper ? "grid base" : "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) });
        const room = band === lower || (value === 0 ? topRatio < 8 : value !== 0.25 && value !== 0.75);
        if (room) add("text", { class: "tick y", x: LEFT - 6, y: y(value) + 3.5 }, words(value));
      }
    }
    const every = tickSize(this.#steps, width < 480 ? 4 : 8);
    for (let step = 0; step <= this.#steps; step += every) add("text", { class: "tick x", x: x(step), y: height - 6 }, step);

    if (best) {
      add("line", { class: "best", x1: x(best), x2: x(best), y1: upper.top, y2: lower.bottom });
      const right = x(best) > width - 60;
      add("text", { class: `best ${right ? "end" : ""}`, x: x(best) + (right ? -5 : 5), y: upper.bottom + 13 }, "best"); // where no line runs through it
    }

    const seen = steps.filter(({ loss }) => loss !== null);
    add("path", { class: "raw", d: path(seen.map(({ step, loss }) => [x(step), yLoss(loss)])) });
    add("path", { class: "smooth", d: path(seen.map(({ step, smooth }) => [x(step), yLoss(smooth)])) });
    for (const { step } of steps.filter(({ skippedNow }) => skippedNow)) add("circle", { class: "skipped", cx: x(step), cy: lower.bottom, r: 3 });

    /** @type {[string, string, (e: import("../protocol.js").Evaluation) => ?{ratio: number}][]} */
    const lines = [["train", "pictures", (e) => e.train], ["held", "held out", (e) => e.heldOut]];
    for (const [name, , of] of lines) {
      const points = evaluations.filter(of).map((e) => [x(e.step), yRatio(of(e).ratio)]);
      if (points.length === 0) continue;
      add("path", { class: name, d: path(points) });
      for (const [cx, cy] of points) add("circle", { class: name, cx, cy, r: 3.5 });
    }
    this.#legend(svg, evaluations, lines, width);

    if (this.#cursor !== null) add("line", { class: "cursor", x1: x(this.#cursor), x2: x(this.#cursor), y1: upper.top, y2: lower.bottom });
    this.#plot.replaceChildren(svg);
  }

  #legend(svg, evaluations, lines, width) {
    let right = width - RIGHT;
    for (const [name, words, of] of lines.toReversed()) {
      if (!evaluations.some(of)) continue;
      const long = words.length * 6 + 8;
      svg.append(
        node("text", { class: "tick", x: right - long + 8, y: 12 }, words),
        node("path", { class: name, d: `M${right - long - 18} 8.5h20` }),
        node("circle", { class: name, cx: right - long - 8, cy: 8.5, r: 3.5 }),
      );
      right -= long + 34;
    }
  }

  #stepAt({ clientX }) {
    const { left, width } = this.#plot.getBoundingClientRect();
    const step = Math.round(this.#steps * (clientX - left - LEFT) / (width - LEFT - RIGHT));
    return Math.min(this.#last, Math.max(0, step));
  }

  #point(step) {
    if (step === this.#cursor) return;
    this.#cursor = step;
    this.#later();
    this.#readout.textContent = step === null ? "" : this.#read(step);
    this.#tellPlace(step ?? this.#last);
  }

  #tellPlace(step) {
    this.#plot.setAttribute("aria-valuenow", step);
    this.#plot.setAttribute("aria-valuetext", step === 0 ? "No step yet" : this.#read(step));
  }

  #read(step) {
    const { steps, evaluations } = this.#log;
    const at = steps.find((s) => s.step === step);
    const measured = evaluations.find((e) => e.step === step);
    const parts = [`step ${step}`];
    if (at) parts.push(at.skippedNow ? "skipped: no number" : `loss ${number(at.loss)}`, `learning rate ${number(at.learningRate)}`, `gradient ${number(at.gradientNorm)}`);
    if (measured) parts.push(`pictures ${percent(measured.train.ratio)}`);
    if (measured?.heldOut) parts.push(`held out ${percent(measured.heldOut.ratio)}`);
    return parts.join(" · ");
  }
}

function node(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function path(points) {
  return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

/** High enough for all of a few losses, and for all but outliers of many, which would flatten the rest. */
function highest(steps) {
  const losses = steps.map(({ loss }) => loss).filter((loss) => loss !== null).sort((a, b) => a - b);
  return losses[Math.ceil(0.985 * (losses.length - 1))] ?? 0;
}

function tickSize(range, count) {
  const rough = range / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  return Math.max(range > 3 ? 1 : size, size);
}

function ticks(top) {
  const size = tickSize(top, 2);
  return Array.from({ length: Math.floor(top / size) + 1 }, (_, i) => Number((i * size).toPrecision(3)));
}
