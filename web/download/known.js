// Models that are free to use and that Lorakeet runs. Nothing of them is fetched before somebody chooses one. Sizes are as
// their pages tell; null: the host tells, once it is asked.

/**
 * @typedef {object} Known
 * @property {string} title
 * @property {string} about
 * @property {string} licence
 * @property {?number} size      bytes, rounded
 * @property {string} address    as it would be pasted; its page is where this was read
 */

/** @type {Known[]} */
export const KNOWN = [
  {
    title: "Stable Diffusion 1.5", about: "what most adapters are made for; 512 px, in halves", licence: "CreativeML Open RAIL-M", size: 2.13e9,
    address: "https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/blob/main/v1-5-pruned-emaonly-fp16.safetensors",
  },
  {
    title: "BK-SDM-Tiny", about: "Stable Diffusion 1.4 cut down to less than half; for small GPUs", licence: "CreativeML Open RAIL-M", size: null,
    address: "https://huggingface.co/nota-ai/bk-sdm-tiny",
  },
  {
    title: "SD-Turbo", about: "one to four steps a picture, guidance 1; 512 px", licence: "Stability AI's own, see its page", size: 2.58e9,
    address: "https://huggingface.co/stabilityai/sd-turbo",
  },
  {
    title: "Stable Diffusion 2.1", about: "768 px, predicts v; in halves", licence: "CreativeML Open RAIL++-M", size: 2.61e9,
    address: "https://huggingface.co/webui/stable-diffusion-2-1/blob/main/v2-1_768-ema-pruned-fp16.safetensors",
  },
  {
    title: "LCM-LoRA for Stable Diffusion 1.5", about: "an adapter: four to eight steps a picture", licence: "Open RAIL++", size: 1.35e8,
    address: "https://huggingface.co/latent-consistency/lcm-lora-sdv1-5/blob/main/pytorch_lora_weights.safetensors",
  },
];
