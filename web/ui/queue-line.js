// The pictures that wait: a line, and a chip each to cancel it. Nothing is seen of it while none waits.

import { roving } from "./roving.js";

/** Events: "cancel" {id}, "empty", "go-on", "look": at the one that is drawn. */
export class QueueLine extends EventTarget {
  #box = document.querySelector("#queue");
  #words = document.querySelector("#queue-words");
  #chips = document.querySelector("#queue-chips");
  #more = document.querySelector("#queue-more");
  /** @type {Map<string, HTMLButtonElement>} */
  #buttons = new Map();

  constructor() {
    super();
    roving(this.#chips);
    for (const [id, type] of [["#queue-empty", "empty"], ["#queue-go-on", "go-on"], ["#queue-look", "look"]]) {
      document.querySelector(id).addEventListener("click", () => this.#emit(type));
    }
  }

  /** @param {import("../queue-words.js").Line} line @param {boolean} hidden   the one in hand is not on show */
  show({ words, chips, more, stuck }, hidden) {
    this.#box.hidden = !words && !hidden;
    if (this.#words.textContent !== words) this.#words.textContent = words;
    // those that stay are left as they are, with the focus that one may have
    for (const [id, button] of this.#buttons) {
      if (chips.some((chip) => chip.id === id)) continue;
      button.remove();
      this.#buttons.delete(id);
    }
    let at = this.#chips.firstElementChild;
    for (const button of chips.map((chip) => this.#button(chip))) {
      if (button === at) at = at.nextElementSibling;
      else this.#chips.insertBefore(button, at);
    }
    this.#more.textContent = more > 0 ? `and ${more} more` : "";
    this.#chips.hidden = chips.length === 0;
    document.querySelector("#queue-empty").hidden = chips.length === 0;
    document.querySelector("#queue-go-on").hidden = !stuck;
    document.querySelector("#queue-look").hidden = !hidden;
  }

  /** @param {import("../queue-words.js").Chip} chip */
  #button({ id, text, name }) {
    let button = this.#buttons.get(id);
    if (!button) {
      button = document.createElement("button");
      button.type = "button";
      button.className = "chip";
      button.dataset.testid = "queue-chip";
      button.append(document.createElement("span"), Object.assign(document.createElement("small"), { textContent: "✕" }));
      button.addEventListener("click", () => this.#emit("cancel", { id }));
      this.#buttons.set(id, button);
    }
    button.firstElementChild.textContent = text;
    button.title = `Cancel: ${name}`;
    button.setAttribute("aria-label", `Cancel ${text}`);
    return button;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
