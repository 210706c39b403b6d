// What is said of a picture: under it, and to whoever doesn't see it. Pure.

import { wordsOf } from "./spread.js";

/** @param {import("./pictures.js").Strength} strength */
function strengthText({ name, unet, textEncoder, onePart, words, spread }) {
  if (words) return name;
  const numbers = unet === textEncoder || onePart ? `${name} ${unet || textEncoder}` : `${name} ${unet} / ${textEncoder}`;
  return spread ? `${numbers} (${wordsOf(spread)})` : numbers;
}

/** @param {import("./pictures.js").Job} job */
export function describe({ adapters, settings }) {
  return { alt: `${settings.prompt || "no prompt"}, seed ${settings.seed}`, adapters: adapters.map(strengthText).join(", ") };
}

/** @param {import("./pictures.js").Job} job */
export function label(job) {
  const { adapters, alt } = describe(job);
  return adapters ? `${alt}, ${adapters}` : alt;
}
