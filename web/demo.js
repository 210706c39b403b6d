// What ships beside the page: the demo model, its adapters, and prompts it knows.

import { GUIDANCE, PLAIN, usualSettings } from "./usual-settings.js";

const here = (path) => new URL(path, import.meta.url).href;

/** Its pictures burn out at what others want. */
const DEMO_GUIDANCE = 4;

/** Key of the demo model in picture fingerprints. */
export const DEMO_KEY = "demo";

/** Paths as in a diffusers folder, with the address of each file. */
export const DEMO_MODEL = [
  "model_index.json",
  "scheduler/scheduler_config.json",
  "text_encoder/config.json",
  "text_encoder/model.fp16.safetensors",
  "tokenizer/merges.txt",
  "tokenizer/special_tokens_map.json",
  "tokenizer/tokenizer_config.json",
  "tokenizer/vocab.json",
  "unet/config.json",
  "unet/diffusion_pytorch_model.fp16.safetensors",
  "vae/config.json",
  "vae/diffusion_pytorch_model.fp16.safetensors",
].map((path) => ({ path, url: here(`demo-model/model/${path}`) }));

export const DEMO_ADAPTERS = [
  { name: "ink", about: "black ink on white", url: here("demo-model/lora/ink.kohya.safetensors") },
  { name: "soft", about: "soft shading", url: here("demo-model/lora/soft.kohya.safetensors") },
];

/** Pictures to train on that the demo model can learn from, each with its caption in a text file. */
export const DEMO_PICTURES = ["cat-face", "fire-engine", "grinning-face", "guitar", "house", "red-apple", "rocket", "sunflower"].map((name) => ({
  name: `${name}.png`,
  url: here(`demo-model/training-set/${name}.png`),
  captionUrl: here(`demo-model/training-set/${name}.txt`),
}));

/** CLIP's own BPE merges, for single-file checkpoints, which bring no tokenizer. */
export const CLIP_MERGES = { path: "clip-vocabulary/merges.txt", url: here("clip-vocabulary/merges.txt") };

export const DEMO_PROMPTS = [
  "smiling face with sunglasses", "fox", "panda", "blue cat face", "purple apple", "robot", "rocket",
  "pizza", "green house", "sunflower", "snowman", "guitar", "red heart", "octopus",
];

/**
 * How previews of a training run are drawn: in few steps, at the size that is trained at.
 * @param {import("./protocol.js").ModelReport} report
 */
export function previewSettings(report, isDemo, { prompt, seed, resolution }) {
  const { scheduler, schedulers, native } = report;
  return {
    ...PLAIN,
    prompt,
    steps: 12,
    guidance: isDemo ? DEMO_GUIDANCE : GUIDANCE,
    seed,
    scheduler: schedulers.some(({ id }) => id === "dpmpp_2m") ? "dpmpp_2m" : scheduler,
    eta: null,
    width: resolution ?? native.width,
    height: resolution ?? native.height,
  };
}

/**
 * The settings a model starts with.
 * @param {import("./protocol.js").ModelReport} report
 * @param {boolean} isDemo
 */
export function defaultSettings(report, isDemo) {
  const usual = usualSettings(report);
  return isDemo ? { ...usual, prompt: DEMO_PROMPTS[0], guidance: report.family.defaults?.guidance ?? DEMO_GUIDANCE } : usual;
}
