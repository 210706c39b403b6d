// In the place of the page's module (src/web, as wasm-bindgen writes it): an engine that computes nothing and answers at
// once, always the same, unless the test's script has something else to say (play.js). Its words are those of the real
// one; pictures are a gradient that follows from what was asked for.

import { say as told } from "./play.js";

export const gpuPart = undefined;
export default async () => ({});
export const threadMaterial = () => null;
export const threadsReady = () => {};

const DEMO = "model_index.json";
const SIZES = { f32: 105e6, f16: 52e6, q8: 31e6 };
const OFFER = { total: 2 ** 32, free: 4e9, buffer: null, limited: false };

/** Of the backend that is open. @type {any} */
let device = null;

/** What the script says, done. */
function say(point, details) {
  const { error, panic, lost, ...more } = told(point, details);
  if (panic) {
    self.lorakeetPanic = panic;
    throw new WebAssembly.RuntimeError("unreachable");
  }
  if (lost) {
    device.lose(lost);
    throw failure({ message: "the GPU failed: the device was lost. Try a smaller picture", kind: "device" });
  }
  if (error) throw failure(error);
  return more;
}

function failure({ message, kind, short = false }) {
  return Object.assign(short ? new RangeError(message) : new Error(message), { kind });
}

/** What a LoRA on the attention of SD 1 acts in. */
const BLOCKS = [...[1, 2, 4, 5, 7, 8].map((number) => `IN0${number}`), "M00", ...[3, 4, 5, 6, 7, 8, 9, 10, 11].map((number) => `OUT${String(number).padStart(2, "0")}`)];

const pathsOf = (files) => files.map(({ path }) => path);

/** Which of the demo's emoji, or whatever file it is: numbers that tell one from the other. */
function hash(text) {
  let sum = 2166136261; // FNV-1a
  for (const letter of text) sum = Math.imul(sum ^ (letter.codePointAt(0) ?? 0), 16777619) >>> 0;
  return sum;
}

/**
 * A soft ball on a plain ground, in colours of its own.
 * @param {{prompt: string, seed: string|number, width: number, height: number}} wanted
 * @param {number} strength
 * @param {number} [rough] in how large dots, in pixels
 */
function picture({ prompt, seed, width, height }, strength, rough = 1) {
  const [w, h] = [Math.ceil(width / rough), Math.ceil(height / rough)];
  const rgba = new Uint8ClampedArray(w * h * 4);
  const colour = hash(`${prompt} ${seed}`);
  for (let y = 0, at = 0; y < h; y += 1) {
    for (let x = 0; x < w; x += 1, at += 4) {
      const far = Math.hypot(x / w - 0.5, y / h - 0.5);
      const light = Math.max(0, 1 - 2.6 * far);
      for (let channel = 0; channel < 3; channel += 1) {
        const own = (colour >> (8 * channel)) & 255;
        rgba[at + channel] = 225 - (225 - own) * light * (1 - 0.4 * strength) - 90 * strength * light;
      }
      rgba[at + 3] = 255;
    }
  }
  return { width: w, height: h, rgba };
}

/** What came with it, in a few numbers: sizes, the first pixel, how much of the mask is white. */
function whatCame({ picture: { width, height, rgba }, mask }) {
  const painted = mask && mask.rgba.filter((value, i) => i % 4 === 0 && value > 127).length;
  const first = [...rgba.subarray(0, 4)];
  return { width, height, bytes: rgba.length, first, mask: mask && { width: mask.width, height: mask.height, painted } };
}

/** @typedef {{settings: any, at: number, strength: number, pictures?: import("../../../web/protocol.js").StartPixels}} Drawing */

export class Engine {
  #files = [];
  #adapters = new Map();
  #spreads = new Map();
  #lastId = -1;
  /** @type {?Drawing} */
  #drawing = null;
  /** @type {any} */
  #run = null;
  #measured = { at: 0, leftOut: 0 };

  static async open(backend) {
    if (backend === "webgpu") device = await (await navigator.gpu.requestAdapter())?.requestDevice();
    say("open", { backend });
    return new Engine();
  }

  kernels() { return { kind: "simd", refused: [], milliseconds: 12 }; }

