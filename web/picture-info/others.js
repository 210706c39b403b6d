// Programs with a form of their own: InvokeAI, NovelAI, SwarmUI.

import { found, numberOr, parseJson, seedOr, stem } from "./found.js";
import { fromA1111, fromInvoke } from "./names.js";

const words = (value) => (typeof value === "string" ? value : null);

/** InvokeAI 3 and newer: `invokeai_metadata`. @param {string} text @returns {?import("./found.js").Found} */
export function readInvoke(text) {
  const meta = parseJson(text);
  if (!meta) return null;
  const skip = numberOr(meta.clip_skip);
  const loras = Array.isArray(meta.loras) ? meta.loras : [];
  return found("InvokeAI", {
    prompt: words(meta.positive_prompt),
    negativePrompt: words(meta.negative_prompt),
    seed: seedOr(meta.seed),
    steps: numberOr(meta.steps),
    guidance: numberOr(meta.cfg_scale),
    clipSkip: skip === null ? null : skip + 1,
    sampler: meta.scheduler ? fromInvoke(String(meta.scheduler)) : null,
    spacing: "",
    width: numberOr(meta.width),
    height: numberOr(meta.height),
    adapters: loras.map((one) => {
      const weight = numberOr(one.weight) ?? 1;
      return { name: stem((one.model ?? one.lora)?.name ?? "?"), hash: null, unet: weight, textEncoder: weight };
    }),
    model: meta.model?.name ? { name: stem(meta.model.name), hash: null } : null,
    rest: [
      meta.vae?.name && `VAE: ${meta.vae.name}`,
      meta.cfg_rescale_multiplier && `guidance rescale: ${meta.cfg_rescale_multiplier}`,
      meta.generation_mode && meta.generation_mode !== "txt2img" && `mode: ${meta.generation_mode}`,
    ].filter(Boolean),
    notes: meta.rand_device && meta.rand_device !== "cpu" ? ["its noise was drawn on a GPU, and here it is another one"] : [],
  });
}

const NOVELAI = { k_euler: "Euler", k_euler_ancestral: "Euler a", k_lms: "LMS", ddim: "DDIM", plms: "PLMS", k_dpmpp_2m: "DPM++ 2M", k_dpmpp_2s_ancestral: "DPM++ 2S a", k_dpmpp_sde: "DPM++ SDE", k_dpm_2: "DPM2", k_dpm_2_ancestral: "DPM2 a" };

/** `{x}` is 1.05 there, where A1111 has round brackets. A1111 leaves them, and so they are text. @param {Map<string, string>} texts */
export function readNovelAi(texts, { width, height }) {
  const comment = parseJson(texts.get("Comment") ?? "");
  if (!comment) return null;
  const sampler = String(comment.sampler ?? "");
  return found("NovelAI", {
    prompt: texts.get("Description") ?? words(comment.prompt),
    negativePrompt: words(comment.uc) ?? "",
    seed: seedOr(comment.seed),
    steps: numberOr(comment.steps),
    guidance: numberOr(comment.scale),
    clipSkip: 2,
    sampler: sampler ? fromA1111(NOVELAI[sampler] ?? sampler) : null,
    spacing: "",
    width, height,
    rest: ["ENSD: 31337"],
    notes: ["its noise was drawn on a GPU, and here it is another one"],
  });
}

/** SwarmUI writes JSON under A1111's keyword. @param {string} text */
export function readSwarm(text) {
  const { sui_image_params: said } = parseJson(text) ?? {};
  if (!said) return null;
  return found("SwarmUI", {
    prompt: words(said.prompt),
    negativePrompt: words(said.negativeprompt) ?? "",
    seed: seedOr(said.seed),
    steps: numberOr(said.steps),
    guidance: numberOr(said.cfgscale),
    width: numberOr(said.width),
    height: numberOr(said.height),
    model: said.model ? { name: stem(said.model), hash: null } : null,
  });
}
