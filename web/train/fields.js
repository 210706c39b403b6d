// Every setting of a run, as the form shows it. Names and meaning are those of src/training/config.rs.

import { RANDOM } from "../seed.js";

/**
 * @typedef {object} Field
 * @property {string} path          into the configuration
 * @property {string} label
 * @property {"number"|"text"|"select"|"check"|"checks"|"variant"} type
 * @property {Record<string, string>} [options]      value to words
 * @property {Record<string, object>} [variants]     of "variant": what each begins with
 * @property {number} [min]
 * @property {number} [max]
 * @property {number|"any"} [step]
 * @property {number} [scale]       of the configuration's unit, in units of the form's
 * @property {string} [empty]       what an empty field means: then it may be empty
 * @property {boolean} [random]     -1 asks for a random number
 * @property {string} [hint]
 * @property {boolean} [wide]
 * @property {(config: object) => boolean} [when]
 */

/** @type {{type: "number", min: number, max: number, step: "any"}} */
const fraction = { type: "number", min: 0, max: 1, step: "any" };
/** @type {{type: "number", min: number, step: "any"}} */
const amount = { type: "number", min: 0, step: "any" };

/** @type {Field[]} */
export const BASIC = [
  { path: "strength", label: "How far it goes", type: "select", options: { gentle: "gentle", normal: "normal", strong: "strong" }, when: (c) => c.learningRate === null,
    hint: "sets the learning rate, whatever rank, alpha and steps are" },
  { path: "steps", label: "Steps", type: "number", min: 1, max: 100_000, step: 1, hint: "50 steps give style and colour, 200 to 500 give identity" },
  { path: "kind", label: "Kind", type: "select", options: { lora: "LoRA", dora: "DoRA", loha: "LoHa", lokr: "LoKr" }, hint: "LoRA loads everywhere" },
  { path: "targets", label: "Layers", type: "select", options: { attention: "attention", crossAttention: "cross attention only", linear: "all linear", convolution: "linear and convolutions" },
    hint: "all linear learns best; fewer is quicker" },
  { path: "rank", label: "Rank", type: "number", min: 1, max: 256, step: 1 },
  { path: "alpha", label: "Alpha", ...amount },
  { path: "blocks", label: "Blocks", type: "checks", options: { down: "down", mid: "middle", up: "up" }, wide: true },
];