  memory() {
    const { sizes = SIZES, ...more } = say("memory");
    const model = this.#files.length > 0 ? { weights: /** @type {const} */ ("f32"), bytes: sizes.f32, sizes } : null;
    return { model, held: 131e6, heap: 270e6, peak: 250e6, offer: OFFER, ...more };
  }

  // ---- model and adapters ------------------------------------------------------------------------

  judgeModel(files, options) {
    const words = "Weights take 105 MB in full (f32) (52 MB in halves (f16), 31 MB in 8 bits); there is room for 4.03 GB";
    return { bytes: SIZES, weights: /** @type {const} */ ("f32"), words, offer: OFFER, anew: false, ...say("judgeModel", { files: pathsOf(files), options }) };
  }

  loadModel(files, options, progress) {
    const paths = pathsOf(files);
    for (const [done, what] of [[20e6, "text_encoder/model.safetensors"], [80e6, "unet/model.safetensors"], [105e6, "vae/model.safetensors"]]) {
      progress(done, 105e6, paths.includes(DEMO) ? what : paths[0]);
      say("loading", { files: paths, done });
    }
    const report = say("loadModel", { files: paths, options });
    this.#files = paths;
    this.#adapters.clear();
    this.#spreads.clear();
    this.#run = null;
    const demo = paths.includes(DEMO);
    return {
      name: paths[0], unused: [], notes: [], scheduler: "ddim", predictionType: "epsilon",
      schedulers: [
        { id: "ddim", label: "DDIM", group: "For most pictures", about: "plain and predictable", takesSchedule: false },
        { id: "euler", label: "Euler", group: "For most pictures", about: "the simplest", takesSchedule: true },
        { id: "dpmpp_2m", label: "DPM++ 2M", group: "For most pictures", about: "the usual advice", takesSchedule: true },
        { id: "tcd", label: "TCD", group: "For models of few steps", about: "for TCD LoRAs", takesSchedule: false },
      ],
      schedules: [{ id: "karras", label: "Karras", about: "more steps at low noise" }, { id: "uniform", label: "Uniform", about: "even timesteps" }],
      components: ["text_encoder", "unet", "vae"].map((name, i) => ({ name, tensors: [52, 410, 138][i], parameters: [5e6, 20e6, 1.2e6][i], bytes: [10e6, 40e6, 2.4e6][i] })),
      native: demo ? { width: 128, height: 128 } : { width: 512, height: 512 },
      family: {
        label: "Stable Diffusion 1", base: /** @type {const} */ ("sd1"), task: /** @type {const} */ ("text_to_image"), prediction: /** @type {const} */ ("epsilon"),
        size: demo ? 128 : 512, zeroTerminalSnr: false, fewSteps: null, compact: demo, defaults: null, evidence: ["its text embeddings have 768 numbers"], notes: [],
      },
      ...report,
    };
  }

  addAdapter(name, blob, config) {
    const { report, blocks = BLOCKS } = say("addAdapter", { name, size: blob.size, config });
    const id = ++this.#lastId;
    this.#adapters.set(id, 1);
    return {
      id, blocks,
      report: {
        kind: "LoRA", naming: "kohya", summary: "192 of 192 modules: UNet 192, text encoder 0; rank 8, alpha 8", modules_used: 192, modules_in_file: 192,
        unet_modules: 192, text_encoder_modules: 0, base_model: null, trigger_words: [],
        embeddings: [], unused: [], notes: [], advice: null, ...report,
      },
    };
  }

