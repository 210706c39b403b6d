// Pictures and the settings that made them: fingerprints, a cache, and the making itself.

import { CRASH } from "./protocol.js";

/**
 * @typedef {object} Job
 * @property {string} model      key of the model
 * @property {import("./protocol.js").Settings} settings
 * @property {Strength[]} adapters  those that act
 *
 * @typedef {object} Strength
 * @property {string} handle
 * @property {string} name
 * @property {number} unet
 * @property {number} textEncoder
 * @property {boolean} onePart   the adapter sits on one of the two alone
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
  const { prompt, negativePrompt, emphasis, clipSkip, steps, guidance, seed, scheduler, spacing, eta, width, height } = settings;
  return JSON.stringify({
    model, prompt, negativePrompt, emphasis, clipSkip, steps, guidance, seed: String(seed), scheduler, spacing, eta, width, height,
    adapters: adapters.map(({ handle, unet, textEncoder }) => [handle, unet, textEncoder]),
  });
}

export function baseJob(job) {
  return { ...job, adapters: [] };
}

/** The pictures used last, within a number and a size. */
export class PictureCache {
  #entries = new Map();
  #bytes = 0;

  constructor(maxPictures = 60, maxBytes = 256 * 1024 * 1024) {
    this.maxPictures = maxPictures;
    this.maxBytes = maxBytes;
  }

  /** @returns {Picture|undefined} */
  get(key) {
    const picture = this.#entries.get(key);
    if (picture) {
      this.#entries.delete(key);
      this.#entries.set(key, picture);
    }
    return picture;
  }

  put(picture) {
    this.#drop(picture.fingerprint);
    this.#entries.set(picture.fingerprint, picture);
    this.#bytes += picture.image.data.byteLength;
    for (const key of this.#entries.keys()) {
      if (this.#entries.size <= 1) break;
      if (this.#entries.size <= this.maxPictures && this.#bytes <= this.maxBytes) break;
      this.#drop(key);
    }
  }

  #drop(key) {
    const old = this.#entries.get(key);
    if (!old) return;
    this.#entries.delete(key);
    this.#bytes -= old.image.data.byteLength;
  }
}

/**
 * Makes one picture at a time, and after it the one at strength 0 to compare it with. A new job stops
 * the one before.
 *
 * Events, each with a detail: "start" {job, which}, "progress" {which, ...}, "picture" {picture, fresh},
 * "base" {picture}, "failed" {error}; and "idle" {stopped} when nothing runs any more.
 */
export class PictureMaker extends EventTarget {
  #engine;
  #cache;
  #abort = null;

  constructor(engine, cache) {
    super();
    this.#engine = engine;
    this.#cache = cache;
  }

  get running() {
    return this.#abort !== null;
  }

  cached(job) {
    return this.#cache.get(fingerprint(job));
  }

  stop() {
    this.#abort?.abort();
  }

  /** @param {Job} job */
  async make(job) {
    this.stop();
    const abort = this.#abort = new AbortController();
    let stopped = false;
    try {
      const known = this.cached(job);
      const picture = known ?? await this.#draw(job, "now", abort.signal);
      this.#emit("picture", { picture, fresh: !known });
      if (job.adapters.length > 0) {
        const base = baseJob(job);
        this.#emit("base", { picture: this.cached(base) ?? await this.#draw(base, "base", abort.signal) });
      }
    } catch (error) {
      stopped = true;
      // a crash is told by whoever repairs it
      if (error.name !== "AbortError" && error.name !== CRASH) this.#emit("failed", { error });
    }
    if (this.#abort !== abort) return; // another job took over
    this.#abort = null;
    this.#emit("idle", { stopped });
  }

  async #draw(job, which, signal) {
    this.#emit("start", { job, which });
    const { width, height, rgba, seconds, notes } = await this.#engine.generate(job.settings, job.adapters, {
      signal,
      onProgress: (progress) => !signal.aborted && this.#emit("progress", { ...progress, which }),
    });
    const picture = {
      fingerprint: fingerprint(job),
      baseFingerprint: fingerprint(baseJob(job)),
      image: new ImageData(rgba, width, height),
      job,
      seconds,
      notes: notes ?? [],
    };
    this.#cache.put(picture);
    return picture;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
