// Which part of a model a .safetensors file is, by the names in its header. No tensor is read here, and
// whatever is odd is left to the engine's own messages.

/** Largest header that is looked into here; a larger one is the engine's to judge. */
const MAX_HEADER = 20 * 1024 * 1024;

/** A key that whole checkpoints have and nothing else, so that a LoRA's forgotten tensors don't count. */
const WHOLE = "model.diffusion_model.input_blocks.0.0.weight";

/** In the order in which they are tried. @type {[ModelPart | "adapter", RegExp][]} */
const KINDS = [
  ["adapter", /(^|[._])(lora|hada|lokr|oft|boft|ia3|glora|dora)_|\.lora\.(up|down)|\.alpha$|\.diff(_b)?$|\.on_input$|\.lora_[AB]\b/],
  ["checkpoint", /^model\.diffusion_model\.|^model_ema\.diffusion_model/],
  ["unet", /^(diffusion_model\.)?input_blocks\.0\.0\.|^down_blocks\.0\.resnets\.0\.time_emb_proj\./],
  ["text encoder", /(^|\.)embeddings\.token_embedding\.|^(.*\.)?transformer\.resblocks\.0\./],
  ["vae", /^(first_stage_model\.|vae\.)?(encoder|decoder)\.(conv_in|layers)\./],
  // TAESD's halves in files of their own: layers by number
  ["vae", /^[01]\.weight$/],
];

/**
 * @typedef {"checkpoint" | "unet" | "text encoder" | "vae"} ModelPart
 * @param {Blob} file
 * @returns {Promise<ModelPart | "adapter">} an adapter if it is nothing else
 */
export async function partOf(file) {
  try {
    const length = Number(new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true));
    if (length > MAX_HEADER || length > file.size - 8) return "adapter";
    const keys = Object.keys(JSON.parse(await file.slice(8, 8 + length).text()));
    if (keys.includes(WHOLE)) return "checkpoint";
    return KINDS.find(([, pattern]) => keys.some((key) => pattern.test(key)))?.[0] ?? "adapter";
  } catch {
    return "adapter";
  }
}
