// What our own pictures say: A1111's text, so that everybody reads it, and under one key of our own what A1111 has no
// word for, so that the page sets exactly what it drew with.

import { fromInfotext, hashOf } from "./a1111.js";
import { numberOr, parseJson } from "./found.js";
import { hiresKeys } from "./hires.js";
import { readInfotext, writeInfotext } from "./infotext.js";
import { EMPHASES, labelsOf } from "./names.js";
import { ownStart, startKeys } from "./start.js";
import { tagFor, tagName, tagsOf, withoutTags } from "./tags.js";
import { embeddingsIn } from "../prompt/embeddings.js";
import { checked } from "../spread.js";
import { VERSION } from "../version.js";

/** The keyword of the text in a PNG. */
export const KEYWORD = "parameters";
const OWN = "Lorakeet";
/** Of an adapter that a choice of the prompt asked for. */
const DRAWN = "drawn";

/**
 * @typedef {object} PictureRecord
 * @property {import("../protocol.js").Settings} settings
 * @property {(import("../pictures.js").Strength & {hash: ?string})[]} adapters   those that acted
 * @property {?import("./found.js").Template} [template]   what its prompts were drawn from
 * @property {{title: string, hash: ?string, vae: ?{name: string, hash: ?string}, options: import("../protocol.js").ModelOptions}} model
 */

