// A1111's text as what is found in a picture. Forge, SD.Next, Civitai and many others write it too.

import { found, numberOr, seedOr } from "./found.js";
import { hiresOf } from "./hires.js";
import { readInfotext } from "./infotext.js";
import { emphasisOf, fromA1111 } from "./names.js";
import { startOf } from "./start.js";
import { tagName, tagsOf, withoutTags } from "./tags.js";

/** A1111's own, where a text says none. */
const STEPS = 20;
/** Keys that have a place here; all others are told as they stand. */
const USED = new Set([
  "Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size-1", "Size-2", "Model hash", "Model", "Clip skip", "RNG", "Variation seed", "Variation seed strength", "Lora hashes",
  "TI hashes", "Emphasis", "Version", "Lorakeet",
]);

/** @param {string} text @returns {?import("./found.js").Found} null: it has no settings */
export function readA1111(text) {
  const info = readInfotext(text);
  return info.settings.size > 0 ? fromInfotext(info) : null;
}

/** @param {import("./infotext.js").Infotext} info */
export function fromInfotext({ prompt, negativePrompt, settings, resources }) {
  const of = (key) => settings.get(key);
  const sampler = of("Sampler");
  const emphasis = of("Emphasis");
  const steps = numberOr(of("Steps"));
  const tags = tagsOf(prompt, steps ?? STEPS);
  const adapters = tags.map(({ unread, ...tag }) => ({ ...tag, hash: hashOf(tag.name, of("Lora hashes"), resources.Hashes) }));
  const embeddings = listed(of("TI hashes")).map(([name, hash]) => ({ name, hash, unet: 0, textEncoder: 1, words: true }));
  const { start, used } = startOf(settings);
  const { hires, used: usedByHires } = hiresOf(settings);
  const rest = [...settings].filter(([key]) => !USED.has(key) && ![...used, ...usedByHires].includes(key)).map(([key, value]) => `${key}: ${value}`);
  return found("A1111", {
    prompt,
    negativePrompt,
    seed: seedOr(of("Seed")),
    // without the key A1111 drew on the GPU, whose noise is all but NVIDIA's
    rng: of("Seed") ? (of("RNG") === "CPU" ? "cpu" : "nv") : null,
    variationSeed: seedOr(of("Variation seed")),
    variationStrength: numberOr(of("Variation seed strength")) ?? 0,
    steps,
    guidance: numberOr(of("CFG scale")),
    clipSkip: numberOr(of("Clip skip")) ?? 1,
    emphasis: emphasis ? emphasisOf(emphasis) : "original",
    sampler: sampler ? fromA1111(sampler, of("Schedule type")) : null,
    spacing: "",
    width: numberOr(of("Size-1")),
    height: numberOr(of("Size-2")),
    start,
    hires,
    adapters: [...adapters, ...embeddings],
    model: modelOf(of("Model"), of("Model hash") ?? resources.Hashes?.model),
    rest: joinedSizes(rest),
    notes: [
      ...tags.flatMap(({ name, unread }) => unread.map((problem) => `${problem}, so ${name} acts everywhere the same`)),
      ...of("Seed") && !of("RNG") ? ["it names no source of its noise, which is taken for an NVIDIA card’s"] : [],
    ],
  });
}

function modelOf(name, hash) {
  return name || hash ? { name: name ?? "", hash: hash ?? null } : null;
}

/** @param {string} name @returns {?string} of the list that A1111 writes, or of the one for Civitai */
export function hashOf(name, list = "", hashes = {}) {
  const [, hash] = listed(list).find(([one]) => one === tagName(name)) ?? [];
  if (hash) return hash;
  const others = hashes?.[`lora:${name}`];
  return typeof others === "string" ? others : null;
}

/** `name: hash, name: hash` @returns {[string, string][]} */
function listed(list = "") {
  const pairs = list.split(",").map((entry) => /** @type {[string, string]} */ ([
    entry.slice(0, Math.max(0, entry.lastIndexOf(":"))).trim(), entry.slice(entry.lastIndexOf(":") + 1).trim(),
  ]));
  return pairs.filter(([name, hash]) => name && hash);
}

/** `Hires resize-1: 8`, `Hires resize-2: 9` is one thing to people. */
function joinedSizes(rest) {
  return rest.flatMap((line, i) => {
    const first = /^(.*)-1: (\d+)$/.exec(line);
    const second = first && rest[i + 1]?.startsWith(`${first[1]}-2: `);
    if (second) return [`${first[1]}: ${first[2]}x${rest[i + 1].slice(first[1].length + 4)}`];
    const before = /^(.*)-2: \d+$/.exec(line);
    return before && rest[i - 1]?.startsWith(`${before[1]}-1: `) ? [] : [line];
  });
}

/** What is left of a prompt whose tags became strengths of cards. @param {string} prompt @param {{tag?: string}[]} adapters */
export function promptWithout(prompt, adapters) {
  return withoutTags(prompt, adapters.flatMap(({ tag }) => tag ?? []));
}
