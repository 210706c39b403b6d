// What of a picture's settings the page can take over, and in words what it takes and what it can't.

import { MOST_SIDE, sizeAfter } from "../hires.js";
import { promptWithout } from "./a1111.js";
import { nearest } from "./names.js";
import { tagName } from "./tags.js";
import { added, withoutTags } from "../prompt/tags.js";
import { wordsOf as spreadText } from "../spread.js";

/** What an adapter's strength can be on the page. */
const STRONGEST = 10;
/** A list that is longer is told by its beginning. */
const MOST_TOLD = 8;

/**
 * @typedef {object} Page   what there is to set
 * @property {(name: string, value: string) => boolean} takes   whether a field of the form can have this value
 * @property {{id: string, label: string, takesSchedule: boolean}[]} schedulers
 * @property {{id: string, label: string}[]} schedules
 * @property {string} scheduler                                 the one that is set
 * @property {{handle: string, name: string, hash: ?string}[]} adapters
 * @property {?{title: string, hash: ?string, options: object}} model
 * @property {(template: import("./found.js").Template, seed: string) => import("./found.js").Template} draws
 *   what a template's choices come to here
 * @property {(start: import("../protocol.js").Start) => boolean} hasStart   whether what it started from is in memory
 * @property {boolean} starts                                   whether the page has a start picture
 *
 * @typedef {object} Plan
 * @property {Partial<import("../protocol.js").Settings>} settings
 * @property {?({handle: string} & import("../spread.js").Powers)[]} strengths   all others go off; null: they stay as they are
 * @property {?import("../protocol.js").Start} [start]   null: from noise alone; not there: it stays as it is
 * @property {string[]} restored   in words
 * @property {string[]} lacking    in words
 */

/**
 * The prompts with their choices, where those give the same words here; else the words.
 * @param {import("./found.js").Found} found @param {Page} page
 */
function promptsOf({ template, prompt, negativePrompt, seed }, page) {
  const bare = (text) => withoutTags(text ?? "", () => true).trim();
  const drawn = template && seed !== null ? page.draws(template, seed) : null;
  const comes = drawn !== null && bare(drawn.prompt) === bare(prompt) && drawn.negativePrompt === negativePrompt;
  const other = "its choices, since lists that they draw from are others here: the words that were drawn stand there";
  return { ...comes ? template : { prompt, negativePrompt }, comes, lacking: template && !comes ? [other] : [] };
}

/** @param {import("./found.js").Found} found @param {Page} page @returns {Plan} */
export function planOf(found, page) {
  const prompts = promptsOf(found, page);
  const adapters = matched(found.adapters, page.adapters);
  const scheduler = schedulerOf(found, page);
  const prompt = found.prompt === null || found.program === "Lorakeet" ? prompts.prompt : promptWithout(found.prompt, adapters.map(({ wish }) => wish));
  /** @type {[string, any, string][]} field, value, words; no words: what goes without saying */
  const fields = [
    ["prompt", prompt, prompts.comes ? "prompt with its choices" : "prompt"],
    ["negativePrompt", prompts.negativePrompt, found.negativePrompt ? "negative prompt" : ""],
    ["seed", found.seed, `seed ${found.seed}`],
    ["rng", found.rng, found.rng === "nv" ? "noise as NVIDIA’s" : ""],
    ["variationSeed", found.variationSeed, ""],
    ["variationStrength", found.variationStrength, found.variationStrength ? `variation ${found.variationStrength}` : ""],
    ["steps", found.steps, `${found.steps} steps`],
    ["guidance", found.guidance, `guidance ${found.guidance}`],
    ["scheduler", scheduler.id, page.schedulers.find(({ id }) => id === scheduler.id)?.label ?? ""],
    ["schedule", scheduler.schedule, page.schedules.find(({ id }) => id === scheduler.schedule)?.label ?? ""],
    ["clipSkip", found.clipSkip, found.clipSkip === 1 ? "" : `clip skip ${found.clipSkip}`],
    ["emphasis", found.emphasis, ["original", null].includes(found.emphasis) ? "" : "weights of words"],
    ["spacing", found.spacing, found.spacing ? `timesteps ${found.spacing}` : ""],
    ["eta", found.eta, `eta ${found.eta}`],
  ];
  /** @type {Plan} */
  const plan = { settings: {}, strengths: null, restored: [], lacking: [...scheduler.lacking, ...prompts.lacking] };
  for (const [field, value, words] of fields) take(plan, page, [[field, value]], words, `${field} ${value}`);
  const size = `${found.width}×${found.height}`;
  if (found.width !== null && found.height !== null) take(plan, page, [["width", found.width], ["height", found.height]], size, `size ${size}`);
  takeStart(plan, found, page);
  takeHires(plan, found, page);
  takeAdapters(plan, found, adapters, prompts.comes);
  takeModel(plan, found, page.model);
  plan.lacking.push(...shortened(found.rest), ...found.notes);
  return plan;
}