/** @param {PictureRecord} record @returns {string} */
export function writeRecord({ settings, adapters, template = null, model }) {
  const variation = settings.variationStrength;
  const { negativePrompt, emphasis, clipSkip, steps, guidance, seed, scheduler, schedule: levels, width, height } = settings;
  const { sampler, schedule } = labelsOf(scheduler, levels);
  const prompt = taggedPrompt(settings.prompt, adapters, steps);
  const isUsed = usedIn([prompt, negativePrompt].map(withoutComments), adapters);
  const listOf = (some) => some.filter(({ hash }) => hash).map(({ name, hash }) => `${tagName(name)}: ${hash}`).join(", ") || null;
  const [denoising, ...more] = settings.start ? startKeys(settings.start) : [...hiresKeys(settings.hires)];
  const text = (own) => writeInfotext(prompt, withoutComments(negativePrompt), [
    ["Steps", steps], ["Sampler", sampler], ["Schedule type", schedule], ["CFG scale", guidance], ["Seed", seed], ["Size", `${width}x${height}`],
    ["Model hash", model.hash], ["Model", model.title || null], ["VAE hash", model.vae?.hash], ["VAE", model.vae?.name],
    ...denoising ? [denoising] : [], ["Clip skip", clipSkip > 1 ? clipSkip : null], ["RNG", settings.rng === "nv" ? "NV" : "CPU"],
    ["Variation seed", variation ? settings.variationSeed : null], ["Variation seed strength", variation || null], ...more,
    ["Lora hashes", listOf(adapters.filter(({ words }) => !words))],
    ["TI hashes", listOf(adapters.filter(isUsed))],
    ["Emphasis", emphasis !== "original" && /[([]/.test(prompt + negativePrompt) ? EMPHASES[emphasis] : null],
    [OWN, JSON.stringify(own)], ["Version", `${OWN} ${VERSION}`],
  ]);
  /** @type {Record<string, any>} */
  const own = { ...ownFields(settings, adapters, model), ...template && { template } };
  // texts that A1111's form doesn't hold as they are: comments, blanks at a line's end, a line like its own
  const read = /** @type {import("./found.js").Found} */ (readRecord(text(own)));
  if (read.prompt !== settings.prompt) own.prompt = settings.prompt;
  if (read.negativePrompt !== negativePrompt) own.negativePrompt = negativePrompt;
  return text(own);
}

/**
 * What A1111's keys don't say, or not to the last digit.
 * @param {import("../protocol.js").Settings} settings
 * @returns {Record<string, any>}
 */
function ownFields({ emphasis, scheduler, schedule, spacing, eta, start }, adapters, { options }) {
  return {
    scheduler, spacing, emphasis,
    ...schedule && { schedule },
    ...eta !== null && { eta },
    ...start && { start },
    ...adapters.length > 0 && { adapters: adapters.map(listed) },
    ...Object.keys(options).length > 0 && { options },
  };
}

/** @param {import("../pictures.js").Strength} adapter */
function listed({ name, unet, textEncoder, drawn, spread }) {
  return [name, unet, textEncoder, ...drawn ? [DRAWN] : [], ...spread ? [spread] : []];
}

/**
 * Which embeddings have their words in a prompt.
 * @param {string[]} prompts @param {{words?: string[]}[]} adapters
 * @returns {(adapter: {words?: string[]}) => boolean}
 */
function usedIn(prompts, adapters) {
  const names = adapters.flatMap(({ words }) => words ?? []);
  const used = prompts.map((prompt) => embeddingsIn(prompt, names));
  return ({ words }) => Boolean(words?.some((word) => used.some((found) => found.has(word))));
}

/** Without comments, with a tag for each adapter: in its place where there is one, else at the end. */
function taggedPrompt(prompt, adapters, steps) {
  let text = withoutComments(prompt);
  const written = tagsOf(text, steps);
  const added = [];
  for (const adapter of adapters) {
    if (adapter.words) continue; // an embedding's word stands in the prompt
    const tag = tagFor(adapter, steps);
    const there = written.find(({ name }) => name === tagName(adapter.name));
    if (there) text = text.replace(there.tag, () => tag);
    else added.push(tag);
  }
  return [text, ...added].filter(Boolean).join(" ");
}

/** As the engine reads a prompt (src/prompt): from # to the end of its line. @param {string} prompt */
function withoutComments(prompt) {
  return prompt.includes("#") ? prompt.split("\n").map((line) => line.split("#")[0].trimEnd()).join("\n").trim() : prompt;
}

/** @param {any} template @returns {?import("./found.js").Template} */
function templateOf(template) {
  const { prompt, negativePrompt } = template ?? {};
  return typeof prompt === "string" && typeof negativePrompt === "string" ? { prompt, negativePrompt } : null;
}

/** @param {string} text @returns {?import("./found.js").Found} null: no picture of ours */
export function readRecord(text) {
  const info = readInfotext(text);
  const own = parseJson(info.settings.get(OWN) ?? "");
  if (!own) return null;
  const plain = fromInfotext(info);
  const named = Array.isArray(own.adapters) ? own.adapters.filter((one) => Array.isArray(one) && typeof one[0] === "string") : [];
  const adapters = named.map(([name, unet, textEncoder, ...more]) => {
    const spread = checked(more.find((one) => typeof one === "object"));
    return {
      name, unet: numberOr(unet) ?? 1, textEncoder: numberOr(textEncoder) ?? 1,
      hash: hashOf(name, info.settings.get("Lora hashes")) ?? hashOf(name, info.settings.get("TI hashes")),
      ...more.includes(DRAWN) && { drawn: true },
      ...spread && { spread },
    };
  });
  const added = plain.adapters.filter(({ name, tag }) => tag && adapters.some((one) => tagName(one.name) === name)).map(({ tag }) => tag);
  const texts = (name) => (typeof own[name] === "string" ? own[name] : null);
  return {
    ...plain,
    program: OWN,
    prompt: texts("prompt") ?? withoutTags(info.prompt, added),
    negativePrompt: texts("negativePrompt") ?? info.negativePrompt,
    scheduler: texts("scheduler"),
    spacing: texts("spacing") ?? "",
    schedule: texts("schedule") ?? "",
    emphasis: texts("emphasis") ?? plain.emphasis,
    eta: numberOr(own.eta),
    start: ownStart(own.start, plain.start),
    adapters,
    template: templateOf(own.template),
    options: own.options && typeof own.options === "object" ? own.options : {},
    rest: plain.rest.filter((line) => !line.startsWith("VAE")),
  };
}
