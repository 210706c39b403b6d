// What each picture says about how it was made, noted when it is drawn: what was loaded then may be gone when it is saved.

import { KEYWORD, writeRecord } from "./picture-info/record.js";
import { withText } from "./picture-info/png.js";

/**
 * @typedef {object} Told
 * @property {string} title
 * @property {?Blob} file          of a model in one file
 * @property {?{name: string, blob: Blob}} vae
 * @property {import("./protocol.js").ModelOptions} options
 */
export class PictureTexts {
  #sums;
  /** @type {WeakMap<import("./pictures.js").Picture, {model: Told, hashes: Promise<?string>[]}>} */
  #noted = new WeakMap();

  /** @param {import("./sums.js").Sums} sums */
  constructor(sums) {
    this.#sums = sums;
  }

  /** A model in one file has a hash: it is begun here, since it takes a while. @param {import("./model-loader.js").Loaded} model */
  begin(model) {
    const { file, vae } = told(model);
    if (file) this.#sums.take("file", file);
    if (vae) this.#sums.take("file", vae.blob);
  }

  /**
   * @param {import("./pictures.js").Picture} picture
   * @param {import("./model-loader.js").Loaded} model
   * @param {(handle: string) => ?Blob} fileOf   an adapter's
   */
  note(picture, model, fileOf) {
    if (this.#noted.has(picture)) return;
    const hashes = picture.job.adapters.map(({ handle, words }) => {
      const file = fileOf(handle);
      return file ? this.#sums.take(words ? "embedding" : "adapter", file) : Promise.resolve(null);
    });
    this.#noted.set(picture, { model: told(model), hashes });
  }

  /** @param {import("./pictures.js").Picture} picture @returns {Promise<string>} empty: nothing was noted */
  async of(picture) {
    const noted = this.#noted.get(picture);
    if (!noted) return "";
    const hashes = await Promise.all(noted.hashes);
    const { title, file, vae, options } = noted.model;
    return writeRecord({
      settings: picture.job.settings,
      template: picture.job.hasChoices ? picture.job.written : null,
      adapters: picture.job.adapters.map((adapter, i) => ({ ...adapter, hash: hashes[i] })),
      model: { title, hash: this.#sums.known(file), vae: vae && { name: vae.name, hash: this.#sums.known(vae.blob) }, options },
    });
  }
}

/** @param {import("./model-loader.js").Loaded} model @returns {Told} */
export function told({ title, files, options }) {
  const whole = files.filter(({ path, part }) => !part && /\.safetensors$/i.test(path));
  const isFolder = files.some(({ path }) => path === "model_index.json");
  const vae = files.find(({ part }) => part === "vae");
  const file = !isFolder && whole.length === 1 ? whole[0].blob : null;
  return { title, file, vae: vae ? { name: vae.path, blob: vae.blob } : null, options };
}

/** @param {ImageData} image @param {string} text of its settings; empty: without @returns {Promise<Blob>} */
export async function pngOf(image, text) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return withSettings(await canvas.convertToBlob({ type: "image/png" }), text);
}

/** @param {Blob} png @param {string} text of its settings; empty: without @returns {Promise<Blob>} */
export async function withSettings(png, text) {
  if (!text) return png;
  return new Blob([withText(new Uint8Array(await png.arrayBuffer()), KEYWORD, text)], { type: "image/png" });
}

/** @param {string} prompt @param {string} seed */
export function fileNameOf(prompt, seed) {
  const words = prompt.normalize("NFKD").replace(/[^\w]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60).toLowerCase();
  return `${words || "picture"}-${seed}.png`;
}
