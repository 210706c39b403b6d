// The sides of a race, each a worker of its own that loads one network and runs it when asked.

import { threadsWanted } from "../threads.js";
import { Worked } from "./worked.js";

/**
 * @typedef {object} Side
 * @property {string} id
 * @property {string} title
 * @property {"ours" | "theirs"} who
 * @property {"webgpu" | "cpu" | "wasm"} backend
 * @property {number} threads
 */

/** @type {Side[]} */
const ALL = [
  { id: "ours-webgpu", title: "Lorakeet, WebGPU", who: "ours", backend: "webgpu", threads: 1 },
  { id: "ours-cpu-1", title: "Lorakeet, CPU backend, 1 thread", who: "ours", backend: "cpu", threads: 1 },
  { id: "ours-cpu-2", title: "Lorakeet, CPU backend, 2 threads", who: "ours", backend: "cpu", threads: 2 },
  { id: "ours-cpu", title: "Lorakeet, CPU backend", who: "ours", backend: "cpu", threads: threadsWanted() },
  { id: "theirs-webgpu", title: "onnxruntime-web, WebGPU", who: "theirs", backend: "webgpu", threads: 1 },
  { id: "theirs-wasm-1", title: "onnxruntime-web, wasm, 1 thread", who: "theirs", backend: "wasm", threads: 1 },
  { id: "theirs-wasm-2", title: "onnxruntime-web, wasm, 2 threads", who: "theirs", backend: "wasm", threads: 2 },
];

export const SIDES = Object.fromEntries(ALL.map((side) => [side.id, side]));

/** @param {import("./cases.js").Case} subject */
export async function makeWeights(subject) {
  const maker = new Worked(new URL("weights.js", import.meta.url), "weights");
  try {
    return await maker.ask(subject.make);
  } finally {
    maker.end();
  }
}

/** Takes them off the disk, where they were too large for memory. */
export async function dropWeights(weights) {
  if (!(weights instanceof File)) return;
  const folder = await navigator.storage.getDirectory();
  await folder.removeEntry(weights.name).catch(() => {});
}

export class Runner {
  #worked;
  #inputs;

  /**
   * @param {Side} side
   * @param {string} [gpu]  a kind of weak.js, to run as on a weaker one
   */
  constructor(side, gpu) {
    this.side = side;
    const module = new URL(`${side.who}.js`, import.meta.url);
    if (gpu) module.searchParams.set("gpu", gpu);
    this.#worked = new Worked(module, side.title);
  }

  /**
   * Loads engine and weights, and compiles what can be before the first pass.
   * @param {string} graph of the case's, for the other side
   * @returns {Promise<number>} seconds
   */
  async load(subject, weights, graph) {
    const { config, block, inputs } = subject;
    this.#inputs = inputs;
    const { backend, threads } = this.side;
    const start = performance.now();
    await this.#worked.ask({ action: "load", backend, threads, graph, config, block, weights });
    return (performance.now() - start) / 1e3;
  }

  /**
   * One pass, from inputs in the tab's memory to an output there.
   * @returns {Promise<{seconds: number, output: Float32Array}>}
   */
  run() {
    return this.#worked.ask({ action: "run", inputs: this.#inputs });
  }

  /** The same with WebGPU's calls counted, as `counts`. */
  count() {
    return this.#worked.ask({ action: "count", inputs: this.#inputs });
  }

  end() {
    this.#worked.end();
  }
}
