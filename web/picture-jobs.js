// What the page asks for, as jobs: what the form and the cards say, and what each picture's seed draws from its choices.

import { draw, hasChoices, outside } from "./prompt/choices.js";
import { withoutTags } from "./prompt/tags.js";
import { seedAfter } from "./seed.js";

/** The negative prompt draws numbers of its own. */
const NEGATIVE = 1n;

/**
 * @typedef {import("./pictures.js").Job} Job
 * @typedef {{prompt: string, negativePrompt: string}} Texts
 *
 * @typedef {object} JobsHost
 * @property {() => ?import("./model-loader.js").Loaded} model
 * @property {import("./prompt-tags.js").PromptTags} tags
 * @property {import("./wildcards.js").Wildcards} wildcards
 * @property {() => ?import("./protocol.js").Start} start
 */
export class PictureJobs {
  #form;
  #adapters;
  /** @type {JobsHost} */
  #host;

  /**
   * @param {{form: import("./ui/generate-form.js").GenerateForm, adapters: import("./ui/adapter-list.js").AdapterList}} ui
   * @param {JobsHost} host
   */
  constructor({ form, adapters }, host) {
    this.#form = form;
    this.#adapters = adapters;
    this.#host = host;
  }

  /** What the page asks for now, with nothing drawn from its choices yet. @returns {Job} */
  written() {
    const { hires, ...settings } = this.#form.read();
    const { prompt, negativePrompt } = settings;
    const start = this.#host.start();
    return {
      model: this.#host.model().key,
      // a start picture is drawn once
      settings: { ...settings, prompt: this.#host.tags.plain(prompt), ...start ? { start } : hires && { hires } },
      written: { prompt, negativePrompt },
      hasChoices: false,
      adapters: this.#adapters.active(),
    };
  }

  /** What the page asks for now. */
  now() {
    return this.drawn(this.written());
  }

  /** Of a batch each has the next seed; of variations the next variation's, as A1111 counts. @param {number} count */
  batch(count) {
    const job = this.written();
    const name = job.settings.variationStrength > 0 ? "variationSeed" : "seed";
    const nth = (i) => ({ ...job, settings: { ...job.settings, [name]: seedAfter(job.settings[name], i) } });
    return Array.from({ length: count }, (_, i) => this.drawn(nth(i)));
  }

  /**
   * With what its seed draws from what is written.
   * @param {Job} job
   * @param {(handle: string) => boolean} [isSet]   adapters whose strength is said already
   * @returns {Job}
   */
  drawn(job, isSet = () => false) {
    const { tags, wildcards } = this.#host;
    if (!Object.values(job.written).some((text) => hasChoices(text, wildcards.lists))) return job;
    const texts = this.texts(job.written, job.settings.seed);
    const strengths = tags.drawnStrengths(texts.prompt, job.written.prompt, job.settings.steps).filter(({ handle }) => !isSet(handle));
    const settings = { ...job.settings, ...texts, prompt: tags.plain(texts.prompt).trim() };
    return withDrawn({ ...job, hasChoices: true, settings }, strengths);
  }

  /**
   * Both prompts as the engine is to read them.
   * @param {import("./protocol.js").Settings} settings @returns {string[]}
   */
  read({ prompt, negativePrompt, seed }) {
    const texts = this.texts({ prompt, negativePrompt }, /^\d+$/.test(seed) ? seed : "0");
    return [this.#host.tags.plain(texts.prompt), texts.negativePrompt];
  }

  /** @param {Texts} written @param {string} seed @returns {Texts} */
  texts(written, seed) {
    const [prompt, negativePrompt] = this.told(written, seed).texts;
    return { prompt, negativePrompt };
  }

  /** What is to be told of the prompts: what a seed draws, and what isn't found. @param {Texts} written @param {string} seed */
  told({ prompt, negativePrompt }, seed) {
    const { lists } = this.#host.wildcards;
    const both = [draw(prompt, seed, lists), draw(negativePrompt, seed, lists, NEGATIVE)];
    const all = (name) => [...new Set(both.flatMap((one) => one[name]))];
    const texts = both.map(({ text }) => text.trim());
    return { texts, unknown: all("unknown"), endless: all("endless"), open: both.some(({ open }) => open) };
  }

  /**
   * A picture's settings with the strengths of the page.
   * @param {Job} seen
   */
  like(seen) {
    const { settings, written } = seen;
    return withDrawn({ ...this.written(), settings, written, hasChoices: seen.hasChoices }, seen.adapters.filter(({ drawn }) => drawn));
  }

  /** Whether what is written gives this picture's texts again. @param {Job} job */
  comesAgain(job) {
    if (!job.hasChoices) return true;
    const { prompt, negativePrompt } = this.texts(job.written, job.settings.seed);
    const bare = (text) => withoutTags(text, () => true).trim();
    return bare(prompt) === bare(job.settings.prompt) && negativePrompt === job.settings.negativePrompt;
  }

  /**
   * Resolves when the adapters and the lists are here that the prompt asks for; null: they are.
   * @param {() => Job[]} jobs @returns {?Promise<unknown>}
   */
  coming(jobs) {
    const { tags, wildcards } = this.#host;
    const fetchDrawn = () => tags.fetchDrawn(jobs().filter((job) => job.hasChoices).map(({ settings }) => settings.prompt));
    const first = [tags.read(), wildcards.coming].filter(Boolean);
    return first.length > 0 ? Promise.all(first).then(fetchDrawn) : fetchDrawn();
  }

  /** The prompt with its choices blanked. @param {string} prompt */
  outside(prompt) {
    return outside(prompt, this.#host.wildcards.lists);
  }
}

/** A card that is on counts by itself. @param {Job} job @param {import("./pictures.js").Strength[]} drawn @returns {Job} */
function withDrawn(job, drawn) {
  const rest = job.adapters.filter((one) => !one.drawn);
  return { ...job, adapters: [...rest, ...drawn.filter(({ handle }) => !rest.some((one) => one.handle === handle))] };
}