/** @type {{title: string, fields: Field[]}[]} */
export const ADVANCED = [
  { title: "Start and pictures", fields: [
    { path: "init", label: "Initialisation", type: "select", options: { gaussian: "gaussian", kaiming: "Kaiming", orthogonal: "orthogonal", pissa: "PiSSA" }, hint: "PiSSA begins with the base's main directions" },
    { path: "rankStabilised", label: "Rank-stabilised", type: "check", hint: "alpha / √rank in place of alpha / rank" },
    { path: "lokrFactor", label: "LoKr factor", type: "number", min: 1, step: 1, empty: "square", when: (c) => c.kind === "lokr" },
    { path: "resolution", label: "Resolution", type: "number", min: 64, max: 2048, step: 64, empty: "model's own", hint: "pixels of a side; less is quicker" },
    { path: "latents", label: "Latents", type: "select", options: { mean: "mean", sample: "drawn each step" } },
    { path: "captionDropout", label: "Captions left out", ...fraction, hint: "share of samples; lets it work without words too" },
    { path: "holdOut", label: "Hold out", type: "number", min: 0, max: 100, step: 1, hint: "pictures not trained on, to see memorising, unless some are marked" },
    { path: "leaveOneOut", label: "Leave each out in turn", type: "check", hint: "after the run, for each picture another run without it: for sets too small to hold any out" },
  ] },
  { title: "Loss and noise", fields: [
    { path: "loss", label: "Loss", type: "select", options: { mse: "squared error", huber: "Huber" } },
    { path: "huberC", label: "Huber c", ...amount, when: (c) => c.loss === "huber" },
    { path: "weighting", label: "Weighting", type: "variant", options: { none: "none", minSnr: "min-SNR", debiased: "debiased" },
      variants: { none: {}, minSnr: { gamma: 5 }, debiased: {} }, hint: "min-SNR counts the nearly clean samples less" },
    { path: "weighting.gamma", label: "Gamma", ...amount, when: (c) => c.weighting.name === "minSnr" },
    { path: "timesteps", label: "Timesteps", type: "select", options: { stratified: "stratified", uniform: "uniform" }, hint: "stratified: evenly spread, less noise" },
    { path: "noiseOffset", label: "Noise offset", ...fraction, hint: "0.05 helps dark and bright pictures" },
  ] },
  { title: "Optimiser", fields: [
    { path: "optimizer", label: "Optimiser", type: "variant", options: { adamW: "AdamW", lion: "Lion", prodigy: "Prodigy" }, variants: { adamW: {}, lion: {}, prodigy: {} },
      hint: "Prodigy finds its own rate, in 100 steps and more" },
    { path: "learningRate", label: "Learning rate", type: "number", min: 0, step: "any", empty: "automatic", hint: "empty: from how far it goes" },
    { path: "optimizer.weightDecay", label: "Weight decay", ...amount, empty: "its default" },
    { path: "loraPlus", label: "LoRA+ ratio", ...amount, hint: "up factors learn this much faster" },
    { path: "schedule", label: "Schedule", type: "select", options: { constant: "constant", linear: "linear to 0", cosine: "cosine to 0", constantThenLinear: "constant, then to 0" } },
    { path: "warmup", label: "Warm-up steps", type: "number", min: 0, step: 1 },
    { path: "batch", label: "Batch", type: "number", min: 1, max: 64, step: 1, hint: "pictures at once: steadier, more memory" },
    { path: "accumulation", label: "Accumulation", type: "number", min: 1, max: 64, step: 1, hint: "batches a step: steadier, slower" },
    { path: "clip", label: "Gradient clip", ...amount, hint: "largest norm; 0: none" },
    { path: "seed", label: "Seed", type: "number", min: Number(RANDOM), max: Number.MAX_SAFE_INTEGER, step: 1, random: true, hint: "-1: a random one" },
  ] },
  { title: "Regularisation", fields: [
    { path: "prior.weight", label: "Prior preservation", ...amount, hint: "keeps what the base knows; 0: off" },
    { path: "prior.every", label: "… every n steps", type: "number", min: 1, step: 1, when: (c) => c.prior.weight > 0 },
    { path: "prior.classPrompt", label: "Class prompt", type: "text", wide: true, when: (c) => c.prior.weight > 0, hint: "what it must not forget, e.g. a face; not needed with class pictures" },
    { path: "dropout", label: "Dropout", ...fraction },
    { path: "rankDropout", label: "Rank dropout", ...fraction },
    { path: "moduleDropout", label: "Module dropout", ...fraction },
    { path: "maxNorm", label: "Largest norm", ...amount, hint: "of a module's change; 0: any" },
    { path: "l2", label: "L2", ...amount },
    { path: "l1", label: "L1", ...amount },
  ] },
  { title: "Memory", fields: [
    { path: "checkpointing", label: "Run blocks twice", type: "select", options: { auto: "when needed", on: "always", off: "never" }, hint: "saves memory, costs a third more time" },
    { path: "memoryBudget", label: "Memory budget, MB", type: "number", min: 16, step: 1, scale: 2 ** 20 },
  ] },
  { title: "Timeline", fields: [
    { path: "snapshotEvery", label: "Snapshot every", type: "number", min: 0, step: 1, hint: "steps between two marks of the timeline" },
    { path: "evaluateEvery", label: "Evaluate every", type: "number", min: 0, step: 1, hint: "steps between two measurements" },
    { path: "previews", label: "Previews", type: "select", options: { off: "off", few: "few", snapshots: "every snapshot" }, hint: "few take at most a fifth of the time" },
    { path: "previewEvery", label: "Preview every", type: "number", min: 0, step: 1, when: (c) => c.previews === "few", hint: "steps between two pictures, where there is time; 0: none" },
  ] },
];

export const PRESETS = { quick: "Quick", normal: "Normal", careful: "Careful" };

/** What a preset leaves as it is. */
export const KEPT = ["trigger", "flip", "seed"];

export function valueAt(config, path) {
  return path.split(".").reduce((at, key) => at?.[key], config);
}

export function setAt(config, path, value) {
  const keys = path.split(".");
  const last = keys.pop();
  const at = keys.reduce((inside, key) => inside[key], config);
  if (value === undefined) delete at[last];
  else at[last] = value;
}
