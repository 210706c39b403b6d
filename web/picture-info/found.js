// What a picture says about how it was made, whichever program wrote it, in one form.

/**
 * What isn't said is null, and stays as it is on the page.
 * @typedef {object} Found
 * @property {string} program             that wrote it
 * @property {?string} prompt
 * @property {?string} negativePrompt
 * @property {?Template} template         what both were drawn from
 * @property {?string} seed
 * @property {?"cpu"|"nv"} rng
 * @property {?string} variationSeed
 * @property {?number} variationStrength
 * @property {?number} steps
 * @property {?number} guidance
 * @property {?number} clipSkip
 * @property {?string} emphasis
 * @property {?import("./names.js").Sampler} sampler
 * @property {?string} scheduler          ours, by name
 * @property {?string} schedule           ours, by name; empty: the model's own levels
 * @property {?string} spacing
 * @property {?number} eta
 * @property {?number} width
 * @property {?number} height
 * @property {?import("../protocol.js").Start} start   picture and mask are empty where it doesn't say which
 * @property {?import("../protocol.js").Hires} hires
 * @property {Named[]} adapters
 * @property {?{name: string, hash: ?string}} model
 * @property {?Record<string, any>} options   how the model was loaded otherwise than by itself
 * @property {string[]} rest              what else it says that has no place here, as "key: value"
 * @property {string[]} notes             why the picture may come out otherwise
 *
 * @typedef {object} Named
 * @property {string} name
 * @property {?string} hash
 * @property {number} unet
 * @property {number} textEncoder
 * @property {import("../spread.js").Spread} [spread]   over blocks and steps
 * @property {string} [tag]      as it stands in the prompt
 * @property {boolean} [words]   an embedding, whose word stands in a prompt
 * @property {boolean} [drawn]   a choice of the template asked for it
 *
 * @typedef {{prompt: string, negativePrompt: string}} Template   with choices
 */

/** @param {string} program @param {Partial<Found>} said @returns {Found} */
export function found(program, said) {
  return {
    program,
    prompt: null, negativePrompt: null, template: null, seed: null, rng: null, variationSeed: null, variationStrength: null,
    steps: null, guidance: null, clipSkip: null, emphasis: null, sampler: null,
    scheduler: null, schedule: null, spacing: null, eta: null, width: null, height: null, start: null, hires: null,
    adapters: [], model: null, options: null, rest: [], notes: [],
    ...said,
  };
}

/** @param {unknown} value @returns {?number} null: it is no number */
export function numberOr(value) {
  const number = typeof value === "string" ? Number(value.trim() || NaN) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : null;
}

/** @param {unknown} value of a seed @returns {?string} */
export function seedOr(value) {
  const text = String(value ?? "").trim();
  return /^\d+$/.test(text) ? text : null;
}

/** The file's name without folders and ending. @param {unknown} path */
export function stem(path) {
  return String(path).split(/[\\/]/).at(-1)?.replace(/\.(safetensors|ckpt|pt|pth|bin)$/i, "") ?? "";
}

/**
 * JSON as Python writes it: with NaN, which is none, and with seeds that need more digits than a number has, which
 * become texts.
 * @param {string} text @returns {?any} null: it is no object
 */
export function parseJson(text) {
  const plain = text.replace(/("(?:\\.|[^"\\])*")|-?\b(?:NaN|Infinity)\b|(?<![\d.eE+-])(\d{16,})(?![\d.eE])/g, (all, string, long) => string ?? (long ? `"${long}"` : "null"));
  try {
    const value = JSON.parse(plain);
    return value && typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}
