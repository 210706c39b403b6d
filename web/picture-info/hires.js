// A picture that was drawn twice, the second time larger (hires fix), in A1111's keys.

import { sizeAfter } from "../hires.js";
import { numberOr } from "./found.js";

/** A1111's names of what makes it larger between the two. */
const UPSCALERS = { latent: "Latent", "latent-nearest": "Latent (nearest-exact)", lanczos: "Lanczos" };
/** Names of A1111's for which there is one that is all but the same. */
const NEAR = { "Latent (nearest)": "latent-nearest", "Latent (antialiased)": "latent" };
const RESIZE = ["Hires resize-1", "Hires resize-2"];
const [SCALE, STEPS, UPSCALER, STRENGTH] = ["Hires upscale", "Hires steps", "Hires upscaler", "Denoising strength"];

/**
 * @param {?import("../protocol.js").Hires|undefined} hires
 * @returns {[string, string|number|null][]} for A1111's line, the strength of the second pass first; null: left out
 */
export function hiresKeys(hires) {
  if (!hires) return [];
  return [[STRENGTH, hires.strength], [SCALE, hires.scale], [STEPS, hires.steps || null], [UPSCALER, UPSCALERS[hires.upscaler]]];
}

/**
 * @param {Map<string, string>} settings   of A1111's line
 * @returns {{hires: ?import("../protocol.js").Hires, used: string[]}} used: the keys that say it
 */
export function hiresOf(settings) {
  const scale = numberOr(settings.get(SCALE)) ?? resizedBy(settings);
  const name = settings.get(UPSCALER) ?? "Latent"; // A1111's own, which it may leave out
  const known = Object.entries(UPSCALERS).find(([, label]) => label === name)?.[0] ?? NEAR[name];
  if (scale === null || !known) return { hires: null, used: [] };
  const upscaler = /** @type {import("../protocol.js").Hires["upscaler"]} */ (known);
  const hires = { scale, upscaler, strength: numberOr(settings.get(STRENGTH)) ?? 0.7, steps: numberOr(settings.get(STEPS)) ?? 0 };
  return { hires, used: [SCALE, ...RESIZE, STEPS, UPSCALER, STRENGTH] };
}

/**
 * Where A1111 names the size that it came to: by how much, in hundredths. A side of 0 follows from the other.
 * @param {Map<string, string>} settings @returns {?number} null: it isn't named, or is no multiple
 */
function resizedBy(settings) {
  const [width, height, wide, high] = ["Size-1", "Size-2", ...RESIZE].map((key) => numberOr(settings.get(key)));
  if (!width || !height || wide === null || high === null) return null;
  const scale = Math.ceil(100 * Math.max(wide / width, high / height) - 1e-6) / 100;
  const size = sizeAfter({ width, height }, { scale });
  const is = (side, named) => named === 0 || side === 8 * Math.trunc(named / 8);
  return is(size.width, wide) && is(size.height, high) ? scale : null;
}
