// What both sides' workers have in common: answering, a clock around the pass, counting WebGPU calls.

import { claimTimestamps } from "../gpu.js";
import { weaken } from "./weak.js";

/**
 * @param {string} address    the worker's module: `?gpu=` says as on which weaker GPU (weak.js)
 * @param {{load: (message: object) => Promise<void>, run: (inputs: object[]) => Promise<Float32Array>}} side
 */
export function answer(address, side) {
  weaken(new URL(address).searchParams.get("gpu"));
  claimTimestamps();
  const timed = async ({ inputs }) => {
    const start = performance.now();
    const output = await side.run(inputs);
    return { seconds: (performance.now() - start) / 1e3, output };
  };
  const actions = {
    load: (message) => side.load(message),
    run: timed,
    count: (message) => counted(() => timed(message)),
  };
  self.addEventListener("message", async ({ data }) => {
    try {
      postMessage({ result: await actions[data.action](data) });
    } catch (error) {
      // A wasm trap carries no message: the module leaves it (src/web/mod.rs).
      const panic = self.lorakeetPanic ? `: ${self.lorakeetPanic}` : "";
      postMessage({ error: `${error?.message ?? error}${panic}` });
    }
  });
  self.addEventListener("unhandledrejection", ({ reason }) => postMessage({ error: String(reason?.message ?? reason) }));
}

/** Every engine ends up at these methods, whatever it was compiled from. */
async function counted(work) {
  const counts = { dispatches: 0, submissions: 0, uploads: 0, binding: 0 };
  /** @type {[{prototype: any} | undefined, string, keyof typeof counts][]} */
  const methods = [
    [self.GPUComputePassEncoder, "dispatchWorkgroups", "dispatches"],
    [self.GPUComputePassEncoder, "dispatchWorkgroupsIndirect", "dispatches"],
    [self.GPUQueue, "submit", "submissions"],
    [self.GPUQueue, "writeBuffer", "uploads"],
  ];
  const watched = methods.flatMap(([type, method, counter]) => {
    if (!type) return [];
    const original = type.prototype[method];
    type.prototype[method] = function (...parameters) {
      counts[counter]++;
      return original.apply(this, parameters);
    };
    return [() => { type.prototype[method] = original; }];
  });
  watched.push(...bindings((bytes) => { counts.binding = Math.max(counts.binding, bytes); }));
  try {
    return { ...await work(), counts };
  } finally {
    for (const restore of watched) restore();
  }
}

/** Tells the size of every buffer's part that is bound. */
function bindings(tell) {
  const { prototype } = self.GPUDevice ?? {};
  if (!prototype) return [];
  const original = prototype.createBindGroup;
  prototype.createBindGroup = function (descriptor) {
    for (const entry of descriptor.entries) {
      const resource = /** @type {GPUBufferBinding} */ (entry.resource); // where it is one of a buffer
      const { buffer, offset = 0, size = buffer && buffer.size - offset } = resource;
      if (buffer) tell(size);
    }
    return original.call(this, descriptor);
  };
  return [() => { prototype.createBindGroup = original; }];
}
