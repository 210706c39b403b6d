// What is measured: four networks, their weights and inputs. cases.json is written by
// benches/race/graphs.py, beside the graphs that it makes for the other side.

import { fill } from "./random.js";

const here = (path) => new URL(path, import.meta.url).href;

/** Titles in the order of the tables, smallest first. */
export const CASES = {
  demo: "the demo model's UNet, batch 2, latents 16x16",
  block: "SD 1.5's first block, latents 64x64",
  sd15: "SD 1.5's UNet, latents 32x32",
  "sd15-512": "SD 1.5's UNet, latents 64x64",
};

/**
 * SD 1.5 at its own size, which only our side runs. Operations counted as graphs.py counts them:
 * weights times the rows that go through them, and attention's two products.
 */
const OWN_SIZE = { graphs: [], flops: 803273441280, inputs: { sample: [1, 4, 64, 64], timestep: [1], context: [1, 77, 768] } };

/**
 * @typedef {object} Case
 * @property {string} id
 * @property {string} title
 * @property {number} flops      of matrix products, convolutions and attention, a multiply-add being two
 * @property {number} [bytes]    read and written if every operator reads and writes each value once
 * @property {number} weights    bytes of all weights
 * @property {string[]} graphs   file names of the other side's graphs, the one to prefer first
 * @property {object} config     the UNet's config.json
 * @property {boolean} block     whether only its first block is meant
 * @property {object} make       what weights.js is asked for
 * @property {{name: string, shape: number[], values: Float32Array}[]} inputs
 */

/** @returns {Promise<Case>} */
export async function getCase(id) {
  const cases = await json("cases.json");
  const about = id === "sd15-512" ? { weights: cases.sd15.weights, ...OWN_SIZE } : cases[id];
  const inputs = Object.entries(about.inputs).map(([name, shape]) => {
    const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
    return { name, shape, values: name === "timestep" ? values.fill(501) : fill(values, name, Math.sqrt(3)) };
  });
  const common = { ...about, id, title: CASES[id], inputs, block: id === "block" };
  if (id === "demo") {
    const folder = "../demo-model/model/unet/";
    return { ...common, config: await json(`${folder}config.json`), make: { from: here(`${folder}diffusion_pytorch_model.fp16.safetensors`) } };
  }
  const { config, tensors } = await json("sd15-unet.json");
  const wanted = Object.entries(tensors).filter(([name]) => id !== "block" || name.startsWith("down_blocks.0."));
  return { ...common, config, make: { tensors: Object.fromEntries(wanted) } };
}

async function json(path) {
  const response = await fetch(here(path));
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status}`);
  return response.json();
}