/** Whether any of the picture's settings is known; a text alone says nothing of adapters. */
const saysMuch = ({ steps, adapters }) => steps !== null || adapters.length > 0;

function take(plan, page, values, words, name) {
  const said = values.filter(([, value]) => value !== null);
  if (said.length === 0) return;
  if (!said.every(([field, value]) => page.takes(field, String(value)))) {
    plan.lacking.push(`${name}, which can’t be set here`);
    return;
  }
  for (const [field, value] of said) plan.settings[field] = value;
  if (words) plan.restored.push(words);
}

/** @returns {{id: ?string, schedule: ?string, lacking: string[]}} */
function schedulerOf({ scheduler, schedule, sampler }, { schedulers, schedules, scheduler: current }) {
  const ids = schedulers.map(({ id }) => id);
  const stays = schedulers.find(({ id }) => id === current)?.label ?? current;
  if (scheduler && ids.includes(scheduler)) return { id: scheduler, schedule, lacking: [] };
  if (!sampler) return { id: null, schedule: null, lacking: scheduler ? [`scheduler ${scheduler} (${stays} stays)`] : [] };
  const { id, schedule: levels, lacking } = nearest(sampler, { schedulers, schedules });
  return { id, schedule: levels, lacking: lacking ? [id ? lacking : `${lacking} (${stays} stays)`] : [] };
}

/** Hashes tell what a file is, whatever it is called; then the name. */
function matched(wishes, there) {
  const isSame = (hash, other) => Boolean(hash && other) && (hash.startsWith(other) || other.startsWith(hash));
  return wishes.flatMap((wish) => {
    const name = tagName(wish.name);
    const card = there.find(({ hash }) => isSame(wish.hash, hash))
      ?? there.find((one) => tagName(one.name) === name)
      ?? there.find((one) => tagName(one.name).toLowerCase() === name.toLowerCase());
    return card ? [{ wish, card, isOther: Boolean(wish.hash && card.hash) && !isSame(wish.hash, card.hash) }] : [];
  });
}

/** The picture that it started from is in no file: it is here, or somebody has to put it in again. */
function takeStart(plan, { steps, start }, page) {
  if (steps === null) return;
  plan.start = start;
  if (!start) {
    if (page.starts) plan.restored.push("from noise alone");
    return;
  }
  const isHere = start.picture !== "" && page.hasStart(start);
  const what = start.inpaint ? "start picture, its mask" : "start picture";
  plan.restored.push(isHere ? `${what}, strength ${start.strength}` : `strength ${start.strength}`);
  if (isHere) return;
  const stays = page.starts ? "the one that is here stays" : "put it in again";
  plan.lacking.push(`the picture that it started from${start.inpaint ? " and its mask" : ""}, which no text holds: ${stays}`);
}

function takeHires(plan, { steps, width, height, hires }, page) {
  if (steps === null) return;
  plan.settings.hires = null;
  if (!hires) return;
  const size = sizeAfter({ width, height }, hires);
  const fields = ["scale", "strength", "steps"].map((key) => [`hires-${key}`, String(hires[key])]);
  const fits = Math.max(size.width, size.height) <= MOST_SIDE && fields.every(([field, value]) => page.takes(field, value));
  if (!fits) return void plan.lacking.push(`upscale ${hires.scale}× at strength ${hires.strength}, which can’t be set here`);
  plan.settings.hires = hires;
  plan.restored.push(`upscale ${hires.scale}×`);
}

