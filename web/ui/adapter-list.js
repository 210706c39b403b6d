// The adapters: a card each, and buttons for the demo adapters.

import { AdapterCard } from "./adapter-card.js";

/**
 * Events: "strength", "released" (a slider, after its last "strength"), "remove" {handle}, "trigger" {word},
 * "advice" {settings}, "demo" {adapter}.
 */
export class AdapterList extends EventTarget {
  #list = document.querySelector("#adapters");
  #demo = document.querySelector("#demo-adapters");
  #hint = document.querySelector("#adapters-hint");
  /** @type {Map<string, AdapterCard>} */
  #cards = new Map();

  setDemoAdapters(adapters) {
    const words = document.createElement("span");
    words.textContent = "Try";
    this.#demo.replaceChildren(words, ...adapters.map((adapter) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "chip";
      button.dataset.adapter = adapter.name;
      const name = document.createElement("b");
      const about = document.createElement("small");
      name.textContent = adapter.name;
      about.textContent = adapter.about;
      button.append(name, " ", about);
      button.addEventListener("click", () => this.#emit("demo", { adapter }));
      return button;
    }));
  }

  showDemoAdapters(shown) {
    this.#demo.dataset.offered = shown ? "1" : "";
    this.#refresh();
  }

  /** @param {(card: AdapterCard) => boolean} test */
  find(test) {
    return [...this.#cards.values()].find(test);
  }

  /**
   * @param {{handle: string, name: string, size: number, report: import("../protocol.js").CoverageReport}} adapter
   * @param {string} [older]   the handle of the one whose place, switch and strength it takes
   */
  add(adapter, older) {
    const card = new AdapterCard(adapter);
    for (const type of ["strength", "released", "remove", "trigger", "advice"]) {
      card.addEventListener(type, ({ detail }) => this.#emit(type, detail));
    }
    this.#cards.set(adapter.handle, card);
    const before = this.#cards.get(older);
    if (before) {
      card.takeOver(before);
      before.element.replaceWith(card.element);
      this.#cards.delete(older);
    } else {
      this.#list.append(card.element);
    }
    this.#refresh();
  }

  /** @param {import("../spread.js").Powers|undefined} strength */
  setStrength(handle, strength) {
    this.#cards.get(handle)?.restore(strength);
  }

  setReport(handle, report) {
    this.#cards.get(handle)?.setReport(report);
  }

  /** @returns {string} the name of the adapter that is gone */
  remove(handle) {
    const card = this.#cards.get(handle);
    this.#cards.delete(handle);
    card?.element.remove();
    this.#refresh();
    return card?.name ?? "";
  }

  /** @returns {string[]} the handles of those that are gone */
  clear() {
    const handles = [...this.#cards.keys()];
    for (const handle of handles) this.remove(handle);
    return handles;
  }

  /** Those whose strength a sheet can change. @returns {import("../sheet/axes.js").Card[]} */
  cards() {
    return [...this.#cards.values()].filter((card) => !card.isWords).map((card) => {
      const { handle, name, isOn, strength } = card;
      return { handle, name, isOn, strength, at: (value) => card.at(value) };
    });
  }

  /** Those that act on the picture. @returns {import("../pictures.js").Strength[]} */
  active() {
    return [...this.#cards.values()].filter((card) => card.acts).map((card) => card.strength);
  }

  /** Sets the strengths that a picture was made with; adapters it knew nothing of go off. */
  restore(strengths) {
    const known = new Map(strengths.map((s) => [s.handle, s]));
    for (const [handle, card] of this.#cards) card.restore(known.get(handle));
  }

  /** @returns {{handle: string, name: string, isWords: boolean}[]} those that act and those that are off */
  all() {
    return [...this.#cards].map(([handle, { name, isWords }]) => ({ handle, name, isWords }));
  }

  /** The switches and strengths of all, for `putBack`. */
  snapshot() {
    return new Map([...this.#cards].map(([handle, card]) => [handle, card.state]));
  }

  /** @param {ReturnType<AdapterList["snapshot"]>} snapshot   adapters that came later go off */
  putBack(snapshot) {
    for (const [handle, card] of this.#cards) card.putBack(snapshot.get(handle) ?? { ...card.state, enabled: false });
  }

  #refresh() {
    for (const button of this.#demo.querySelectorAll("button")) {
      button.hidden = [...this.#cards.values()].some(({ name }) => name === button.dataset.adapter);
    }
    this.#demo.hidden = !this.#demo.dataset.offered || !this.#demo.querySelector("button:not([hidden])");
    this.#hint.hidden = this.#cards.size > 1;
    document.querySelector("#sheet-strengths").hidden = this.cards().length === 0;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
