// Binds the tags of a prompt to the adapters' cards, both ways: a tag that is typed switches its adapter on, and a
// slider that moves writes its tag anew. Adapters without a tag go by their cards alone. A tag in a choice is no card's: it
// acts on the pictures that draw it, where the card is off. How a strength is spread over blocks and steps goes both ways
// too; a tag that never said it leaves that to the card.

import { isSameIn, saidBy, wordsFor } from "./prompt/spread-words.js";
import { bothParts, isNamed, readTags, replaceTag, sumsOf, withoutTags, writeTag } from "./prompt/tags.js";
import { isSame } from "./spread.js";

/**
 * @typedef {import("./ui/adapter-card.js").AdapterCard} AdapterCard
 * @typedef {import("./prompt/tags.js").Asked} Asked
 * @typedef {import("./spread.js").Spread} Spread
 * @typedef {{blocks: boolean, steps: boolean}} Saying   what a tag says beside strengths
 * @typedef {object} Page   what it asks of the page
 * @property {(name: string, strength: {textEncoder: number, unet: number, spread?: Spread}) => Promise<boolean>} addKept
 *   adds an adapter that is kept, or comes with the page; false: there is none
 * @property {(prompt: string) => string} outside   the prompt, its choices blanked
 * @property {() => void} strengthMoved
 */
export class PromptTags {
  #form;
  #list;
  /** @type {Page} */
  #page;
  /** What the prompt had tags of when it was last read, by name. @type {Map<string, Saying>} */
  #tagged = new Map();
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
    const before = this.#tagged;
    const gone = [...before].filter(([name]) => !tags.some((tag) => isNamed(tag.name, name)));
    const fresh = tags.filter(({ name }) => !this.#card(name) && !before.has(key(name)));
    this.#remember(tags);
    const moved = [
      ...tags.map((tag) => this.#set(this.#card(tag.name), tag, before.get(key(tag.name)))),
      ...gone.map(([name, said]) => this.#set(this.#card(name), null, said)),
    ];
    if (moved.includes(true)) this.#page.strengthMoved();
    if (fresh.length > 0) this.#coming = this.#add(fresh).finally(() => { this.#coming = null; });
    return this.#coming;
  }

  async #add(tags) {
    for (const tag of tags) {
      const { name, textEncoder, unet } = tag;
      const { blocks, curve } = saidBy(tag, this.#steps);
      if (await this.#page.addKept(name, { textEncoder, unet, spread: { blocks: blocks ?? {}, curve: curve ?? [] } })) this.read();
    }
  }

  /** Adds the adapters that choices have drawn, switched off. @param {string[]} prompts @returns {?Promise<void>} null: they are here */
  fetchDrawn(prompts) {
    const missing = sumsOf(prompts.flatMap(readTags)).filter(({ name }) => !this.#card(name));
    if (missing.length === 0) return null;
    const add = async () => { for (const { name } of missing) await this.#page.addKept(name, { textEncoder: 0, unet: 0 }); };
    return add();
  }

  /**
   * What the choices of a prompt have drawn of adapters whose cards are off.
   * @param {string} drawn @param {string} template @param {number} steps   of the picture
   * @returns {import("./pictures.js").Strength[]}
   */
  drawnStrengths(drawn, template, steps) {
    const fixed = readTags(this.#page.outside(template)).map(({ written }) => written);
    const tags = readTags(drawn).filter(({ written }) => {
      const at = fixed.indexOf(written);
      if (at >= 0) fixed.splice(at, 1);
      return at < 0;
    });
    return sumsOf(tags).flatMap((tag) => {
      const card = this.#card(tag.name);
      const strength = card && !card.acts && card.asked({ ...tag, spread: spreadOf(card, saidBy(tag, steps)) });
      return strength && (strength.unet !== 0 || strength.textEncoder !== 0) ? [{ ...strength, drawn: true }] : [];
    });
  }

  get #steps() { return this.#form.read().steps; }

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
    const steps = this.#steps;
    for (const tag of tags.toReversed()) {
      const isIts = ({ name }) => isNamed(name, tag.name);
      const card = this.#card(tag.name);
      if (!card || saysAll(card, /** @type {Asked} */ (sums.find(isIts)), steps)) continue;
      const written = tags.find(isIts) === tag ? writtenFor(card, tag.name, steps) : "";
      prompt = replaceTag(prompt, tag, written);
      for (const one of readTags(written)) if (this.#tagged.has(key(one.name))) this.#tagged.set(key(one.name), saying(one));
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
    this.#tagged = new Map(sumsOf(tags).map((tag) => [key(tag.name), saying(tag)]));
  }

  /**
   * @param {AdapterCard|undefined} card
   * @param {?Asked} tag   null: off
   * @param {Saying} [before]   what its tag said before: what it no longer says is as if nobody had said it
   * @returns {boolean} whether it moved
   */
  #set(card, tag, before = { blocks: false, steps: false }) {
    if (!card) return false;
    const now = saying(tag ?? {});
    const anew = { blocks: before.blocks && !now.blocks, steps: before.steps && !now.steps };
    const spread = spreadOf(card, saidBy(tag ?? {}, this.#steps), anew);
    if ((tag ? agrees(card, tag) : !card.acts) && isSpread(card, spread, this.#steps)) return false;
    const { unet, textEncoder } = tag ?? { unet: 0, textEncoder: 0 };
    card.restore(unet === 0 && textEncoder === 0 ? undefined : { unet, textEncoder }, spread);
    return true;
  }

  /** @param {string} name @returns {AdapterCard|undefined} */
  #card(name) {
    return this.#list.find((card) => card.name === name) ?? this.#list.find((card) => isNamed(name, card.name));
  }
}

const key = (name) => name.trim().toLowerCase();

/** @param {Partial<Asked>} tag @returns {Saying} */
function saying({ lbw, start, stop }) {
  return { blocks: lbw !== undefined, steps: start !== undefined || stop !== undefined };
}

/**
 * How a card's strength is to be spread.
 * @param {AdapterCard} card @param {import("./prompt/spread-words.js").Said} said @param {Saying} [anew]   what begins anew
 * @returns {Spread}
 */
function spreadOf({ spread }, { blocks, curve }, anew = { blocks: false, steps: false }) {
  return { blocks: blocks ?? (anew.blocks ? {} : spread.blocks), curve: curve ?? (anew.steps ? [] : spread.curve) };
}

/** Whether that is how it is spread. @param {AdapterCard} card @param {Spread} spread @param {number} steps */
function isSpread(card, spread, steps) {
  const [is, wanted] = [card.spread, spread].map((one) => card.actingOf(one) ?? { blocks: {}, curve: [] });
  return isSame(is.blocks, wanted.blocks) && isSameIn(is.curve, wanted.curve, steps);
}

/** @param {AdapterCard} card @param {string} name   as the tag has it @param {number} steps */
function writtenFor(card, name, steps) {
  return writeTag({ name, ...strengthOf(card), spread: card.actingOf(card.spread) }, steps, true);
}

/** Whether a tag says all of a card that a tag can say. @param {AdapterCard} card @param {Asked} tag @param {number} steps */
function saysAll(card, tag, steps) {
  const { blocks, curve } = saidBy(tag, steps);
  const words = (spread) => wordsFor(card.actingOf(spread), steps);
  return agrees(card, tag) && words({ blocks: blocks ?? {}, curve: curve ?? [] }) === words(card.spread);
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
