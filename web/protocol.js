// What engine.js and worker.js say to each other.
//
//   page   -> worker   { id, action, ...parameters }      one of the actions below
//   page   -> worker   { abort: id }                      stop that request at the next block; trainRun and trainLeaveOneOut pause
//                                                         (it is answered all the same)
//   worker -> page     { id, result }                     it is done
//   worker -> page     { id, error, fatal }               it failed; fatal: the worker must be replaced
//   worker -> page     { id, progress }                   any number of these before either
//   worker -> page     { error, fatal: true }             the worker broke outside a request
//
// The worker performs requests one after another, in the order they came; but what only looks (ASIDES) between two
// blocks of whatever it is at, and `fetchFiles`, which needs no engine, at once.

// A training run is one long request: its progress messages carry steps, evaluations, pictures and the
// bytes of snapshots.

/**
 * @typedef {{path: string, blob: Blob, part?: string}} ModelFile   path inside the model's folder; part: what it is that came beside a
 *   model ("vae", "text encoder", "yaml")
 * @typedef {object} ModelOptions         what isn't said is told from the files, or chosen for the device
 * @property {"f32"|"f16"|"q8"} [weights]
 * @property {"epsilon"|"v_prediction"|"sample"} [prediction]
 * @property {number} [size]               pixels
 * @property {boolean} [zeroTerminalSnr]
 *
 * @typedef {{width: number, height: number, rgba: Uint8ClampedArray<ArrayBuffer>}} Pixels
 * @typedef {{signal?: AbortSignal, onProgress?: (progress: any) => void}} Watch   how a long request is followed, and stopped
 *
 * @typedef {object} Capability
 * @property {"webgpu"|"cpu"} backend
 * @property {string} why                  one clause for people
 * @property {?{vendor: string, architecture: string, description: string, software: boolean}} gpu
 * @property {boolean} f16                 the GPU computes in half precision
 * @property {?number} maxBufferSize       bytes
 * @property {?number} maxStorageBufferBindingSize   bytes
 * @property {number} threads
 * @property {boolean} crossOriginIsolated
 *
 * @typedef {object} Opened
 * @property {"webgpu"|"cpu"} backend
 * @property {number} threads              that the CPU backend computes on; 1 on WebGPU
 * @property {string} [part]               the file beside the page that this backend alone needs
 * @property {{kind: ?string, refused: string[], milliseconds: number}} kernels   kind null: none in use;
 *   refused: those that computed wrongly when the device was opened
 *
 * @typedef {object} Family                what the model is taken for
 * @property {string} label
 * @property {"sd1"|"sd2"|"sdxl"} base
 * @property {"text_to_image"|"inpainting"} task
 * @property {"epsilon"|"v_prediction"|"sample"} prediction
 * @property {number} size                 pixels
 * @property {boolean} zeroTerminalSnr
 * @property {?("turbo"|"lightning"|"lcm"|"lcm_merge")} fewSteps
 * @property {boolean} compact
 * @property {?{steps: number, guidance: number}} defaults   where they differ from everybody's
 * @property {string[]} evidence
 * @property {string[]} notes              also among the report's
 *
 * @typedef {object} ModelReport
 * @property {string} name
 * @property {{name: string, tensors: number, parameters: number, bytes: number}[]} components
 * @property {string[]} unused
 * @property {string[]} notes
 * @property {string} scheduler            id of the model's own scheduler
 * @property {{id: string, label: string, group: string, about: string, takesSchedule: boolean}[]} schedulers
 * @property {{id: string, label: string, about: string}[]} schedules
 * @property {{width: number, height: number}} native
 * @property {Family} family
 * @property {string} predictionType
 *
 * @typedef {{total: ?number, free: ?number, buffer: ?number, limited: boolean}} Offer   bytes; null: this device
 *   doesn't tell; limited: by ?memory= of the page's address
 *
 * @typedef {object} Judged                a model that can be loaded, by its headers and configs alone
 * @property {{f32: number, f16: number, q8: number}} bytes   what its weights would take
 * @property {"f32"|"f16"|"q8"} weights    how they will be kept
 * @property {string} words                a sentence for people
 * @property {Offer} offer
 * @property {boolean} anew                a fresh worker gives back what this one holds
 *
 * @typedef {object} Memory                what the engine holds
 * @property {?{weights: "f32"|"f16"|"q8", bytes: number, sizes: {f32: number, f16: number, q8: number}}} model
 * @property {number} held                 bytes in use, the model's among them
 * @property {number} heap                 bytes that the module's own memory has grown to
 * @property {number} peak                 of those, the most in use since the last load, picture or run began
 * @property {Offer} offer
 *
 * @typedef {object} CoverageReport
 * @property {string} kind
 * @property {string} naming
 * @property {string} summary
 * @property {number} modules_used
 * @property {number} modules_in_file
 * @property {number} unet_modules
 * @property {number} text_encoder_modules   of both, where there are two
 * @property {number} [second_encoder_modules]   of these, in the second of SDXL
 * @property {?string} base_model
 * @property {string[]} trigger_words
 * @property {{name: string, vectors: number}[]} embeddings   words that it teaches the text encoder
 * @property {[string, string][]} unused   key and reason
 * @property {string[]} notes
 * @property {?Advice} advice             the settings to draw with, where it is made for few steps
 * @property {string[]} [blocks]          the model's blocks that it acts in, as spread.js names them; the page's engine adds them
 *
 * @typedef {object} Advice
 * @property {string} name                 what the adapter is
 * @property {number} steps
 * @property {number} guidance
 * @property {string} scheduler            id
 * @property {?string} spacing             how the timesteps lie; null: as the model's scheduler says
 * @property {?number} eta                 TCD's
 * @property {string} settings             all of these in one line
 * @property {string} why
 *
 * @typedef {object} Settings
 * @property {string} prompt
 * @property {string} negativePrompt
 * @property {string} emphasis             how weights of words act: original, no_norm, comfy_ui, ignore, none
 * @property {"cpu"|"nv"} rng           whose noise a seed stands for: PyTorch's on the CPU, or that of NVIDIA's cards
 * @property {string} variationSeed
 * @property {number} variationStrength    how far the noise is on the way to that seed's, 0 to 1
 * @property {number} clipSkip             1 is none; with 2 the text encoder's last layer is left out
 * @property {number} steps
 * @property {number} guidance
 * @property {string} seed                 decimal, up to 64 bits
 * @property {string} scheduler
 * @property {string} spacing              how the timesteps lie; empty: as the model's scheduler says
 * @property {string} schedule             how the noise levels lie; empty: as the timesteps do. Not with every scheduler,
 *   and not beside a spacing
 * @property {?number} eta                 TCD's; null with other schedulers
 * @property {number} width
 * @property {number} height
 * @property {?Start} [start]              null or absent: from noise alone
 * @property {?Hires} [hires]              null or absent: one pass alone; not with a start
 *
 * @typedef {object} Hires                 a second pass, larger
 * @property {number} scale                of each side
 * @property {"latent"|"latent-nearest"|"lanczos"} upscaler
 * @property {number} strength             of the second pass, 0 to 1
 * @property {number} steps                of the second pass; 0: as many as of the first
 *
 * @typedef {object} Start                 what a picture starts from, beside noise
 * @property {string} picture              by size and pixels (start/store.js): settings tell pictures apart, the engine doesn't read it
 * @property {string} mask                 the same of the mask; empty where there is none
 * @property {number} strength             0 to 1: A1111's denoising strength
 * @property {boolean} exactSteps          false: A1111's count, int(strength * steps) + 1 calls; true: exactly `steps`
 * @property {"stretch"|"crop"|"fill"} resize   how a picture of another size comes to width x height
 * @property {?Inpaint} inpaint            null without a mask
 *
 * @typedef {object} Inpaint               how the masked part is painted anew
 * @property {number} blur                 of the mask, in pixels
 * @property {"original"|"fill"|"noise"|"nothing"} content   what it starts from
 * @property {"whole"|"masked"} area       "masked": that part alone, at width x height; the picture keeps the size that it came with
 * @property {number} padding              around that part, in pixels
 * @property {boolean} inverted            what is black is painted anew
 *
 * @typedef {{picture: Pixels, mask: ?Pixels}} StartPixels   at the picture's own size; in the mask's red channel white is painted anew
 *
 * @typedef {{tokens: number, room: number, most: number}} TokenCount   of a prompt: room in the chunks that it takes; what it may
 *   have at most
 *
 * @typedef {{id: number, enabled: boolean, unet: number, textEncoder: number, spread: ?import("./spread.js").Spread}} AdapterStrength
 * @typedef {{handle: string, name: string, unet: number, textEncoder: number, spread?: ?import("./spread.js").Spread}} Strength   by the
 *   engine's caller's name for the adapter
 *
 * @typedef {object} TrainConfig           the fields of src/training/config.rs; train/fields.js explains them
 * @typedef {{name: string, caption: string, role: "train"|"heldOut"|"class"} & Pixels} TrainPicture
 *
 * @typedef {object} Estimate
 * @property {number} modules
 * @property {number} parameters
 * @property {number} bytes
 * @property {boolean} checkpointed        blocks are run twice to save memory
 * @property {{draws: number, of: number, samples: number, first: number}} measuring   timesteps of each picture that
 *   evaluations take, of all; samples in them, and in the first
 * @property {?number} learningRate        null before the weights have been looked at
 * @property {string[]} notes
 *
 * @typedef {object} TrainStep
 * @property {number} step
 * @property {number} steps
 * @property {number} loss
 * @property {number} learningRate
 * @property {number} gradientNorm
 * @property {boolean} skippedNow          its gradient was no number: nothing was changed
 * @property {number} skipped              how many were so far
 * @property {number} seconds
 * @property {?number} peakBytes           the most that the run took so far, in the sense of Estimate.bytes; null: this device doesn't tell
 * @property {boolean} finished
 * @property {?string} stopped             why the run cannot go on; nothing of the bad steps is in the adapter
 * @property {?Pixels} thumbnail           what the model makes of the sample in hand
 *
 * @typedef {object} Evaluation
 * @property {number} step
 * @property {number} draws                timesteps of each picture that it took
 * @property {number} of                   all of them
 * @property {{loss: number, ratio: number}} train       ratio: in units of the base model's loss
 * @property {?{loss: number, ratio: number}} heldOut
 * @property {{from: number, to: number, ratio: number}[]} bands   by timestep
 * @property {number} drift                in units of the base model's own errors
 * @property {?{name: string, similarity: number}} copying
 * @property {?number} diversity           in units of the base model's
 * @property {{path: string, ratio: number}[]} heat
 * @property {"learning"|"settled"|"memorising"|"forgetting"} verdict
 * @property {string} words
 * @property {boolean} best
 *
 * @typedef {object} LeaveOneOut           each picture, judged by an adapter that was trained on the others
 * @property {{name: string, loss: number, ratio: number}[]} pictures
 * @property {{loss: number, ratio: number}} mean
 * @property {string} words
 *
 * @typedef {{evaluation?: boolean, preview?: boolean, unmeasured?: ?string, snapshot?: boolean, kept?: boolean}} Owed
 *   what was due at a step and is not done
 *
 * @typedef {object} RunProgress           one of these fields
 * @property {TrainStep} [step]
 * @property {number} [evaluating]         fraction
 * @property {Evaluation} [evaluation]
 * @property {string} [unmeasured]         why an evaluation that was due is left out
 * @property {{step: number, bytes: Uint8Array<ArrayBuffer>, owed: ?Owed}} [snapshot]   of the timeline
 * @property {{step: number, bytes: Uint8Array<ArrayBuffer>, owed: ?Owed}} [saved]      to go on from, should this tab close
 * @property {number} [drawing]            fraction
 * @property {{step: number, settings: Settings} & Pixels} [preview]
 *
 * @typedef {object} ExportOrder
 * @property {?Uint8Array<ArrayBuffer>} state   null: the present one
 * @property {"kohya"|"diffusers"|"peft"} format
 * @property {boolean} half
 * @property {string} title
 * @property {?string} thumbnail           data URL
 */

