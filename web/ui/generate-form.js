// Prompt, primary button and settings: the settings are the form.

import { RANDOM, randomSeed, seedAfter } from "../seed.js";
import { HiresFields } from "./hires-fields.js";
import { PromptField } from "./prompt-field.js";
import { roving } from "./roving.js";
import { SchedulerFields } from "./scheduler-fields.js";

/** Tokens that the text encoder reads at once, and from how many on it is worth telling. */
const CHUNK = 75;
const NEAR_END = 60;
const NUMBERS = ["steps", "guidance", "clipSkip", "variationStrength", "eta", "width", "height"];

/**
 * Events: "generate", "stop", "reset", "change", "prompt" (a prompt's words, at each key), "written" (by the page), "last-seed",
 * "tell" {words}, "earlier" {by}.
 */
export class GenerateForm extends EventTarget {
  #form = document.querySelector("#generate-form");
  #button = document.querySelector("#generate");
  #enqueue = document.querySelector("#enqueue");
  #prompt = document.querySelector("#prompt");
  #negative = document.querySelector("#negative-prompt");
  #seed = document.querySelector("#seed");
  #lock = document.querySelector("#seed-lock");
  #settings = document.querySelector("#settings");
  #chips = document.querySelector("#prompt-chips");
  #schedulers = new SchedulerFields();
  /** By the name of its field. */
  #texts = { prompt: new PromptField(this.#prompt), negativePrompt: new PromptField(document.querySelector("#negative-prompt")) };
  #hires = new HiresFields();
  #running = false;

