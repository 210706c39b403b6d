// Binds the tags of a prompt to the adapters' cards, both ways: a tag that is typed switches its adapter on, and a
// slider that moves writes its tag anew. Adapters without a tag go by their cards alone. A tag in a choice is no card's: it
// acts on the pictures that draw it, where the card is off.

import { bothParts, isNamed, readTags, replaceTag, sumsOf, withoutTags, writeTag } from "./prompt/tags.js";

/**
 * @typedef {import("./ui/adapter-card.js").AdapterCard} AdapterCard
 * @typedef {{name: string, textEncoder: number, unet: number}} Asked
 * @typedef {object} Page   what it asks of the page
 * @property {(tag: Asked) => Promise<boolean>} addKept   adds an adapter that is kept, or comes with the page, at the tag's
 *   strengths; false: there is none
 * @property {(prompt: string) => string} outside   the prompt, its choices blanked
 * @property {() => void} strengthMoved
 */
export class PromptTags {
  #form;
  #list;
  /** @type {Page} */
  #page;
  /** Names that the prompt had tags of when it was last read. @type {Set<string>} */
  #tagged = new Set();
  /** @type {?Promise<void>} */
  #coming = null;

  /**
   * @param {import("./ui/generate-form.js").GenerateForm} form
   * @param {import("./ui/adapter-list.js").AdapterList} list
   * @param {Page} page
   */
  constructor(form, list, page) {
    this.#form = form;
    this.#list = list;
    this.#page = page;
  }

  /**
   * Sets the cards as the prompt's tags say: to the sum of those that name it. Those whose tags are gone go off.
   * @returns {?Promise<void>} until the adapters are there that have to be added first; null: there are none
   */
  read() {
    const tags = sumsOf(this.#tags);
    const gone = [...this.#tagged].filter((name) => !tags.some((tag) => isNamed(tag.name, name)));
    const fresh = tags.filter(({ name }) => !this.#card(name) && !this.#tagged.has(name.toLowerCase()));
    this.#remember(tags);
    const moved = [...tags.map((tag) => this.#set(this.#card(tag.name), tag)), ...gone.map((name) => this.#set(this.#card(name), null))];
    if (moved.includes(true)) this.#page.strengthMoved();
    if (fresh.length > 0) this.#coming = this.#add(fresh).finally(() => { this.#coming = null; });
    return this.#coming;
  }

  async #add(tags) {
    for (const tag of tags) if (await this.#page.addKept(tag)) this.read();
  }

  /** Adds the adapters that choices have drawn, switched off. @param {string[]} prompts @returns {?Promise<void>} null: they are here */
  fetchDrawn(prompts) {
    const missing = sumsOf(prompts.flatMap(readTags)).filter(({ name }) => !this.#card(name));
    if (missing.length === 0) return null;
    const add = async () => { for (const { name } of missing) await this.#page.addKept({ name, textEncoder: 0, unet: 0 }); };
    return add();
  }

  /**
   * What the choices of a prompt have drawn of adapters whose cards are off.
   * @param {string} drawn @param {string} template
   * @returns {import("./pictures.js").Strength[]}
   */
  drawnStrengths(drawn, template) {
    const fixed = readTags(this.#page.outside(template)).map(({ written }) => written);
    const tags = readTags(drawn).filter(({ written }) => {
      const at = fixed.indexOf(written);
      if (at >= 0) fixed.splice(at, 1);
      return at < 0;
    });
    return sumsOf(tags).flatMap((tag) => {
      const card = this.#card(tag.name);
      const strength = card && !card.acts && card.asked(tag);
      return strength && (strength.unet !== 0 || strength.textEncoder !== 0) ? [{ ...strength, drawn: true }] : [];
    });
  }

  /** Those that are in no choice. */
  get #tags() {
    return readTags(this.#page.outside(this.#form.prompt));
  }

  /** The prompt and the cards agree already, as those of a picture that is shown again do. */
  agree() {
    this.#remember(this.#tags);
  }

  /** Cards have moved: their tags say so, the first one for all of its adapter. */
  write() {
    let prompt = this.#form.prompt;
    const tags = this.#tags;
    const sums = sumsOf(tags);
    for (const tag of tags.toReversed()) {
      const isIts = ({ name }) => isNamed(name, tag.name);
      const card = this.#card(tag.name);
      if (!card || agrees(card, /** @type {Asked} */ (sums.find(isIts)))) continue;
      prompt = replaceTag(prompt, tag, tags.find(isIts) === tag ? writeTag({ name: tag.name, ...strengthOf(card) }) : "");
    }
    if (prompt !== this.#form.prompt) this.#form.write({ prompt });
  }

  /** An adapter is taken off: its tags go, or they would ask for it again. @param {string} handle */
  removed(handle) {
    const card = this.#list.find((other) => other.handle === handle);
    if (!card) return;
    const prompt = withoutTags(this.#form.prompt, ({ name }) => isNamed(name, card.name));
    if (prompt !== this.#form.prompt) this.#form.write({ prompt });
    this.agree();
  }

  /** The prompt as the engine is to read it: the cards' own tags have said what they had to say. @param {string} prompt */
  plain(prompt) {
    return withoutTags(prompt, ({ name }) => Boolean(this.#card(name)));
  }

  /** @param {Asked[]} tags */
  #remember(tags) {
    this.#tagged = new Set(tags.map(({ name }) => name.toLowerCase()));
  }

  /**
   * @param {AdapterCard|undefined} card
   * @param {?Asked} tag   null: off
   * @returns {boolean} whether it moved
   */
  #set(card, tag) {
    if (!card || (tag ? agrees(card, tag) : !card.acts)) return false;
    const off = !tag || (tag.unet === 0 && tag.textEncoder === 0);
    card.restore(off ? undefined : tag);
    return true;
  }

  /** @param {string} name @returns {AdapterCard|undefined} */
  #card(name) {
    return this.#list.find((card) => card.name === name) ?? this.#list.find((card) => isNamed(name, card.name));
  }
}

/** What a tag of this card would say. @param {AdapterCard} card */
function strengthOf(card) {
  const { unet, textEncoder, onePart } = card.strength;
  if (!card.acts) return { unet: 0, textEncoder: 0 };
  return onePart ? bothParts({ unet, textEncoder }) : { unet, textEncoder };
}

/** @param {AdapterCard} card @param {Asked} tag */
function agrees(card, tag) {
  const { unet, textEncoder } = strengthOf(card);
  // of an adapter that sits on one of the two, the other's strength says nothing
  if (card.isWords) return card.acts === (tag.unet !== 0 || tag.textEncoder !== 0);
  if (card.strength.onePart) return unet === (card.hasUnet ? tag.unet : tag.textEncoder);
  return unet === tag.unet && textEncoder === tag.textEncoder;
}