/** @param {boolean} draws   its choices ask again for those that they asked for */
function takeAdapters(plan, found, adapters, draws) {
  if (!saysMuch(found)) return;
  const clamp = (strength) => Math.min(STRONGEST, Math.max(-STRONGEST, strength));
  /** @type {Map<string, import("../spread.js").Powers>} */
  const sums = new Map();
  for (const { wish, card } of adapters) {
    const before = sums.get(card.handle);
    const spread = spreadOf(before?.spread, wish.spread);
    sums.set(card.handle, { ...added(before ?? { unet: 0, textEncoder: 0 }, wish), ...spread && { spread } });
  }
  const isDrawn = (handle) => draws && adapters.some(({ card, wish }) => card.handle === handle && wish.drawn);
  const set = [...sums].filter(([handle]) => !isDrawn(handle));
  plan.strengths = set.map(([handle, powers]) => ({ handle, ...powers, unet: clamp(powers.unet), textEncoder: clamp(powers.textEncoder) }));
  for (const { wish, card, isOther } of adapters) {
    const { unet: ofUnet, textEncoder: ofText } = wish;
    const numbers = ofUnet === ofText || !ofUnet || !ofText ? ofUnet || ofText : `${ofUnet} / ${ofText}`;
    plan.restored.push(wish.words ? card.name : `${card.name} ${numbers}${wish.spread ? ` (${spreadText(wish.spread)})` : ""}`);
    if (isOther) plan.lacking.push(`${wish.words ? "embedding" : "adapter"} ${wish.name} with the hash ${wish.hash} (the one here has ${card.hash})`);
    const { unet, textEncoder } = /** @type {import("../spread.js").Powers} */ (sums.get(card.handle));
    if (clamp(unet) !== unet || clamp(textEncoder) !== textEncoder) plan.lacking.push(`strength ${unet} of ${card.name} (the most is ${STRONGEST})`);
  }
  for (const wish of missingOf(found, adapters)) plan.lacking.push(`${wish.words ? "embedding" : "adapter"} ${wish.name}${wish.hash ? ` (${wish.hash})` : ""}`);
}

/**
 * What the later one says counts.
 * @param {import("../spread.js").Spread} [before] @param {import("../spread.js").Spread} [later]
 */
function spreadOf(before, later) {
  if (!before || !later) return later ?? before;
  const { blocks, curve } = later;
  return { blocks: Object.keys(blocks).length > 0 ? blocks : before.blocks, curve: curve.length > 0 ? curve : before.curve };
}

const missingOf = (found, adapters) => found.adapters.filter((wish) => !adapters.some((one) => one.wish === wish));

/** Adapters that a picture names and the page doesn't have. @param {import("./found.js").Found} found @param {Page["adapters"]} there */
export function missing(found, there) {
  return missingOf(found, matched(found.adapters, there));
}

function takeModel(plan, { model, options }, loaded) {
  if (!model || !loaded) return;
  const isSame = model.hash && loaded.hash ? model.hash === loaded.hash : model.name.toLowerCase() === loaded.title.toLowerCase();
  const name = [model.name, model.hash && `(${model.hash})`].filter(Boolean).join(" ");
  if (!isSame) plan.lacking.push(`model ${name}; ${loaded.title} is loaded`);
  else if (options && JSON.stringify(options) !== JSON.stringify(loaded.options)) plan.lacking.push(`the model’s options ${wordsOf(options)} (now: ${wordsOf(loaded.options)})`);
}

function wordsOf(options) {
  return Object.entries(options).map(([name, value]) => `${name} ${value}`).join(", ") || "none";
}

function shortened(lines) {
  const told = lines.map((line) => (line.length > 80 ? `${line.slice(0, 77)}…` : line));
  return told.length > MOST_TOLD ? [...told.slice(0, MOST_TOLD), `${told.length - MOST_TOLD} more`] : told;
}