  constructor() {
    super();
    roving(this.#chips);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#emit(this.#running ? "stop" : "generate");
    });
    this.#enqueue.addEventListener("click", () => this.#emit("generate"));
    for (const words of [this.#prompt, this.#negative]) words.addEventListener("input", () => this.#emit("prompt"));
    // Enter asks for one more, also while another picture is being drawn
    this.#prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey || event.isComposing) return;
      event.preventDefault();
      this.#emit("generate");
    });
    document.addEventListener("keydown", (event) => {
      // Escape ends an input method's composition first
      if (event.key === "Escape" && !event.isComposing && this.#running && !document.querySelector("dialog[open]")) this.#emit("stop");
    });
    document.querySelector("#seed-random").addEventListener("click", () => {
      this.randomSeed();
      this.#lock.checked = false;
      this.#changed();
    });
    document.querySelector("#seed-next").addEventListener("click", () => this.#seed.validity.valid && this.keepSeed(seedAfter(this.#seed.value)));
    document.querySelector("#seed-last").addEventListener("click", () => this.#emit("last-seed"));
    document.querySelector("#seed-copy").addEventListener("click", () => this.#copySeed());
    // a seed typed by hand is meant to be used; what other programs call -1 is what Keep leaves to us
    this.#seed.addEventListener("input", () => { this.#lock.checked = this.#seed.value.trim() !== RANDOM; });
    this.#seed.addEventListener("change", () => { if (this.#seed.value.trim() === RANDOM) this.randomSeed(); });
    document.querySelector("#settings-reset").addEventListener("click", () => {
      this.#emit("reset");
      this.#changed();
    });
    for (const field of Object.values(this.#texts)) {
      field.addEventListener("earlier", ({ detail }) => this.dispatchEvent(new CustomEvent("earlier", { detail })));
    }
    for (const control of this.#form.elements) {
      control.addEventListener("change", () => this.#changed());
      control.addEventListener("input", () => this.#summarise());
      // a field inside closed details cannot show what is wrong with it
      control.addEventListener("invalid", () => { if (this.#settings.contains(control)) this.#settings.open = true; });
    }
  }

  /** @returns {import("../protocol.js").Settings} */
  read() {
    /** @type {any} */
    const settings = Object.fromEntries(new FormData(this.#form));
    for (const name of NUMBERS) settings[name] = Number(settings[name]);
    settings.prompt = settings.prompt.trim();
    settings.negativePrompt = settings.negativePrompt.trim();
    const hires = this.#hires.read();
    return { ...this.#schedulers.read(settings), ...hires && { hires } };
  }

  /** Sets the fields that `settings` names. */
  write(settings) {
    const { hires, ...fields } = settings;
    if (hires !== undefined) this.#hires.write(hires);
    for (const [name, value] of Object.entries(fields)) {
      const control = this.#texts[name] ?? /** @type {?HTMLInputElement} */ (this.#form.elements.namedItem(name));
      if (control && value !== null) control.value = value;
    }
    this.#summarise();
    this.#emit("written");
  }

  /** The same, as if a person had typed it. */
  apply(settings) {
    this.write(settings);
    this.#changed();
  }

  /** Whether a picture is started from. @param {boolean} isStarted */
  setStarted(isStarted) {
    this.#hires.setIdle(isStarted);
    this.#summarise();
  }

  /** Whether a field can have this value. @param {string} name @param {string} value */
  takes(name, value) {
    const field = /** @type {HTMLInputElement|HTMLSelectElement|null} */ (this.#form.elements.namedItem(name));
    if (!field) return false;
    if (field instanceof HTMLSelectElement) return [...field.options].some((option) => option.value === value);
    const tried = /** @type {HTMLInputElement} */ (field.cloneNode());
    tried.value = value;
    return tried.checkValidity();
  }

  /** Everything in it as it stands, for `putBack`. @returns {[HTMLInputElement, string, boolean][]} */
  snapshot() {
    const controls = [.../** @type {Iterable<HTMLInputElement>} */ (this.#form.elements)];
    return controls.filter((control) => !control.matches("button")).map((control) => [control, control.value, control.checked]);
  }

  /** @param {ReturnType<GenerateForm["snapshot"]>} snapshot */
  putBack(snapshot) {
    for (const [control, value, checked] of snapshot) {
      (this.#texts[control.name] ?? control).value = value;
      if (control.type === "checkbox") control.checked = checked;
    }
    this.#hires.write(this.#hires.read());
    this.#changed();
  }

  /** Whether every field is good; shows the first that is not. */
  valid() {
    return this.#form.reportValidity();
  }

  /** The same without a word, and without taking the focus. */
  get isGood() {
    const controls = [.../** @type {Iterable<HTMLInputElement>} */ (this.#form.elements)];
    return controls.every((control) => !control.willValidate || control.validity.valid);
  }

  /** As it is written. */
  get prompt() {
    return this.#prompt.value;
  }

  get seedKept() {
    return this.#lock.checked;
  }

  /** The same into the negative prompt, behind what stands there. */
  addToNegative(words) {
    this.#texts.negativePrompt.append(words);
  }

  randomSeed() {
    this.write({ seed: randomSeed() });
  }

  /** A seed that is meant to be used. @param {string} seed */
  keepSeed(seed) {
    this.#lock.checked = true;
    this.apply({ seed });
  }

  /** How many pictures one press asks for. */
  get batchCount() {
    return document.querySelector("#batch-count").valueAsNumber;
  }

  async #copySeed() {
    const seed = this.#seed.value;
    try {
      await navigator.clipboard.writeText(seed);
      this.#emit("tell", { words: `Seed ${seed} is copied` });
    } catch {
      this.#seed.select();
      this.#emit("tell", { words: "This browser doesn’t let the page copy: the seed is marked, press Ctrl+C" });
    }
  }

  /** Words into the prompt at the cursor, once. */
  addToPrompt(words) {
    this.#texts.prompt.insert(words);
  }

  setPrompts(prompts) {
    this.#chips.replaceChildren(...prompts.map((text) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.className = "chip";
      chip.textContent = text;
      chip.addEventListener("click", () => {
        this.write({ prompt: text });
        this.#emit("generate");
      });
      return chip;
    }));
  }

  /** @param {{prompt: import("../protocol.js").TokenCount, negativePrompt: import("../protocol.js").TokenCount}} counts */
  showTokens({ prompt, negativePrompt }) {
    tell(document.querySelector("#prompt-tokens"), prompt);
    tell(document.querySelector("#negative-tokens"), negativePrompt);
  }

  /** What the seed makes of the prompts' choices. @param {string} words @param {boolean} isWrong   something isn't found */
  showChoices(words, isWrong) {
    const line = document.querySelector("#prompt-choices");
    line.hidden = !words;
    line.classList.toggle("warn", isWrong);
    if (line.textContent !== words) line.textContent = words;
  }

  showPrompts(shown) {
    this.#chips.hidden = !shown;
  }

  /** @param {import("../protocol.js").ModelReport} report */
  setSchedulers(report) {
    this.#schedulers.fill(report);
  }

  setRunning(running) {
    this.#running = running;
    this.#button.textContent = running ? "Stop" : "Generate";
    this.#button.classList.toggle("stop", running);
    this.#enqueue.hidden = !running;
  }

  setEnabled(enabled) {
    this.#button.disabled = this.#enqueue.disabled = !enabled;
    for (const chip of this.#chips.querySelectorAll("button")) chip.disabled = !enabled;
  }

  #changed() {
    this.#summarise();
    this.#emit("change");
  }

  #summarise() {
    const { steps, guidance, scheduler, schedule, width, height } = this.read();
    this.#schedulers.show({ scheduler, schedule });
    const larger = this.#hires.summary({ width, height });
    document.querySelector("#settings-summary").textContent = `${steps} steps · guidance ${guidance} · ${width}×${height}${larger}`;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * Says how many tokens there are, once they come near the end of a chunk's.
 * @param {HTMLElement} line
 * @param {import("../protocol.js").TokenCount} count
 */
function tell(line, { tokens, room, most }) {
  line.hidden = tokens <= NEAR_END;
  line.classList.toggle("warn", tokens > most);
  const chunks = room / CHUNK;
  line.textContent = tokens > most
    ? `More than ${most} tokens: too long. Shorten it.`
    : `${tokens} of ${room} tokens${chunks > 1 ? `, read in ${chunks} chunks` : ""}`;
}
