// Pictures and the settings that made them: fingerprints, a cache, and the making itself.

import { CRASH, abortError } from "./protocol.js";
import { NOTHING, next, owed } from "./queue.js";
import { Recent } from "./recent.js";

/**
 * @typedef {object} Job
 * @property {string} model      key of the model
 * @property {import("./protocol.js").Settings} settings   the prompt without the tags of adapters that are here
 * @property {{prompt: string, negativePrompt: string}} written   as they stand in their fields, tags and choices among them
 * @property {boolean} hasChoices   whether the seed has drawn from what is written
 * @property {Strength[]} adapters  those that act
 *
 * @typedef {object} Named
 * @property {string} handle
 * @property {string} name
 * @property {boolean} onePart   the adapter sits on one of the two alone
 * @property {string[]} [words]  it is an embedding's, which is on or off: those that it is found by in a prompt
 * @property {boolean} [drawn]   a choice of the prompt asks for it, and its card is off
 * @property {number} [step]     of a run that it was made by, where it has no card
 *
 * @typedef {Named & import("./spread.js").Powers} Strength   its spread is what acts of the card's: `acting` in spread.js
 *
 * @typedef {object} Picture
 * @property {string} fingerprint
 * @property {string} baseFingerprint   of the same picture at strength 0
 * @property {ImageData} image
 * @property {Job} job
 * @property {number} seconds
 * @property {string[]} notes   what else is worth knowing, as sentences
 */

/** Equal fingerprints mean equal pictures: everything the arithmetic depends on. */
export function fingerprint({ model, settings, adapters }) {
  const { prompt, negativePrompt, emphasis, clipSkip, steps, guidance, seed, rng, width, height } = settings;
  const { scheduler, spacing, schedule, eta } = settings;
  const { variationSeed, variationStrength } = settings;
  return JSON.stringify({
    model, prompt, negativePrompt, emphasis, clipSkip, steps, guidance, seed: String(seed), rng, width, height,
    scheduler, spacing, schedule, eta,
    variation: variationStrength > 0 ? [String(variationSeed), variationStrength] : null,
    start: settings.start ?? null,
    hires: settings.hires ?? null,
    adapters: adapters.map((adapter) => [adapter.handle, ...powersOf(adapter)]),
  });
}

/** What of an adapter's strength tells pictures apart. @param {import("./spread.js").Powers} powers @returns {any[]} */
export function powersOf({ unet, textEncoder, spread }) {
  return [unet, textEncoder, ...spread ? [spread.blocks, spread.curve] : []];
}

export function baseJob(job) {
  return { ...job, adapters: [] };
}

/** The pictures used last, by fingerprint. @returns {Recent<Picture>} */
export function pictureCache() {
  return new Recent(({ image }) => image.data.byteLength, { most: 60, mostBytes: 256 * 2 ** 20 });
}

/** Without a picture between them, so many ends of the engine are no accident: the line rests then. */
const BREAKS = 2;

/**
 * Makes one picture at a time: those that were asked for in their order, and between them what a slider asks for and the
 * picture at strength 0 to compare with (queue.js).
 *
 * Events, each with a detail: "start" {entry, kind}, "progress" {entry, kind, ...}, "picture" {picture, fresh, entry, kind},
 * "failed" {error, entry}; "broke" {error}: the engine did; "changed" when another one is in hand or waits; "idle" {stopped}
 * when nothing is drawn any more.
 */
export class PictureMaker extends EventTarget {
  #engine;
  #cache;
  #may;
  #startOf;
  #state = NOTHING;
  /** Of what is drawn. */
  #abort = new AbortController();
  #lastId = 0;
  #pumping = false;
  /** Who needs the engine between two pictures. */
  #pauses = 0;
  #breaks = 0;
  /** The one that was drawn last. @type {?Picture} */
  last = null;

  /**
   * @param {Recent<Picture>} cache @param {() => boolean} may   whether there is an engine that can draw now
   * @param {(settings: import("./protocol.js").Settings) => ?import("./protocol.js").StartPixels} [startOf]
   *   the pixels that a picture starts from; it throws where they are gone
   */
  constructor(engine, cache, may, startOf = () => null) {
    super();
    this.#engine = engine;
    this.#cache = cache;
    this.#may = may;
    this.#startOf = startOf;
  }

