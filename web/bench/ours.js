// Our side: the page's own engine.

import { openModule } from "../module.js";
import { answer } from "./answer.js";

let bench = null;

answer(import.meta.url, {
  async load({ backend, threads, config, block, weights }) {
    const { wasm } = await openModule(backend, threads);
    bench = await wasm.Bench.open(backend, JSON.stringify(config), block, weights);
  },

  async run(inputs) {
    const [first, time, context] = inputs;
    return bench.run(first.values, first.shape, time.values, context.values, context.shape);
  },
});