export const Action = Object.freeze({
  /** { backend: "webgpu"|"cpu"|null } -> Capability. Downloads nothing. */
  capability: "capability",
  /** { backend } -> Opened. Loads the wasm. */
  open: "open",
  /** { urls: {path, url}[] } -> { files: ModelFile[] }; progress { done, total, what } */
  fetchFiles: "fetchFiles",
  /** { files: ModelFile[], options: ModelOptions } -> Judged; the model in use isn't touched */
  judgeModel: "judgeModel",
  /** -> Memory */
  memory: "memory",
  /**
   * { files: ModelFile[], options: ModelOptions } -> ModelReport, in place of the model before, which goes first;
   * progress { done, total, what }
   */
  loadModel: "loadModel",
  /** { name, blob, config } -> { id, report: CoverageReport, blocks: string[] } */
  addAdapter: "addAdapter",
  /** { adapter: id } */
  removeAdapter: "removeAdapter",
  /**
   * { settings, adapters: AdapterStrength[], pictures: ?StartPixels } -> { ...Pixels, seconds, truncated: string[], notes: string[] };
   * progress { phase, step, steps, fraction, preview }; phase "encode" (of the picture that it starts from, or of the larger one)
   * comes before "denoise"
   */
  generate: "generate",
  /** { texts: string[], steps, emphasis } -> TokenCount[] */
  countTokens: "countTokens",

  /** { name: "quick"|"normal"|"careful" } -> TrainConfig */
  trainPreset: "trainPreset",
  /** { pictures: {name, ...Pixels}[] } -> { name, warnings: string[] }[] */
  trainInspect: "trainInspect",
  /** { config, counts: {train, heldOut, class} } -> Estimate; fails with the setting's name on a bad one */
  trainEstimate: "trainEstimate",
  /**
   * { config, pictures: TrainPicture[] } -> { summary: Estimate, measured: {secondsPerStep, bytes, peakBytes}, dataset: Uint8Array };
   * progress { done, total, what }
   */
  trainPrepare: "trainPrepare",
  /** { config, dataset, state: Uint8Array|null, owed: ?Owed } -> Estimate: a run that was saved, in place of trainPrepare */
  trainResume: "trainResume",
  /**
   * { preview: ?Settings, pictureSeconds: what one takes, 0 if not known, step: where it is, end: to end there }
   * -> { outcome: "finished"|"stopped"|"paused", step, reason }; progress RunProgress
   */
  trainRun: "trainRun",
  /**
   * -> { found: LeaveOneOut|null }: trains anew without each picture in turn; null when it was aborted, to go on there.
   * Progress { picture, done, pictures, fraction }
   */
  trainLeaveOneOut: "trainLeaveOneOut",
  /** -> { bytes, owed: ?Owed }: all that going on bit for bit needs, and what was due at this step and is not done */
  trainState: "trainState",
  /** { state, owed: ?Owed } -> the step of that state, at which the run now is */
  trainRestore: "trainRestore",
  /** { state: Uint8Array|null, strength, settings } -> as generate, with no other adapter */
  trainPicture: "trainPicture",
  /** ExportOrder -> { files: {name, bytes}[] } */
  trainExport: "trainExport",
  /** Forgets the run. */
  trainEnd: "trainEnd",
});

/** Actions that change nothing: they needn't wait until a picture or a run is through. */
export const ASIDES = Object.freeze([Action.judgeModel, Action.memory, Action.countTokens]);

/**
 * An error as it travels. `kind`: what sort of thing went wrong, where the engine knows: "file", "key" (of a file),
 * "setting", "device" (src/error.rs), or "lost".
 */
export function packError(error) {
  return { name: error?.name ?? "Error", message: error?.message ?? String(error), kind: error?.kind };
}

export function unpackError({ name, message, kind }) {
  return Object.assign(new Error(message), { name, kind });
}

/** The kind of an error that says that the GPU is gone, and every tensor with it. */
export const LOST = "lost";

export function abortError() {
  return new DOMException("Stopped.", "AbortError");
}

/** The name of the error that every open request gets when the worker breaks. */
export const CRASH = "EngineCrash";