  setAdapter(id, enabled, unet, textEncoder) {
    if (!this.#adapters.has(id)) throw new Error(`adapter ${id}: there is none of this number. Add it first`);
    this.#adapters.set(id, enabled ? unet + textEncoder : 0);
  }

  spreadAdapter(id, spread) {
    if (!this.#adapters.has(id)) throw new Error(`adapter ${id}: there is none of this number. Add it first`);
    say("spread", { id, spread });
    this.#spreads.set(id, spread);
  }

  /** What a picture is drawn with: the strengths of all, each by the mean of its blocks' factors. */
  get #strength() {
    return [...this.#adapters].reduce((sum, [id, one]) => {
      const factors = Object.values(this.#spreads.get(id)?.blocks ?? {});
      return sum + one * (factors.length > 0 ? factors.reduce((all, factor) => all + factor, 0) / factors.length : 1);
    }, 0);
  }

  removeAdapter(id) {
    if (!this.#adapters.delete(id)) throw new Error(`adapter ${id}: there is none of this number`);
  }

  // ---- pictures ----------------------------------------------------------------------------------

  /** Four letters a token, or so. */
  countTokens(prompt) {
    const tokens = Math.ceil(prompt.length / 4);
    return { tokens, room: Math.max(75, 75 * Math.ceil(tokens / 75)), most: 600, ...say("countTokens", { prompt }) };
  }

  /** @param {any} settings @param {import("../../../web/protocol.js").StartPixels} [pictures] */
  start(settings, pictures) {
    const strength = this.#strength;
    say("start", { settings, strength, pictures: pictures && whatCame(pictures) });
    this.#drawing = { settings, at: 0, strength, pictures };
  }

  stop() { this.#drawing = null; }

  async pull() {
    const drawing = /** @type {Drawing} */ (this.#drawing);
    const { settings, strength, pictures } = drawing;
    const { steps, prompt } = settings;
    drawing.at += 1;
    const more = say("pull", { step: drawing.at, prompt });
    if (pictures && drawing.at === 1) return { kind: /** @type {const} */ ("progress"), phase: "encode", step: 0, steps, fraction: 0.01 };
    if (drawing.at <= steps) {
      const fraction = drawing.at / (steps + 1);
      return { kind: /** @type {const} */ ("progress"), phase: "denoise", step: drawing.at, steps, fraction, preview: picture(settings, strength, 8) };
    }
    this.#drawing = null;
    // where the masked part alone was painted, the picture keeps its size
    const size = settings.start?.inpaint?.area === "masked" && pictures ? pictures.picture : settings;
    const side = (pixels) => 8 * Math.trunc(pixels * settings.hires.scale / 8);
    const { width, height } = settings.hires ? { width: side(size.width), height: side(size.height) } : size;
    return { kind: /** @type {const} */ ("done"), ...picture({ ...settings, width, height }, strength), seconds: 1.2, truncated: [], notes: [], ...more };
  }

  // ---- training ----------------------------------------------------------------------------------

  trainPreset(name) {
    const request = new XMLHttpRequest();
    request.open("GET", new URL("./settings.json", import.meta.url), false);
    request.send();
    const settings = JSON.parse(request.responseText);
    return { ...settings, steps: { quick: 50, normal: settings.steps, careful: 300 }[name], ...say("trainPreset", { name }) };
  }

  trainInspect(pictures) {
    const { warnings = {} } = say("trainInspect");
    return pictures.map(({ name }) => ({ name, warnings: warnings[name] ?? [] }));
  }

  trainEstimate(config, counts) {
    return {
      modules: 128, parameters: 797_184, bytes: 310e6, checkpointed: false, measuring: { draws: 16, of: 16, samples: 640, first: 128 },
      learningRate: null, notes: [], ...say("trainEstimate", { config, counts }),
    };
  }

  trainBegin(config, pictures) {
    this.#run = { config, pictures: pictures.map(({ name }) => name), prepared: 0, step: 0 };
  }

  async trainPrepare() {
    const run = this.#run;
    const what = run.pictures[run.prepared];
    say("prepare", { done: run.prepared, what });
    if (what === undefined) return { kind: /** @type {const} */ ("ready"), summary: { ...this.trainEstimate(run.config, {}), learningRate: 1.3e-3 } };
    run.prepared += 1;
    return { kind: /** @type {const} */ ("progress"), done: run.prepared, total: run.pictures.length, what };
  }

  async trainMeasure() { return { secondsPerStep: 0.4, bytes: 310e6, peakBytes: 280e6 }; }

  trainDataset() { return new Uint8Array(1000); }

  async trainResume(config, dataset, state) {
    say("trainResume");
    this.#run = { config, pictures: [], prepared: 0, step: stepOf(state) };
    return this.trainEstimate(config, {});
  }

  async trainPull() {
    const run = this.#run;
    const { config } = run;
    run.step += 1;
    const { step } = run;
    const more = say("step", { step });
    const every = (often) => often > 0 && step % often === 0;
    return {
      step, steps: config.steps, loss: 0.09 + 0.12 / step + 0.02 * Math.sin(step), learningRate: 1.3e-3, gradientNorm: 0.7,
      skippedNow: false, skipped: 0, seconds: 0.4, peakBytes: 300e6, finished: step >= config.steps, stopped: null, thumbnail: picture({ prompt: `sample ${step % 8}`, seed: step, width: 32, height: 32 }, 0),
      due: { snapshot: every(config.snapshotEvery), preview: config.previews === "few" && every(config.previewEvery) }, ...more,
    };
  }

  trainDue() {
    const { evaluateEvery } = this.#run.config;
    const due = evaluateEvery > 0 && this.#run.step % evaluateEvery === 0;
    return { evaluation: due, unmeasured: null, ...say("due", { step: this.#run.step }) };
  }

  trainEvaluate() { this.#measured.at = 0; }

  async trainEvaluationPull() {
    const { step } = this.#run;
    this.#measured.at += 1;
    const more = say("evaluation", { step, part: this.#measured.at });
    if (this.#measured.at < 3) return { kind: /** @type {const} */ ("progress"), fraction: this.#measured.at / 3 };
    const ratio = 0.4 + 0.5 / (1 + step / 20);
    return {
      kind: /** @type {const} */ ("evaluation"), step, draws: 16, of: 16, train: { loss: 0.12 * ratio, ratio }, heldOut: null,
      bands: [0.9, 0.7, 0.6, 0.5, 0.45].map((share, i) => ({ from: 200 * i, to: 200 * i + 199, ratio: share * ratio })),
      drift: 0.21, copying: null, diversity: 0.93, verdict: /** @type {const} */ ("learning"),
      heat: ["down_blocks.0.attentions.0", "mid_block.attentions.0", "up_blocks.1.attentions.0"].flatMap((block) =>
        ["to_q", "to_k", "to_v", "to_out.0"].map((layer, i) => ({ path: `${block}.transformer_blocks.0.attn1.${layer}`, ratio: 0.01 * (i + 1) * ratio }))),
      words: "Still learning. No picture is held out, so memorising can't be told from it.", best: true, ...more,
    };
  }

  trainLeaveOneOut() {}

  async trainLeaveOneOutPull() {
    const pictures = Math.max(3, this.#run.pictures.length);
    this.#measured.leftOut += 1;
    const done = this.#measured.leftOut - 1;
    const more = say("leaveOneOut", { done });
    if (done < pictures) return { kind: /** @type {const} */ ("progress"), picture: `picture ${done + 1}.png`, done, pictures, fraction: done / pictures };
    return {
      kind: /** @type {const} */ ("leaveOneOut"), pictures: [0.81, 0.93, 1.04].map((ratio, i) => ({ name: `picture ${i + 1}.png`, loss: 0.1 * ratio, ratio })), mean: { loss: 0.09, ratio: 0.93 },
      words: "Pictures left out come to 93 % of the base model's loss (from 81 % to 104 %): what it learns helps with pictures that it never saw.", ...more,
    };
  }

  trainDrew() {}

  trainState() {
    const bytes = new Uint8Array(4000);
    new DataView(bytes.buffer).setUint32(0, this.#run.step);
    return bytes;
  }

  trainRestore(state) {
    this.#run.step = stepOf(state);
    return this.#run.step;
  }

  trainPicture(state, strength, settings) {
    this.start(settings);
    this.#drawing = { settings, at: 0, strength: strength * (state ? stepOf(state) : this.#run.step) / this.#run.config.steps };
  }

  trainExport({ format, title }) {
    say("trainExport", { format, title });
    const names = format === "peft" ? ["adapter_model.safetensors", "adapter_config.json"] : [`${title}.safetensors`];
    return { files: names.map((name) => ({ name, bytes: new Uint8Array(500) })) };
  }

  trainEnd() { this.#run = null; }
}

function stepOf(state) {
  return state ? new DataView(state.buffer, state.byteOffset).getUint32(0) : 0;
}

/** What the page relies on: the compiler holds this to it. @type {typeof import("../../../lorakeet.js").Engine} */
export const _asReal = Engine;
