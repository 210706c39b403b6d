// One adapter: switch, name, strength, and folded away the two strengths apart and the coverage report.

import { size } from "../format.js";
import { acting } from "../spread.js";
import { SpreadFold } from "./spread-fold.js";
import { triggerChips } from "./trigger-chips.js";

/** Of what can be typed; the sliders go to 2. */
const LIMIT = 10;
const UNUSED_SHOWN = 200;
/** @type {import("../spread.js").Spread} */
const EVEN = { blocks: {}, curve: [] };

/** Events: "strength", "released" (a slider, after its last "strength"), "remove" {handle}, "trigger" {word}, "advice" {settings}. */
export class AdapterCard extends EventTarget {
  #report;
  #unet = 1;
  #textEncoder = 1;
  /** As it is wished, also for blocks that the adapter doesn't act in on this model. */
  #spread = EVEN;
  #fold;

  /** @param {{handle: string, name: string, size: number, report: import("../protocol.js").CoverageReport}} adapter */
  constructor({ handle, name, size: bytes, report }) {
    super();
    this.handle = handle;
    this.name = name;
    this.size = bytes;
    this.element = /** @type {HTMLElement} */ (document.querySelector("#adapter-card-template").content.firstElementChild.cloneNode(true));
    this.element.dataset.adapter = name;
    this.#find(".name").textContent = name;
    this.#find(".name").title = name;
    this.#find(".enabled").addEventListener("change", () => {
      this.#write();
      this.#changed();
    });

    const remove = this.#find(".remove");
    remove.setAttribute("aria-label", `Remove ${name}`);
    remove.addEventListener("click", () => this.#emit("remove", { handle }));

    const [range, number] = this.#find(".strength").querySelectorAll("input");
    range.setAttribute("aria-label", `Strength of ${name}`);
    number.setAttribute("aria-label", `Strength of ${name}, as a number`);
    for (const input of [range, number]) {
      input.addEventListener("input", () => {
        if (input.value === "" || Number.isNaN(input.valueAsNumber)) return;
        this.#set(input.valueAsNumber, input.valueAsNumber, input);
      });
      input.addEventListener("change", () => this.#write());
    }
    range.addEventListener("dblclick", () => this.#set(1, 1));
    this.#find(".advice button").addEventListener("click", () => {
      const { steps, guidance, scheduler, spacing, eta } = this.#report.advice;
      this.#emit("advice", { settings: { steps, guidance, scheduler, spacing: spacing ?? "", schedule: "", eta } });
    });

    const unet = this.#find(".unet");
    const textEncoder = this.#find(".text-encoder");
    unet.addEventListener("input", () => this.#set(unet.valueAsNumber, this.#textEncoder));
    textEncoder.addEventListener("input", () => this.#set(this.#unet, textEncoder.valueAsNumber));
    unet.addEventListener("dblclick", () => this.#set(1, this.#textEncoder));
    textEncoder.addEventListener("dblclick", () => this.#set(this.#unet, 1));
    // By pointer only: a key that repeats is a slider that still moves.
    for (const slider of [range, unet, textEncoder]) slider.addEventListener("pointerup", () => this.#emit("released"));
    this.#fold = new SpreadFold(this.#find(".spread"), name, {
      changed: (spread) => {
        this.#spread = spread;
        this.#write();
        this.#changed();
      },
      released: () => this.#emit("released"),
    });

    this.setReport(report);
    this.#write();
  }

  /** Whether it changes the picture at all. */
  get acts() {
    const { unet, textEncoder } = this.strength;
    return this.isOn && (unet !== 0 || textEncoder !== 0);
  }

  get hasUnet() {
    return this.#report.unet_modules > 0;
  }

  /** Whether it is words alone: an embedding, which is on or off. */
  get isWords() {
    const { unet_modules, text_encoder_modules, embeddings } = this.#report;
    return unet_modules + text_encoder_modules === 0 && embeddings?.length > 0;
  }

  get isOn() { return this.#find(".enabled").checked; }

  get strength() { return this.#strengthOf(this.#unet, this.#textEncoder); }

  /** Its strength if the slider stood there. @param {number} value */
  at(value) { return this.#strengthOf(value, value); }

  /** Its strength as a tag asks for it: where it sits on one part alone, that part's. @param {import("../spread.js").Powers} tag */
  asked({ unet, textEncoder, spread }) {
    if (this.isWords && unet === 0 && textEncoder === 0) return null;
    return this.#strengthOf(unet, textEncoder, spread);
  }

  /** How its strength is spread over blocks and steps. */
  get spread() { return this.#spread; }

  /** What of a spread acts in this adapter; null: none. @param {import("../spread.js").Spread} spread */
  actingOf(spread) { return acting(spread, this.#report.blocks ?? []); }

  /** @returns {import("../pictures.js").Strength} */
  #strengthOf(unet, textEncoder, spread = this.#spread) {
    const { unet_modules, text_encoder_modules, embeddings } = this.#report;
    if (this.isWords) {
      const names = embeddings.map((embedding) => embedding.name);
      return { handle: this.handle, name: this.name, unet: 0, textEncoder: 1, onePart: true, words: names };
    }
    const acts = this.actingOf(spread);
    // a strength on nothing is 0, so that it makes no difference to a fingerprint
    return {
      handle: this.handle,
      name: this.name,
      unet: unet_modules > 0 ? unet : 0,
      textEncoder: text_encoder_modules > 0 ? textEncoder : 0,
      onePart: unet_modules === 0 || text_encoder_modules === 0,
      ...acts && { spread: acts },
    };
  }

  /**
   * @param {import("../spread.js").Powers|undefined} strength  undefined: off
   * @param {import("../spread.js").Spread} [spread]   of one that is off it stays, if it isn't said
   */
  restore(strength, spread = strength ? strength.spread ?? EVEN : this.#spread) {
    const enabled = this.#find(".enabled");
    enabled.checked = Boolean(strength);
    this.#spread = spread;
    if (strength) {
      const { unet_modules, text_encoder_modules } = this.#report;
      this.#unet = unet_modules > 0 ? strength.unet : strength.textEncoder;
      this.#textEncoder = text_encoder_modules > 0 ? strength.textEncoder : this.#unet;
    }
    this.#write();
  }

  /** Takes the switch and the strengths of another card. @param {AdapterCard} card */
  takeOver(card) {
    this.putBack(card.state);
  }

  /** The switch and the strengths as they are, also of one that is off. */
  get state() {
    return { enabled: this.#find(".enabled").checked, unet: this.#unet, textEncoder: this.#textEncoder, spread: this.#spread };
  }

  /** @param {AdapterCard["state"]} state */
  putBack({ enabled, unet, textEncoder, spread }) {
    this.#spread = spread;
    this.#find(".enabled").checked = enabled;
    this.#unet = unet;
    this.#textEncoder = textEncoder;
    this.#write();
  }

  setReport(report) {
    this.#report = report;
    this.#fold.show(this.#spread, report.blocks ?? []);
    const unused = report.unused ?? [];
    const coverage = this.#find(".coverage");
    coverage.textContent = report.summary;
    coverage.classList.toggle("partial", unused.length > 0);

    const triggers = this.#find(".triggers");
    triggers.hidden = !report.trigger_words?.length;
    triggers.replaceChildren(...triggerChips(report.trigger_words ?? [], (word) => this.#emit("trigger", { word })));

    this.element.classList.toggle("words", this.isWords);
    const { advice } = report;
    const box = this.#find(".advice");
    box.hidden = !advice;
    if (advice) {
      box.querySelector("p").textContent = `${advice.name}: made for few steps.`;
      box.querySelector("button").textContent = `Use its settings: ${advice.settings}`;
    }

    this.#find(".unet").disabled = report.unet_modules === 0;
    this.#find(".text-encoder").disabled = report.text_encoder_modules === 0;
    const facts = [
      ["Kind", report.kind],
      ["Names", report.naming],
      ["Modules", !this.isWords && `${report.modules_used} of ${report.modules_in_file}: UNet ${report.unet_modules}, text encoder ${report.text_encoder_modules}`],
      ["Trained on", report.base_model],
      ["File", size(this.size)],
      ["Settings", advice && `${advice.settings}: ${advice.why}`],
      ...(report.notes ?? []).map((note) => ["Note", note]),
    ];
    this.#find(".facts").replaceChildren(...facts.filter(([, value]) => value).flatMap(([term, value]) => {
      const dt = document.createElement("dt");
      const dd = document.createElement("dd");
      dt.textContent = term;
      dd.textContent = value;
      return [dt, dd];
    }));

    const rest = this.#find(".unused");
    rest.hidden = unused.length === 0;
    rest.querySelector("p").textContent = unused.length === 1 ? "One key is not used:" : `${unused.length} keys are not used:`;
    const items = unused.slice(0, UNUSED_SHOWN).map(([key, reason]) => {
      const item = document.createElement("li");
      const code = document.createElement("code");
      code.textContent = key;
      item.append(code, ` ${reason}`);
      return item;
    });
    if (unused.length > UNUSED_SHOWN) {
      const more = document.createElement("li");
      more.textContent = `and ${unused.length - UNUSED_SHOWN} more`;
      items.push(more);
    }
    rest.querySelector("ul").replaceChildren(...items);
  }

  #set(unet, textEncoder, typedIn = null) {
    this.#unet = clamp(unet);
    this.#textEncoder = clamp(textEncoder);
    this.#write(typedIn);
    this.#changed();
  }

  /** Shows the strengths everywhere but in the field that is being typed in. */
  #write(typedIn = null) {
    const { unet_modules, blocks = [] } = this.#report;
    this.#fold.show(this.#spread, blocks);
    this.element.classList.toggle("off", !this.#find(".enabled").checked);
    const main = unet_modules > 0 ? this.#unet : this.#textEncoder;
    for (const input of this.#find(".strength").querySelectorAll("input")) {
      if (input !== typedIn) input.value = main;
    }
    for (const [name, value] of Object.entries({ ".unet": this.#unet, ".text-encoder": this.#textEncoder })) {
      const input = this.#find(name);
      input.value = value;
      input.nextElementSibling.value = input.disabled ? "none" : value.toFixed(2);
    }
  }

  #changed() {
    this.#emit("strength");
  }

  /** @param {string} selector @returns {any} */
  #find(selector) {
    return this.element.querySelector(selector);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function clamp(value) {
  return Math.round(100 * Math.min(LIMIT, Math.max(-LIMIT, value))) / 100;
}
