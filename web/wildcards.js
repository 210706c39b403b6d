// The lists that prompts draw from, by name: kept in the library, and where it can't keep them in this tab.

import { Library } from "./library/library.js";
import { onceMore } from "./once-more.js";
import { LIST_KIND, linesOf, nameOfList } from "./prompt/lists.js";
import { captionOf } from "./train/captions.js";

/** Event: "change": other lists are here. */
export class Wildcards extends EventTarget {
  #library;
  /** Of this tab alone. @type {Map<string, import("./prompt/lists.js").Line[]>} */
  #loose = new Map();
  /** What was read of the library's entries, by id. @type {Map<string, {name: string, lines: import("./prompt/lists.js").Line[]}>} */
  #kept = new Map();
  /** @type {import("./prompt/lists.js").Lists} */
  lists = new Map();
  /** Until they are read a first time. @type {?Promise<void>} */
  coming = null;

  /** @param {Library} library */
  constructor(library) {
    super();
    this.#library = library;
    if (Library.problem) return;
    const refresh = onceMore(() => this.#read(), () => {});
    library.addEventListener("change", refresh);
    this.coming = refresh().finally(() => { this.coming = null; });
  }

  /** The list of the library that has this name. @param {string} name */
  entryNamed(name) {
    return [...this.#kept].find(([, one]) => one.name === name)?.[0] ?? null;
  }

  /** @param {string} name @param {import("./prompt/lists.js").Line[]} lines */
  addLoose(name, lines) {
    this.#loose.set(name, lines);
    this.#changed();
  }

  async #read() {
    const entries = await this.#library.list().catch(() => []);
    const whole = entries.filter(({ kind, state, gone }) => kind === LIST_KIND && state === "whole" && !gone);
    const kept = await Promise.all(whole.map(async ({ id, name }) => {
      const lines = this.#kept.get(id)?.lines ?? await this.#linesOf(id);
      return /** @type {const} */ ([id, { name: nameOfList(name), lines }]);
    }));
    this.#kept = new Map(kept.filter(([, { lines }]) => lines.length > 0));
    this.#changed();
  }

  async #linesOf(id) {
    try {
      const [{ blob }] = await this.#library.read(id);
      return linesOf(await captionOf(blob) ?? "");
    } catch {
      return []; // deleted in another tab meanwhile
    }
  }

  #changed() {
    const kept = [...this.#kept.values()].map(({ name, lines }) => /** @type {const} */ ([name, lines]));
    const now = new Map([...this.#loose, ...kept]);
    const isSame = now.size === this.lists.size && [...now].every(([name, lines]) => this.lists.get(name) === lines);
    if (isSame) return;
    this.lists = now;
    this.dispatchEvent(new CustomEvent("change"));
  }
}
