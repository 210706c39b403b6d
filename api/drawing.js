// A picture in the making.

import { imageOf } from "./pixels.js";
import { Work } from "./work.js";

/**
 * @typedef {object} DrawProgress
 * @property {string} phase                "text", "encode", "denoise" or "decode"
 * @property {number} step
 * @property {number} steps
 * @property {number} fraction             of all of the work, 0 to 1
 * @property {?ImageData} preview          small: what the model makes of it so far
 *
 * @typedef {import("../web/protocol.js").Pixels & {seconds: number, notes: string[]}} Drawn
 */

/**
 * `await` gives the picture, `for await` the progress.
 * @extends {Work<ImageData, DrawProgress>}
 */
export class Drawing extends Work {
  #settings;
  /** What it took; NaN until it is drawn. */
  seconds = NaN;
  /** What is to be said of it for people. @type {string[]} */
  notes = [];

  /**
   * @param {import("../web/protocol.js").Settings} settings
   * @param {(watch: {signal?: AbortSignal, onProgress: (progress: any) => void}) => Promise<Drawn>} draw
   * @param {import("./work.js").Watch<DrawProgress>} [watch]
   */
  constructor(settings, draw, watch) {
    super(async ({ signal, onProgress }) => {
      const tell = (/** @type {any} */ { preview, ...progress }) => onProgress({ ...progress, preview: preview ? imageOf(preview) : null });
      const { seconds, notes, ...pixels } = await draw({ signal, onProgress: tell });
      Object.assign(this, { seconds, notes });
      return imageOf(pixels);
    }, watch);
    this.#settings = settings;
  }

  /** All of them, with those that nobody gave: the seed that was drawn draws it again. */
  get settings() { return this.#settings; }
}
