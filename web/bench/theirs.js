// The other side: onnxruntime-web, as `cargo xtask bench --race` serves it beside the page. It never
// ships with it.

import { answer } from "./answer.js";

/** What a graph's name may end with: some adapters compute wrongly with them (SwiftShader's). */
const WITHOUT_SUBGROUPS = " without subgroups";

let session = null;
let ort = null;

/** Has devices lack what they are asked for of subgroups: whoever gets `subgroup-size-control` has all. */
function withholdSubgroups() {
  const original = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = function (wanted = {}) {
    const requiredFeatures = [...(wanted.requiredFeatures ?? [])].filter((name) => !name.startsWith("subgroup"));
    return original.call(this, { ...wanted, requiredFeatures });
  };
}

answer(import.meta.url, {
  async load({ backend, threads, graph, weights }) {
    // The build for WebGPU is another one than that for the CPU alone, which is smaller.
    ort = await import(`../../ort/ort.${backend}.min.mjs`);
    ort.env.wasm.numThreads = threads;
    if (graph.endsWith(WITHOUT_SUBGROUPS)) withholdSubgroups();
    const file = graph.replace(WITHOUT_SUBGROUPS, "");
    const response = await fetch(new URL(`../../race/${file}`, import.meta.url));
    if (!response.ok) throw new Error(`${file}: HTTP ${response.status}`);
    session = await ort.InferenceSession.create(new Uint8Array(await response.arrayBuffer()), {
      executionProviders: [backend],
      graphOptimizationLevel: "all",
      externalData: [{ path: "weights.safetensors", data: await bytes(weights) }],
    });
  },

  async run(inputs) {
    const feeds = Object.fromEntries(inputs.map(({ name, shape, values }) => [name, new ort.Tensor("float32", values, shape)]));
    const { output } = await session.run(feeds);
    return output.getData();
  },
});

/** It would read the Blob in one piece itself, which browsers refuse from 2 GB on. */
async function bytes(blob) {
  const all = new Uint8Array(blob.size);
  const piece = 1 << 28;
  for (let start = 0; start < all.length; start += piece) {
    all.set(new Uint8Array(await blob.slice(start, start + piece).arrayBuffer()), start);
  }
  return all;
}
