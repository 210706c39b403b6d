// Earlier prompts to take again, and negative prompts by name; folded beneath the negative prompt.

/** Those that come with the page; each is added to what stands there. */
const COMMON = [
  { name: "Quality", text: "worst quality, low quality, lowres, blurry, jpeg artifacts" },
  { name: "Bodies and hands", text: "bad anatomy, bad hands, extra fingers, missing fingers, deformed" },
  { name: "Writing", text: "text, watermark, signature, logo" },
  { name: "Frames", text: "frame, border, cropped, out of frame" },
];

/**
 * Events: "choose" {pair}; "add" {text} to the negative prompt; "keep" {name} what stands there; "remove" {name} of an own
 * preset; "forget" all earlier prompts.
 */
export class PromptShelf extends EventTarget {
  #earlier = document.querySelector("#earlier");
  #list = document.querySelector("#earlier-list");
  #presets = document.querySelector("#negative-list");
  #name = document.querySelector("#negative-name");

  constructor() {
    super();
    document.querySelector("#earlier-forget").addEventListener("click", () => this.#emit("forget"));
    document.querySelector("#negative-keep").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#emit("keep", { name: this.#name.value.trim() });
    });
  }

  /** A name was used. */
  kept() {
    this.#name.value = "";
  }

  /** @param {import("../prompt-history.js").Pair[]} pairs */
  showEarlier(pairs) {
    this.#earlier.hidden = pairs.length === 0;
    document.querySelector("#earlier-count").textContent = String(pairs.length);
    this.#list.replaceChildren(...pairs.map((pair) => {
      const words = pair.negative ? `${pair.prompt}; without ${pair.negative}` : pair.prompt;
      return item(line(pair.prompt, pair.negative && `without ${pair.negative}`, words, () => this.#emit("choose", { pair })));
    }));
  }

  /** @param {import("../prompt-history.js").Preset[]} own */
  showPresets(own) {
    const row = ({ name, text }) => line(name, text, `Add to the negative prompt: ${text}`, () => this.#emit("add", { text }));
    const mine = own.map((preset) => {
      const remove = Object.assign(document.createElement("button"), { type: "button", className: "icon remove", textContent: "✕", ariaLabel: `Remove ${preset.name}` });
      remove.addEventListener("click", () => this.#emit("remove", { name: preset.name }));
      return item(row(preset), remove);
    });
    this.#presets.replaceChildren(...mine, ...COMMON.map((preset) => item(row(preset))));
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** A button of one line: its first words, and more beneath that goes on. */
function line(words, more, title, act) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "shelf-line", title });
  const first = Object.assign(document.createElement("span"), { textContent: words, dir: "auto" });
  button.append(first);
  if (more) button.append(Object.assign(document.createElement("small"), { textContent: more, dir: "auto" }));
  button.addEventListener("click", act);
  return button;
}

function item(...inside) {
  const li = document.createElement("li");
  li.append(...inside);
  return li;
}
