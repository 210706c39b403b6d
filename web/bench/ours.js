// Our side: the page's own engine.

import { answer } from "./answer.js";

let bench = null;

answer({
  async load({ backend, config, block, weights }) {
    const wasm = await import("../../lorakeet.js");
    await wasm.default({ module_or_path: new URL("../../lorakeet_bg.wasm", import.meta.url) });
    bench = await wasm.Bench.open(backend, JSON.stringify(config), block, weights);
  },

  async run(inputs) {
    const [first, time, context] = inputs;
    return bench.run(first.values, first.shape, time.values, context.values, context.shape);
  },
});
