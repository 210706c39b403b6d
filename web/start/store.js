// The pixels of start pictures and of masks, by what settings call them: what waits, what was drawn and what is restored
// name them, and none of these has to hold them itself. They last as long as the tab.

import { sizeAfter } from "../hires.js";
import { boxOf, cropOf } from "./crop.js";
import { nameOf } from "./name.js";
import { Recent } from "../recent.js";

/** Longest side that is kept of a picture. */
export const LARGEST = 4096;
/** Of all that are held. */
const MOST_BYTES = 256 * 2 ** 20;

/** The name of the error where a picture is drawn whose start picture isn't there. */
export const GONE = "StartGone";

export class StartStore {
  #held;

  /** @param {(name: string) => boolean} [isInUse]   these are never forgotten */
  constructor(isInUse = () => false, mostBytes = MOST_BYTES) {
    /** @type {Recent<import("../protocol.js").Pixels>} */
    this.#held = new Recent(({ rgba }) => rgba.byteLength, { mostBytes, isInUse });
  }

  /**
   * @param {import("../protocol.js").Pixels} pixels @param {string} [known]   their name, where somebody has taken it
   * @returns {Promise<string>} what settings call them
   */
  async put(pixels, known) {
    const name = known ?? await nameOf(pixels);
    this.#held.put(name, pixels);
    return name;
  }

  /** @param {string} name @returns {import("../protocol.js").Pixels|undefined} */
  get(name) {
    return this.#held.get(name);
  }

  /** Whether all that these settings start from is there. @param {?import("../protocol.js").Start} start */
  has(start) {
    return !start || (this.#held.has(start.picture) && (start.mask === "" || this.#held.has(start.mask)));
  }

  /**
   * What the engine is given.
   * @param {import("../protocol.js").Settings} settings
   * @returns {?import("../protocol.js").StartPixels}
   */
  of({ start }) {
    if (!start) return null;
    if (!this.has(start)) throw Object.assign(new Error("The picture that it starts from isn’t in memory any more. Put it in again, and draw."), { name: GONE });
    return { picture: this.get(start.picture), mask: start.mask ? this.get(start.mask) : null };
  }

  /**
   * Where the masked part alone is drawn: what it is put into, and where.
   * @param {import("../protocol.js").Settings} settings
   * @returns {?{picture: import("../protocol.js").Pixels, crop: import("./crop.js").Box}}
   */
  cropOf({ start, width, height }) {
    if (start?.inpaint?.area !== "masked" || !this.has(start)) return null;
    const [picture, mask] = [this.get(start.picture), this.get(start.mask)];
    const box = boxOf(mask, start.inpaint);
    return box && { picture, crop: cropOf(box, start.inpaint.padding, picture, { width, height }) };
  }

  /**
   * The size that a picture with these settings comes to.
   * @param {import("../protocol.js").Settings} settings @returns {{width: number, height: number}}
   */
  sizeOf({ start, hires, width, height }) {
    const picture = start?.inpaint?.area === "masked" ? this.#held.get(start.picture) : null;
    return picture ? { width: picture.width, height: picture.height } : sizeAfter({ width, height }, hires);
  }
}

/** What is drawn or waits starts from these. @param {import("../queue.js").State} state @returns {Set<string>} */
export function startsOf({ hand, waiting, live }) {
  return new Set([hand?.entry, live, ...waiting].flatMap((entry) => {
    const start = entry?.job.settings.start;
    return start ? [start.picture, start.mask] : [];
  }));
}
