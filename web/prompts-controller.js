// Wires prompts that are kept: those that were drawn, to be taken again, and negative ones by name.

import { Walk, readPairs, readPresets, withNewest, withPreset } from "./prompt-history.js";
import { recall, remember } from "./storage.js";

const EARLIER = "prompts";
const PRESETS = "negatives";
const NOT_KEPT = "Prompts are not kept";

export class PromptsController {
  #form;
  #shelf;
  #messages;
  #walk = new Walk();
  /** What the browser has no room for is there until the tab is closed. */
  #earlier = readPairs(recall(EARLIER));
  #presets = readPresets(recall(PRESETS));

  /**
   * @param {any} ui
   * @param {(title: string, text: string, yes: string) => Promise<boolean>} confirmed
   */
  constructor({ form, shelf, messages }, confirmed) {
    this.#form = form;
    this.#shelf = shelf;
    this.#messages = messages;
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));
    on(form, "earlier", ({ by }) => this.#take(this.#walk.step(this.#earlier, this.#now, by)));
    on(shelf, "choose", ({ pair }) => this.#take(pair));
    on(shelf, "add", ({ text }) => form.addToNegative(text));
    on(shelf, "keep", ({ name }) => this.#keep(name));
    on(shelf, "remove", ({ name }) => this.#set(this.#earlier, this.#presets.filter((preset) => preset.name !== name)));
    on(shelf, "forget", async () => {
      const which = this.#earlier.length === 1 ? "The one" : `All ${this.#earlier.length}`;
      if (await confirmed("Forget the earlier prompts?", `${which} in this browser. What stands in the fields stays.`, "Forget")) this.#set([], this.#presets);
    });
    // what another tab has drawn
    addEventListener("storage", ({ key }) => {
      if (key && ![EARLIER, PRESETS].some((kept) => key.endsWith(`.${kept}`))) return;
      this.#earlier = readPairs(recall(EARLIER));
      this.#presets = readPresets(recall(PRESETS));
      this.#show();
    });
    this.#show();
  }

  /** What the fields say is drawn. */
  drawn() {
    this.#set(withNewest(this.#earlier, this.#now), this.#presets);
  }

  get #now() {
    const { prompt, negativePrompt } = this.#form.read();
    return { prompt, negative: negativePrompt };
  }

  #take(pair) {
    if (pair) this.#form.apply({ prompt: pair.prompt, negativePrompt: pair.negative });
  }

  #keep(name) {
    const text = this.#now.negative;
    if (!name) return this.#messages.info("It has no name yet", "Write one before you keep the negative prompt.");
    if (!text) return this.#messages.info("There is nothing to keep", "Write a negative prompt first, then name it.");
    this.#shelf.kept();
    this.#set(this.#earlier, withPreset(this.#presets, { name, text }));
  }

  #set(earlier, presets) {
    const was = [this.#earlier, this.#presets];
    [this.#earlier, this.#presets] = [earlier, presets];
    this.#show();
    // only what changed: another tab may have written the other
    const done = [[EARLIER, earlier, was[0]], [PRESETS, presets, was[1]]]
      .every(([key, now, before]) => now === before || remember(key, now));
    if (done) this.#messages.clear(NOT_KEPT);
    else this.#messages.info(NOT_KEPT, "This browser's storage for small things is full or switched off. They are there until the tab is closed.");
  }

  #show() {
    this.#shelf.showEarlier(this.#earlier);
    this.#shelf.showPresets(this.#presets);
  }
}
