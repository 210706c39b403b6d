// The worker: owns the wasm and all GPU state. A table of actions (protocol.js), performed in order.

import { GpuBuffers } from "./gpu-buffers.js";
import { claimTimestamps, deviceLost } from "./gpu.js";
import { openModule } from "./module.js";
import { ASIDES, Action, LOST, abortError, packError } from "./protocol.js";
import { trainActions } from "./worker-train.js";

const PROGRESS_MS = 50;
/** A readback of a lost device may fail before the browser says that it is lost. */
const LOST_MS = 500;

claimTimestamps();
const gpuBuffers = new GpuBuffers();
gpuBuffers.watch();
// The module asks it what a training step took.
self.lorakeetGpuBuffers = gpuBuffers;
const lost = deviceLost().then(({ reason, message }) => broken(Object.assign(new Error(message || reason), { kind: LOST })));

let engine = null;
let onGpu = false;
/** Requests that came and aren't answered yet. */
const open = new Set();
/** Those of them that nobody wants any more. */
const aborted = new Set();
/** Ends the fetching of a request. @type {Map<number, AbortController>} */
const fetching = new Map();
/** Requests that the next gap in the work is for. */
const asides = new Set();
/** How the engine's adapters are spread over blocks and steps, those that are: as JSON, by their ids. @type {Map<number, string>} */
const spreads = new Map();
/** @type {Promise<unknown>} */
let queue = Promise.resolve();

const actions = {
  [Action.capability]: ({ backend }) => capability(backend),

  async [Action.open]({ backend }) {
    const asked = new URL(import.meta.url).searchParams;
    const { wasm, threads, part, references } = await openModule(backend, threadsAsked(asked));
    if (references) gpuBuffers.belongTo(references);
    onGpu = backend === "webgpu";
    engine = await wasm.Engine.open(backend, asked.get("kernels") ?? undefined, asked.get("memory") ?? undefined);
    return { backend, threads, part, kernels: engine.kernels() };
  },

  async [Action.fetchFiles]({ id, urls }, report) {
    const abort = new AbortController();
    fetching.set(id, abort);
    try {
      return { files: await fetchFiles(urls, abort.signal, report) };
    } finally {
      fetching.delete(id);
    }
  },

  [Action.judgeModel]: ({ files, options }) => engine.judgeModel(files, options),

  [Action.memory]: () => engine.memory(),

  [Action.loadModel]({ files, options }, report) {
    const tick = throttle(report);
    spreads.clear(); // the adapters go with the model that they are on, and their ids begin anew
    return engine.loadModel(files, options, (done, total, what) => tick({ done, total, what }));
  },

  [Action.addAdapter]: ({ name, blob, config }) => engine.addAdapter(name, blob, config ?? null),

  [Action.removeAdapter]({ adapter }) {
    spreads.delete(adapter);
    return engine.removeAdapter(adapter);
  },

  [Action.countTokens]: ({ texts, steps, emphasis }) => texts.map((text) => engine.countTokens(text, steps, emphasis)),

  [Action.generate]({ id, settings, adapters, pictures }, report) {
    for (const { id: adapter, enabled, unet, textEncoder, spread } of adapters) {
      engine.setAdapter(adapter, enabled, unet, textEncoder);
      spreadAs(adapter, spread);
    }
    engine.start(settings, pictures ?? undefined);
    return drawn(id, throttle(report));
  },

  ...trainActions({ engine: () => engine, drawn, own, gap, throttle, isAborted: (id) => aborted.has(id) }),
};

/** @param {number} adapter @param {?import("./spread.js").Spread} spread   null: the same everywhere */
function spreadAs(adapter, spread) {
  const before = spreads.get(adapter);
  if (before === (spread ? JSON.stringify(spread) : undefined)) return;
  engine.spreadAdapter(adapter, spread ?? {});
  if (spread) spreads.set(adapter, JSON.stringify(spread));
  else spreads.delete(adapter);
}

/** `?threads=2` of the page's address; else as many as are worth having. */
function threadsAsked(query) {
  const threads = Number(query.get("threads") ?? Number.NaN);
  return threads >= 1 ? threads : undefined;
}

/** Pulls the picture that was started until it is done. */
async function drawn(id, tick) {
  for (;;) {
    const event = await engine.pull();
    if (event.kind === "done") {
      const { width, height, rgba, seconds, notes } = event;
      return { width, height, rgba: own(rgba), seconds, notes };
    }
    tick(event);
    await gap();
    if (aborted.has(id)) {
      engine.stop();
      throw abortError();
    }
  }
}

async function perform({ id, action, ...parameters }) {
  try {
    // a run that is to pause before it began says so itself
    if (aborted.has(id) && action !== Action.trainRun && action !== Action.trainLeaveOneOut) throw abortError();
    const report = (progress, transfer = []) => postMessage({ id, progress }, transfer);
    const result = await actions[action]({ id, ...parameters }, report);
    postMessage({ id, result }, [...buffers(result)]);
  } catch (error) {
    if (onGpu && error?.kind === "device") await Promise.race([lost, pause(LOST_MS)]);
    postMessage({ id, error: packError(withPanic(error)), fatal: isFatal(error) });
  } finally {
    open.delete(id);
    aborted.delete(id);
  }
}

