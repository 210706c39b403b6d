// The settings of a run: presets, a few fields, and everything else folded away. The table of fields is
// train/fields.js; the form holds one configuration and writes into it.

import { about } from "../format.js";
import { RANDOM, randomSeed } from "../seed.js";
import { ADVANCED, BASIC, KEPT, PRESETS, setAt, valueAt } from "../train/fields.js";

/** Events: "preset" {name}, "change" {config}. */
export class TrainSettings extends EventTarget {
  #fields = document.querySelector("#train-fields");
  #locked = document.querySelector("#train-locked");
  #presets = document.querySelector("#presets");
  /** @type {{field: import("../train/fields.js").Field, element: HTMLElement, write: (config: object) => void}[]} */
  #parts = [];
  #config = null;
  #preset = null;

  constructor() {
    super();
    for (const [name, words] of Object.entries(PRESETS)) this.#presets.append(this.#presetButton(name, words));
    document.querySelector("#train-basic").append(...BASIC.map((field) => this.#part(field)));
    document.querySelector("#train-advanced").append(...ADVANCED.map(({ title, fields }) => {
      const details = document.createElement("details");
      details.className = "fold";
      const summary = document.createElement("summary");
      summary.textContent = title;
      const grid = document.createElement("div");
      grid.className = "train-grid";
      grid.append(...fields.map((field) => this.#part(field)));
      // a field inside closed details cannot show what is wrong with it
      grid.addEventListener("invalid", () => { details.open = true; }, true);
      details.append(summary, grid);
      return details;
    }));
    this.#fields.disabled = true;
  }

  /** @returns {?import("../protocol.js").TrainConfig} */
  get config() {
    return this.#config && structuredClone(this.#config);
  }

  get preset() {
    return this.#preset;
  }

  /** Whether every field is good. */
  get valid() {
    return controlsOf(this.#fields).every((control) => !control.willValidate || control.validity.valid);
  }

  /** Shows the first field that is not good. @returns {string} which one, and what is wrong with it, in the browser's words */
  report() {
    for (const control of controlsOf(this.#fields)) {
      if (control.reportValidity() === false) return `“${control.labels[0].textContent}”: ${control.validationMessage}`;
    }
    return "";
  }

  /** @param {?string} preset whose settings these are */
  write(config, preset = null) {
    this.#config = structuredClone(config);
    this.#preset = preset;
    this.#show();
  }

  /** A preset's settings, in place of all but what a preset leaves alone. */
  usePreset(name, config) {
    const kept = Object.fromEntries(KEPT.filter((key) => this.#config && key in this.#config).map((key) => [key, this.#config[key]]));
    this.write({ ...config, ...kept }, name);
  }

  /** Changes some fields from elsewhere on the page. */
  set(path, value) {
    if (!this.#config) return;
    setAt(this.#config, path, value);
    this.#show();
  }

  setModel(title) {
    document.querySelector("#train-model").textContent = title ? `on ${title}` : "";
  }

  setLocked(locked, byRun = locked) {
    this.#fields.disabled = locked;
    this.#locked.hidden = !byRun;
  }

  /** @param {Record<string, {steps: number, seconds: ?number}>} times */
  setTimes(times) {
    for (const button of this.#presets.querySelectorAll("button")) {
      const { steps, seconds } = times[button.dataset.preset] ?? {};
      button.querySelector("small").textContent = [steps && `${steps} steps`, seconds && `about ${about(seconds)}`].filter(Boolean).join(" · ");
    }
  }

  #presetButton(name, words) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "preset";
    button.dataset.preset = name;
    button.dataset.testid = `preset-${name}`;
    button.setAttribute("aria-pressed", "false");
    button.append(Object.assign(document.createElement("b"), { textContent: words }), document.createElement("small"));
    button.addEventListener("click", () => this.#emit("preset", { name }));
    return button;
  }

  /** A field's label with its control and words. */
  #part(field) {
    const { path, label, type, hint, wide } = field;
    const id = `train-${path.replaceAll(".", "-")}`;
    const element = document.createElement(type === "checks" ? "fieldset" : "div");
    element.className = `field ${type}`;
    element.classList.toggle("wide", Boolean(wide));
    const { controls, write } = type === "checks" ? this.#checks(field) : this.#control(field, id);
    const name = document.createElement(type === "checks" ? "legend" : "label");
    name.textContent = label;
    if (type !== "checks") name.setAttribute("for", id);
    if (type === "check") element.append(...controls, name);
    else element.append(name, ...controls);
    if (hint) {
      const words = Object.assign(document.createElement("small"), { textContent: hint, id: `${id}-hint` });
      for (const control of controls) control.setAttribute("aria-describedby", words.id);
      element.append(words);
    }
    this.#parts.push({ field, element, write });
    return element;
  }

  #control({ path, type, options, variants, min, max, step, empty, random, scale = 1 }, id) {
    /** @type {any} an input or a select */
    let control;
    const read = () => {
      if (type === "check") return control.checked;
      if (type === "variant") return { name: control.value, ...structuredClone(variants[control.value]) };
      if (type !== "number") return control.value;
      return control.value === "" ? null : control.valueAsNumber * scale;
    };
    if (options) {
      control = document.createElement("select");
      control.append(...Object.entries(options).map(([value, words]) => new Option(words, value)));
    } else {
      control = document.createElement("input");
      control.type = type === "check" ? "checkbox" : type;
      if (type === "number") Object.assign(control, { min: min ?? "", max: max ?? "", step, required: empty === undefined, placeholder: empty ?? "" });
    }
    control.id = id;
    if (random) {
      control.addEventListener("change", () => {
        if (control.value !== RANDOM) return;
        control.value = randomSeed();
        this.#edited(path, read());
      });
    }
    control.addEventListener("input", () => {
      if (random && control.value === RANDOM) return;
      if (!control.checkValidity()) return this.#emit("change", { config: null });
      const value = read();
      // what is empty in an optimiser is left to the engine
      this.#edited(path, value === null && path.includes(".") ? undefined : value);
    });
    const write = (config) => {
      const value = valueAt(config, path);
      if (type === "check") control.checked = Boolean(value);
      else if (type === "variant") control.value = value?.name ?? "";
      else if (document.activeElement !== control || type !== "number") control.value = value === null || value === undefined ? "" : type === "number" ? value / scale : value;
    };
    return { controls: [control], write };
  }

  #checks({ path, options }) {
    const boxes = Object.keys(options).map((value) => Object.assign(document.createElement("input"), { type: "checkbox", value }));
    const labels = boxes.map((box) => {
      const label = document.createElement("label");
      label.className = "check";
      label.append(box, options[box.value]);
      box.addEventListener("input", () => this.#edited(path, boxes.filter((b) => b.checked).map((b) => b.value)));
      return label;
    });
    const write = (config) => { for (const box of boxes) box.checked = valueAt(config, path)?.includes(box.value); };
    return { controls: labels, write };
  }

  #edited(path, value) {
    if (!this.#config) return;
    setAt(this.#config, path, value);
    this.#preset = null;
    this.#show();
    this.#emit("change", { config: this.config });
  }

  #show() {
    for (const { field, element, write } of this.#parts) {
      const shown = !field.when || field.when(this.#config);
      element.hidden = !shown;
      for (const control of controlsOf(element)) control.disabled = !shown;
      write(this.#config);
    }
    for (const button of this.#presets.querySelectorAll("button")) button.setAttribute("aria-pressed", button.dataset.preset === this.#preset);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** @param {HTMLElement} part @returns {HTMLInputElement[]} selects among them */
function controlsOf(part) {
  return [.../** @type {NodeListOf<HTMLInputElement>} */ (part.querySelectorAll("input, select"))];
}
