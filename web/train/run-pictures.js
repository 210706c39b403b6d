// Pictures of a run: drawn with some state of its adapter, kept in memory, and previews in its folder.

import { Recent } from "../recent.js";

export class RunPictures {
  /** @type {Recent<ImageData>} */
  #cache = new Recent(({ data }) => data.byteLength, { most: 200, mostBytes: 256 * 2 ** 20 });

  /** Equal ones mean equal pictures. A step may be run anew after a rewind: the serial number tells. */
  #fingerprint(run, step, strength, settings) {
    if (strength === 0) return JSON.stringify({ base: settings });
    return JSON.stringify({ run: run.record.id, step, serial: run.snapshot(step)?.serial ?? null, strength, settings });
  }

  /** @returns {Promise<?ImageData>} */
  async get(run, step, strength, settings) {
    const key = this.#fingerprint(run, step, strength, settings);
    const cached = this.#cache.get(key);
    if (cached) return cached;
    const snapshot = run.snapshot(step);
    if (snapshot?.preview !== key) return null;
    const blob = await run.read(snapshot.image);
    const bitmap = blob && await createImageBitmap(blob).catch(() => null);
    if (!bitmap) return null;
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    return this.#remember(key, context.getImageData(0, 0, bitmap.width, bitmap.height));
  }

  /**
   * @param {import("./store.js").Run} run
   * @param {number} step
   * @param {number} strength
   * @param {import("../protocol.js").Settings} settings
   * @param {import("../protocol.js").Pixels} pixels
   */
  put(run, step, strength, settings, { width, height, rgba }) {
    return this.#remember(this.#fingerprint(run, step, strength, settings), new ImageData(rgba, width, height));
  }

  /** Into the run's folder, for the timeline. At step 0 it is the base's. */
  async keep(run, step, settings, image) {
    const key = this.#fingerprint(run, step, step === 0 ? 0 : 1, settings);
    const canvas = new OffscreenCanvas(image.width, image.height);
    canvas.getContext("2d").putImageData(image, 0, 0);
    await run.keepPreview(step, key, await canvas.convertToBlob({ type: "image/png" }));
  }

  #remember(key, image) {
    this.#cache.put(key, image);
    return image;
  }
}