self.addEventListener("message", ({ data }) => {
  if (data.abort) {
    if (open.has(data.abort)) aborted.add(data.abort);
    fetching.get(data.abort)?.abort();
    return;
  }
  open.add(data.id);
  if (data.action === Action.fetchFiles) {
    perform(data);
    return;
  }
  const isAside = ASIDES.includes(data.action);
  if (isAside) asides.add(data);
  // in its turn at the latest
  queue = queue.then(() => (isAside && !asides.delete(data) ? null : perform(data)));
});

/**
 * Between two blocks of work: a whole turn of the event loop, or no message could ever arrive, and what was asked
 * aside.
 */
async function gap() {
  await macrotask();
  for (const request of asides) {
    asides.delete(request);
    await perform(request);
  }
}

// A panic in a future of the module comes here, and its request is never answered.
self.addEventListener("error", (event) => {
  event.preventDefault();
  broken(event.error ?? new Error(event.message));
});
self.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  broken(event.reason);
});

/** Tells the page, outside any request, that this worker must be replaced. */
function broken(error) {
  postMessage({ error: packError(withPanic(error)), fatal: true });
}

/**
 * After a wasm trap the module's memory cannot be trusted. An exception of JavaScript that went through the module
 * (a RangeError, where memory is short) leaves what it was at locked for good; later calls say so in these words
 * of wasm-bindgen's.
 */
function isFatal(error) {
  return error instanceof WebAssembly.RuntimeError || error instanceof RangeError || /recursive use of an object/.test(error?.message);
}

/** A trap carries no message; what the module had to say is left beside it. */
function withPanic(error) {
  if (error instanceof WebAssembly.RuntimeError && self.lorakeetPanic) error.message += `: ${self.lorakeetPanic}`;
  return error;
}

function pause(milliseconds) {
  return new Promise((resolve) => { setTimeout(resolve, milliseconds); });
}

/** Resolves a task later. (setTimeout would add 4 ms each time.) @returns {Promise<void>} */
function macrotask() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** The buffers of a result, which are given away with it. */
function* buffers(result) {
  for (const field of ["rgba", "bytes", "dataset"]) {
    if (result?.[field]?.buffer) yield result[field].buffer;
  }
  for (const { bytes } of result?.files ?? []) if (bytes) yield bytes.buffer;
}

/** Passes on at most one report per PROGRESS_MS, and never loses the newest preview. */
function throttle(report) {
  let last = 0;
  let preview = null;
  return (progress) => {
    preview = progress.preview ?? preview;
    const now = performance.now();
    if (now - last < PROGRESS_MS) return;
    last = now;
    report("preview" in progress ? { ...progress, preview: preview && { ...preview, rgba: own(preview.rgba) } } : progress);
    preview = null;
  };
}

/** The bytes in a buffer of their own: a view into wasm memory must not be transferred. */
function own(rgba) {
  return rgba.buffer.byteLength === rgba.byteLength ? rgba : rgba.slice();
}

async function fetchFiles(urls, signal, report) {
  const responses = await Promise.all(urls.map(async ({ path, url }) => {
    const response = await fetch(url, { signal });
    if (!response.ok) {
      throw new Error(`${path} could not be fetched from this page's own address (HTTP ${response.status}). Check that the site was published whole.`);
    }
    return { path, response };
  }));
  const total = responses.reduce((sum, { response }) => sum + Number(response.headers.get("content-length")), 0);
  const tick = throttle(report);
  let done = 0;
  return Promise.all(responses.map(async ({ path, response }) => {
    const chunks = [];
    const reader = response.body.getReader();
    for (;;) {
      const { done: end, value } = await reader.read();
      if (end) break;
      chunks.push(value);
      done += value.byteLength;
      tick({ done, total: Math.max(total, done), what: path });
    }
    return { path, blob: new Blob(chunks) };
  }));
}

/** @returns {Promise<import("./protocol.js").Capability>} */
async function capability(forced) {
  let adapter = null;
  let problem = "this browser offers no WebGPU";
  if (navigator.gpu) {
    try {
      adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
      problem = "WebGPU found no GPU";
    } catch (error) {
      problem = `WebGPU failed (${error.message})`;
    }
  }
  const info = adapter?.info;
  const software = adapter ? info?.isFallbackAdapter ?? adapter.isFallbackAdapter ?? false : false;
  const real = adapter && !software;
  return {
    backend: forced ?? (real ? "webgpu" : "cpu"),
    why: forced ? "as the address asks" : real ? "a GPU is here" : adapter ? "the only GPU is emulated in software, which is slower" : problem,
    gpu: adapter && { vendor: info?.vendor ?? "", architecture: info?.architecture ?? "", description: info?.description ?? "", software },
    f16: adapter?.features.has("shader-f16") ?? false,
    maxBufferSize: adapter?.limits.maxBufferSize ?? null,
    maxStorageBufferBindingSize: adapter?.limits.maxStorageBufferBindingSize ?? null,
    threads: navigator.hardwareConcurrency ?? 1,
    crossOriginIsolated: self.crossOriginIsolated ?? false,
  };
}
