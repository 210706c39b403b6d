// A picture's settings: those that are given, and the model's for the rest.

import { randomSeed } from "../web/seed.js";
import { usualSettings } from "../web/usual-settings.js";
import { pixelsFrom } from "./pixels.js";

/**
 * @typedef {import("../web/protocol.js").Settings} Settings
 *
 * @typedef {object} StartFrom             a picture that it starts from, beside noise
 * @property {import("./pixels.js").Picture} picture
 * @property {import("./pixels.js").Picture} [mask]   white is painted anew, black stays
 * @property {number} [strength]           0 to 1: how far from the picture
 * @property {boolean} [exactSteps]        true: as many steps as asked for; else their share by the strength
 * @property {"stretch"|"crop"|"fill"} [resize]   where the picture has another size
 * @property {Partial<import("../web/protocol.js").Inpaint>} [inpaint]   with a mask: how
 *
 * @typedef {Partial<Omit<Settings, "seed"|"variationSeed"|"start"|"hires">> & {seed?: string|number|bigint,
 *   variationSeed?: string|number|bigint, start?: StartFrom, hires?: Partial<import("../web/protocol.js").Hires>}} DrawSettings
 *   what isn't said is the model's own; the seed a random one
 */

/**
 * @param {import("../web/protocol.js").ModelReport} report
 * @param {DrawSettings} given
 * @returns {Settings}
 */
export function settingsOf(report, { start, seed = randomSeed(), variationSeed = 0, ...given }) {
  const usual = { ...usualSettings(report), eta: null };
  const unknown = Object.keys(given).filter((name) => !(name in usual));
  if (unknown.length > 0) {
    throw new TypeError(`${unknown.join(", ")}: there is no such setting. There are ${[...Object.keys(usual), "seed", "start"].join(", ")}`);
  }
  const settings = /** @type {Settings} */ ({ ...usual, ...withoutGaps(given), seed: String(seed), variationSeed: String(variationSeed) });
  if (start) settings.start = startOf(start);
  return settings;
}

/** What the engine fills in by itself is left to it. @param {StartFrom} start @returns {any} */
function startOf({ picture: _picture, mask, inpaint, ...rest }) {
  return { ...withoutGaps(rest), picture: "", mask: "", inpaint: mask ? inpaint ?? {} : null };
}

/** @param {StartFrom} [start] @returns {Promise<?import("../web/protocol.js").StartPixels>} */
export async function picturesOf(start) {
  if (!start) return null;
  return { picture: await pixelsFrom(start.picture), mask: start.mask ? await pixelsFrom(start.mask) : null };
}

/** What is undefined is not said. @template {object} T @param {T} object @returns {T} */
function withoutGaps(object) {
  return /** @type {T} */ (Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)));
}