  get state() { return this.#state; }

  get running() { return this.#state.hand !== null; }

  /** Whether the engine broke so often that somebody has to say that it should go on. */
  get isBroken() { return this.#breaks >= BREAKS; }

  cached(job) {
    return this.#cache.get(fingerprint(job));
  }

  /**
   * They wait their turn; what is known already is there at once.
   * @param {Job[]} jobs @param {{group?: object}} [how] @returns {number} how many wait, or are in hand, since
   */
  ask(jobs, { group = null } = {}) {
    this.#breaks = 0;
    const entries = jobs.map((job) => this.#entry(job, group)).filter((entry) => !this.#isKnown(entry, "asked"));
    const before = owed(this.#state);
    this.#to("ask", entries);
    return owed(this.#state) - before;
  }

  /** The picture on show, with what the page says now. @param {Job} job */
  live(job) {
    this.#breaks = 0;
    const entry = this.#entry(job);
    if (this.cached(job)) this.#to("seen");
    if (!this.#isKnown(entry, "live")) this.#to("live", entry);
  }

  /** A slider moved, and will rest. */
  rest() { this.#to("rest"); }

  /** The same at strength 0. @param {Job} job */
  compare(job) {
    this.#to("compare", this.#entry(baseJob(job)));
  }

  stop() { this.#to("stop"); }

  /** @param {(entry: import("./queue.js").Entry) => boolean} test */
  cancel(test) { this.#to("cancel", test); }

  empty() { this.#to("empty"); }

  /** Draws on, where something was in the way. */
  goOn() {
    queueMicrotask(() => this.#pump());
  }

  /** After the engine broke again and again. */
  tryAgain() {
    this.#breaks = 0;
    this.#to("clearLive");
  }

  /**
   * What needs the engine alone: at once, and the picture in hand is drawn anew afterwards.
   * @template T @param {() => Promise<T>} work @returns {Promise<T>}
   */
  async instead(work) {
    this.#pauses += 1;
    this.#to("putBack");
    try {
      return await work();
    } finally {
      this.#pauses -= 1;
      this.goOn();
    }
  }

  /**
   * The same between two pictures: the one in hand is waited for, if somebody asked for it.
   * @template T @param {() => Promise<T>} work @returns {Promise<T>}
   */
  async between(work) {
    this.#pauses += 1;
    this.#to("clearLive");
    try {
      await this.#when(({ hand }) => hand === null && !this.#pumping);
      return await work();
    } finally {
      this.#pauses -= 1;
      this.goOn();
    }
  }

  /** Resolves when nothing that was asked for is left; rejects when the engine breaks. @param {AbortSignal} signal */
  async settled(signal) {
    this.#to("clearLive");
    await this.#when((state) => owed(state) === 0 && !this.#pumping, signal);
  }

  /** The engine broke, and what it had in hand with it: the others wait for another engine. @param {Error} error named CRASH */
  engineLost(error) {
    this.#to("clearLive");
    this.#emit("broke", { error });
  }

  /** Resolves when no picture in the line is drawn with this adapter. @param {string} handle */
  async without(handle) {
    const uses = (entry) => entry?.job.adapters.some((adapter) => adapter.handle === handle);
    await this.#when(({ hand, waiting, live }) => ![hand?.entry, live, ...waiting].some(uses));
  }

  /** @param {(state: import("./queue.js").State) => boolean} test @param {AbortSignal} [signal]  with it, the engine's end rejects too */
  #when(test, signal) {
    if (test(this.#state)) return Promise.resolve();
    const heard = new AbortController();
    const on = (target, type, act) => target.addEventListener(type, act, { signal: heard.signal });
    const told = new Promise((resolve, reject) => {
      on(this, "changed", () => test(this.#state) && resolve());
      if (!signal) return;
      on(signal, "abort", () => reject(abortError()));
      on(this, "broke", ({ detail }) => reject(detail.error));
    });
    return told.finally(() => heard.abort());
  }

  #entry(job, group = null) {
    return { id: ++this.#lastId, key: fingerprint(job), job, group };
  }

  /** Shows it if it is in memory. */
  #isKnown(entry, kind) {
    const picture = this.#cache.get(entry.key);
    if (picture) this.#emit("picture", { picture, fresh: false, entry, kind });
    return Boolean(picture);
  }

  /** @param {keyof typeof import("./queue.js").EVENTS} event @param {any} [told] */
  #to(event, told) {
    const before = this.#state;
    this.#state = next(before, event, told);
    // what was in hand and isn't any more is not drawn to its end
    if (before.hand && before.hand.entry !== this.#state.hand?.entry && event !== "done") this.#abort.abort();
    this.#emit("changed", {});
    if (event !== "begin") this.goOn();
  }

  get #isFree() {
    return this.#pauses === 0 && !this.isBroken && this.#may();
  }

  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    let drew = false;
    let stopped = false;
    try {
      while (this.#isFree) {
        this.#to("begin");
        const { hand } = this.#state;
        if (!hand) break;
        if (this.#isKnown(hand.entry, hand.kind)) {
          this.#to("done", hand.entry);
          continue;
        }
        drew = true;
        stopped = !await this.#make(hand.entry);
      }
    } finally {
      this.#pumping = false;
    }
    if (drew) this.#emit("idle", { stopped });
    this.#emit("changed", {});
  }

  /** @returns {Promise<boolean>} whether there is a picture of it */
  async #make(entry) {
    const { signal } = this.#abort = new AbortController();
    try {
      const picture = await this.#draw(entry, signal);
      this.#breaks = 0;
      if (this.#state.hand?.entry !== entry) return false; // stopped in the last moment
      const { kind } = this.#state.hand;
      this.#emit("picture", { picture, fresh: true, entry, kind });
      return true;
    } catch (error) {
      if (error.name === CRASH) this.#breaks += 1; // told by whoever repairs it
      else if (error.name !== "AbortError") this.#emit("failed", { error, entry });
      return false;
    } finally {
      this.#to("done", entry);
    }
  }

  async #draw(entry, signal) {
    const { job, key } = entry;
    this.#emit("start", { entry, kind: this.#state.hand.kind });
    const { width, height, rgba, seconds, notes } = await this.#engine.generate(job.settings, job.adapters, {
      signal,
      onProgress: (progress) => !signal.aborted && this.#emit("progress", { ...progress, entry, kind: this.#state.hand.kind }),
    }, this.#startOf(job.settings));
    const picture = {
      fingerprint: key,
      baseFingerprint: fingerprint(baseJob(job)),
      image: new ImageData(rgba, width, height),
      job,
      seconds,
      notes: notes ?? [],
    };
    this.#cache.put(key, picture);
    this.last = picture;
    return picture;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
