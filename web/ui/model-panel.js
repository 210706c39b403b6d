// The model in use, what memory it takes, its load report, and the dialog with the licences.

import { gigabytes } from "../format.js";

const NAMES = { unet: "UNet", vae: "VAE" };
const WEIGHTS = { f32: "full (f32)", f16: "half (f16)", q8: "8-bit" };

/** Events: "demo"; "weights" {weights: ?"f32"|"f16"|"q8"} when they are to be kept otherwise (null: as it fits). */
export class ModelPanel extends EventTarget {
  #name = document.querySelector("#model-name");
  #detail = document.querySelector("#model-detail");
  #demoLine = document.querySelector("#model-demo");
  #back = document.querySelector("#demo-back");
  #notes = document.querySelector("#model-notes");
  #memory = document.querySelector("#model-memory");
  #weights = document.querySelector("#model-weights");
  #memoryLine = document.querySelector("#model-memory-line");

  constructor() {
    super();
    this.#back.addEventListener("click", () => this.dispatchEvent(new CustomEvent("demo")));
    this.#weights.addEventListener("change", () => {
      this.dispatchEvent(new CustomEvent("weights", { detail: { weights: this.#weights.value || null } }));
    });
    const about = document.querySelector("#about");
    for (const opener of ["#about-open", "#licences-open"]) {
      document.querySelector(opener).addEventListener("click", () => about.showModal());
    }
    about.addEventListener("click", (event) => event.target === about && about.close());
  }

  /**
   * @param {string} title
   * @param {import("../protocol.js").ModelReport} report
   * @param {boolean} isDemo
   */
  show(title, report, isDemo) {
    const { components, unused, notes, native, predictionType } = report;
    const parameters = components.reduce((sum, c) => sum + c.parameters, 0);
    const bytes = components.reduce((sum, c) => sum + c.bytes, 0);
    this.#name.textContent = title;
    this.#detail.textContent = `${millions(parameters)} parameters, ${(bytes / 1e6).toFixed(1)} MB, ${native.width}×${native.height}`;
    this.#demoLine.hidden = !isDemo;

    const lines = [
      ...components.map((c) => `${NAMES[c.name] ?? c.name}: ${c.tensors} tensors, ${millions(c.parameters)} parameters`),
      predictionType && `predicts ${predictionType}`,
      ...notes,
      ...listed("not used", unused),
    ].filter(Boolean);
    this.#notes.hidden = lines.length === 0;
    this.#notes.querySelector("ul").replaceChildren(...lines.map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }));
  }

  /** There is none any more. */
  clear() {
    this.#name.textContent = "None loaded";
    this.#detail.textContent = "";
    this.#demoLine.hidden = this.#notes.hidden = this.#memory.hidden = true;
  }

  /** What a model would take that is about to be loaded. @param {import("../protocol.js").Judged} judged */
  showJudged({ words }) {
    this.#memoryLine.textContent = `${words}.`;
    this.#memory.hidden = false;
    this.#weights.disabled = true;
  }

  /**
   * @param {import("../protocol.js").Memory} memory
   * @param {?string} asked   the weights that were asked for; null: as it fits
   */
  showMemory({ model, held, offer }, asked) {
    this.#memory.hidden = !model;
    if (!model) return;
    for (const option of this.#weights.options) {
      const { value } = option;
      option.textContent = value ? `${WEIGHTS[value]}: ${gigabytes(model.sizes[value])}` : `as it fits: ${WEIGHTS[model.weights]}`;
    }
    if (asked) this.#weights.options[0].textContent = "as it fits";
    this.#weights.value = asked ?? "";
    this.#weights.disabled = false;
    const most = offer.total === null ? "WebGPU doesn't tell how much there is" : `of ${gigabytes(offer.total)}${offer.limited ? ", the limit in this page's address" : " that this tab can have"}`;
    this.#memoryLine.textContent = `${gigabytes(held)} in use, ${most}.`;
  }

  setBackToDemo(shown, anyModel) {
    this.#back.hidden = !shown;
    this.#back.textContent = anyModel ? "Back to the demo model" : "Load the demo model";
  }
}

function listed(what, keys) {
  const shown = keys.slice(0, 100).map((key) => `${what}: ${Array.isArray(key) ? key.join(", ") : key}`);
  return keys.length > shown.length ? [...shown, `and ${keys.length - shown.length} more ${what}`] : shown;
}

function millions(count) {
  return count < 1e9 ? `${(count / 1e6).toFixed(1)} M` : `${(count / 1e9).toFixed(2)} G`;
}
