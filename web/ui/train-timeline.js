// The timeline: every snapshot of a run under one slider, two of them side by side, and what to do with one.

import "./lorakeet-two-up.js";

/** How long a slider rests before its picture is drawn. */
const REST_MS = 250;

/**
 * Events: "moved"; "show" {step, compare, prompt, strength}: show these, drawing what is lacking; "rewind" {step},
 * "export" {step}, "use" {step}.
 */
export class TrainTimeline extends EventTarget {
  #panel = document.querySelector("#timeline-panel");
  #range = document.querySelector("#timeline");
  #marks = document.querySelector("#timeline-marks");
  #output = document.querySelector("#timeline-step");
  #compareOn = document.querySelector("#compare-on");
  #compare = document.querySelector("#compare");
  #compareOutput = document.querySelector("#compare-step");
  #form = document.querySelector("#try-form");
  #prompt = document.querySelector("#try-prompt");
  #strength = document.querySelector("#try-strength");
  #pair = document.querySelector("#pair");
  #hint = document.querySelector("#pair-hint");
  #steps = [];
  #best = null;
  #rest = 0;

  constructor() {
    super();
    for (const range of [this.#range, this.#compare]) {
      range.addEventListener("input", () => {
        this.#words();
        this.#emit("moved", {});
        this.#ask();
      });
    }
    this.#compareOn.addEventListener("change", () => {
      this.#compare.disabled = !this.#compareOn.checked;
      this.#words();
      this.#ask(0);
    });
    this.#strength.addEventListener("input", () => {
      document.querySelector("#try-strength-value").value = this.#strength.valueAsNumber.toFixed(2);
      this.#ask();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask(0);
    });
    for (const [id, type] of [["rewind", "rewind"], ["export", "export"], ["use-adapter", "use"]]) {
      document.querySelector(`#${id}`).addEventListener("click", () => this.#emit(type, { step: this.step }));
    }
  }

  /** The chosen step. */
  get step() {
    return this.#steps[this.#range.valueAsNumber];
  }

  /** Whether the newest snapshot is chosen. */
  get atEnd() {
    return this.#range.valueAsNumber === this.#steps.length - 1;
  }

  /** What is asked for. */
  get wish() {
    return {
      step: this.step,
      compare: this.#compareOn.checked ? this.#steps[this.#compare.valueAsNumber] : null,
      prompt: this.#prompt.value.trim(),
      strength: this.#strength.valueAsNumber,
    };
  }

  /**
   * @param {number[]} steps of the snapshots
   * @param {?number} best
   * @returns {boolean} whether the chosen step is another now
   */
  setSnapshots(steps, best) {
    const before = this.step;
    const follow = this.atEnd || before === undefined;
    const other = this.#steps[this.#compare.valueAsNumber];
    this.#steps = steps;
    this.#best = best;
    this.#panel.hidden = steps.length === 0;
    for (const range of [this.#range, this.#compare]) range.max = String(Math.max(0, steps.length - 1));
    this.#range.valueAsNumber = follow || !steps.includes(before) ? steps.length - 1 : steps.indexOf(before);
    this.#compare.valueAsNumber = Math.max(0, steps.indexOf(other));
    this.#range.dataset.steps = steps.join(",");
    const every = Math.ceil(steps.length / 12);
    this.#marks.replaceChildren(...steps.map((step, i) => {
      const mark = document.createElement("span");
      mark.style.setProperty("--at", steps.length > 1 ? i / (steps.length - 1) : 0.5);
      mark.classList.toggle("best", step === best);
      if (i % every === 0 || i === steps.length - 1 && i % every > every / 2) mark.textContent = String(step);
      return mark;
    }));
    this.#words();
    return this.step !== before;
  }

  setEnabled({ draw, use, rewind }) {
    document.querySelector("#try").disabled = !draw;
    document.querySelector("#use-adapter").disabled = !use;
    document.querySelector("#export").disabled = !use;
    document.querySelector("#rewind").disabled = !rewind;
  }

  /** Forgets what was asked for a run that is gone. */
  reset() {
    clearTimeout(this.#rest);
    this.#steps = [];
    this.#prompt.value = "";
    this.#strength.value = "1";
    document.querySelector("#try-strength-value").value = "1.00";
    this.#compareOn.checked = false;
    this.#compare.disabled = true;
    this.clear("");
  }

  setPromptHint(prompt) {
    this.#prompt.placeholder = prompt ? `as in the preview: ${prompt}` : "as in the preview";
  }

  /** No picture, and why. */
  clear(hint) {
    this.#pair.toggleAttribute("data-empty", true);
    this.hint(hint);
    this.#side("right", null, "");
    this.#side("left", null, "");
  }

  hint(words) {
    this.#hint.textContent = words;
    this.#pair.toggleAttribute("data-busy", false);
  }

  /** Something is being drawn. */
  busy(on) {
    this.#pair.toggleAttribute("data-busy", on);
  }

  /**
   * @param {{image: ImageData, words: string}} picture
   * @param {?{image: ImageData, words: string}} other to its left
   */
  show(picture, other) {
    this.#hint.textContent = "";
    this.#pair.toggleAttribute("data-empty", false);
    this.#pair.toggleAttribute("data-busy", false);
    this.#pair.style.setProperty("--ratio", picture.image.width / picture.image.height);
    this.#side("right", picture.image, picture.words);
    this.#side("left", other?.image ?? null, other?.words ?? "");
  }

  #side(side, image, words) {
    const canvas = /** @type {HTMLCanvasElement} */ (this.#pair.querySelector(`[slot=${side}]`));
    this.#pair.setAttribute(`${side}-label`, words);
    canvas.setAttribute("aria-label", words || "No picture yet");
    if (side === "left") this.#pair.single = !image;
    if (!image) return;
    canvas.width = image.width;
    canvas.height = image.height;
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  #words() {
    const name = (step) => (step === undefined ? "" : step === this.#best ? `${step} (best so far)` : step === 0 ? "0 (the base)" : String(step));
    const other = this.#steps[this.#compare.valueAsNumber];
    this.#output.value = name(this.step);
    this.#compareOutput.value = this.#compareOn.checked ? name(other) : "";
    this.#range.setAttribute("aria-valuetext", `step ${name(this.step)}`);
    this.#compare.setAttribute("aria-valuetext", `step ${name(other)}`);
    document.querySelector("#timeline-note").textContent = this.#best === null ? "" : `best so far: step ${this.#best}`;
  }

  #ask(rest = REST_MS) {
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => this.step !== undefined && this.#emit("show", this.wish), rest);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
