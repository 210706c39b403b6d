// What engine.js and worker.js say to each other.
//
//   page   -> worker   { id, action, ...parameters }      one of the actions below
//   page   -> worker   { abort: id }                      stop that request at the next block
//   worker -> page     { id, result }                     it is done
//   worker -> page     { id, error, fatal }               it failed; fatal: the worker must be replaced
//   worker -> page     { id, progress }                   any number of these before either
//   worker -> page     { error, fatal: true }             the worker broke outside a request
//
// The worker performs requests one after another, in the order they came.

/**
 * @typedef {{path: string, blob: Blob}} ModelFile        path inside the model's folder
 * @typedef {{width: number, height: number, rgba: Uint8ClampedArray}} Pixels
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
 * @typedef {object} ModelReport
 * @property {string} name
 * @property {{name: string, tensors: number, parameters: number, bytes: number}[]} components
 * @property {string[]} unused
 * @property {string[]} notes
 * @property {string} scheduler            id of the model's own scheduler
 * @property {{id: string, label: string}[]} schedulers
 * @property {{width: number, height: number}} native
 * @property {string} predictionType
 *
 * @typedef {object} CoverageReport
 * @property {string} kind
 * @property {string} naming
 * @property {string} summary
 * @property {number} modules_used
 * @property {number} modules_in_file
 * @property {number} unet_modules
 * @property {number} text_encoder_modules
 * @property {?string} base_model
 * @property {string[]} trigger_words
 * @property {[string, string][]} unused   key and reason
 * @property {string[]} notes
 *
 * @typedef {object} Settings
 * @property {string} prompt
 * @property {string} negativePrompt
 * @property {number} steps
 * @property {number} guidance
 * @property {string} seed                 decimal, up to 64 bits
 * @property {string} scheduler
 * @property {number} width
 * @property {number} height
 *
 * @typedef {{id: number, enabled: boolean, unet: number, textEncoder: number}} AdapterStrength
 */

export const Action = Object.freeze({
  /** { backend: "webgpu"|"cpu"|null } -> Capability. Downloads nothing. */
  capability: "capability",
  /** { backend } -> the backend that opened. Loads the wasm. */
  open: "open",
  /** { urls: {path, url}[] } -> { files: ModelFile[] }; progress { done, total, what } */
  fetchFiles: "fetchFiles",
  /** { files: ModelFile[] } -> ModelReport; progress { done, total, what } */
  loadModel: "loadModel",
  /** { name, blob, config } -> { id, report: CoverageReport } */
  addAdapter: "addAdapter",
  /** { adapter: id } */
  removeAdapter: "removeAdapter",
  /** { settings, adapters: AdapterStrength[] } -> { ...Pixels, seconds, truncated: string[] }; progress { phase, step, steps, fraction, preview } */
  generate: "generate",
});

/** An error as it travels. */
export function packError(error) {
  return { name: error?.name ?? "Error", message: error?.message ?? String(error) };
}

export function unpackError({ name, message }) {
  const error = new Error(message);
  error.name = name;
  return error;
}

export function abortError() {
  return new DOMException("Stopped.", "AbortError");
}

/** The name of the error that every open request gets when the worker breaks. */
export const CRASH = "EngineCrash";
