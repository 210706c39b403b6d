// A worker that makes a case's weights: one safetensors file in f32, the same for every side of a race.
// It ends after that, and what it needed meanwhile goes with it. The layout is what
// benches/race/graphs.py counts on: names in order, no gaps, a header padded to 64 bytes.

import { fill } from "./random.js";

/** Where a large file lies, in the browser's own storage for this page. */
const NAME = "race.safetensors";
/** Bytes; above, a Blob is more than some browsers keep (Chromium here lost one of 1 GB). */
const LARGE = 512 << 20;

self.addEventListener("message", async ({ data }) => {
  try {
    postMessage({ result: await (data.from ? widened(data.from) : made(data.tensors)) });
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
});

/** @param {[string, number[]][]} tensors names and shapes, in order */
function header(tensors) {
  let end = 0;
  const entries = tensors.map(([name, shape]) => {
    const start = end;
    end += 4 * elements(shape);
    return [name, { dtype: "F32", shape, data_offsets: [start, end] }];
  });
  const text = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const bytes = new Uint8Array(Math.ceil((8 + text.length) / 64) * 64).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(bytes.length - 8), true);
  bytes.set(text, 8);
  return bytes;
}

/** Random weights that keep values of about 1 as they are, each tensor's from its own name. */
async function made(shapes) {
  const tensors = Object.entries(shapes).sort(byName);
  const bytes = tensors.reduce((sum, [, shape]) => sum + 4 * elements(shape), 0);
  const parts = bytes > LARGE ? await Stored.open() : [];
  parts.push(header(tensors));
  for (const [name, shape] of tensors) {
    const values = new Float32Array(elements(shape));
    if (shape.length === 1) fill(values, name, 0.1, name.includes("norm") && name.endsWith("weight") ? 1 : 0);
    else fill(values, name, Math.sqrt(3 / elements(shape.slice(1))), 0);
    parts.push(values);
  }
  return parts instanceof Stored ? parts.file() : new Blob(parts);
}

/** A file on disk that grows. */
class Stored {
  #handle;
  #access;
  #end = 0;

  static async open() {
    const stored = new Stored();
    const folder = await navigator.storage.getDirectory();
    stored.#handle = await folder.getFileHandle(NAME, { create: true });
    stored.#access = await stored.#handle.createSyncAccessHandle();
    stored.#access.truncate(0);
    return stored;
  }

  push(values) {
    this.#access.write(values, { at: this.#end });
    this.#end += values.byteLength;
  }

  async file() {
    this.#access.close();
    const file = await this.#handle.getFile();
    // What doesn't fit is left out (in a private window, say), and nothing says so.
    if (file.size === this.#end) return file;
    await (await navigator.storage.getDirectory()).removeEntry(NAME);
    throw new Error(`the browser stored ${file.size} of ${this.#end} bytes: choose a smaller network, or leave the private window`);
  }
}

/** A file of f16 tensors in f32. */
async function widened(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  const bytes = await response.arrayBuffer();
  const length = Number(new DataView(bytes).getBigUint64(0, true));
  const index = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, length)));
  const tensors = Object.entries(index).filter(([name]) => name !== "__metadata__").sort(byName);
  const table = halves();
  const parts = tensors.map(([name, { dtype, data_offsets: [start, end] }]) => {
    if (dtype !== "F16") throw new Error(`${url}: ${name} is ${dtype}, not F16`);
    const stored = new Uint16Array(bytes.slice(8 + length + start, 8 + length + end));
    return Float32Array.from(stored, (bits) => table[bits]);
  });
  return new Blob([header(tensors.map(([name, { shape }]) => [name, shape])), ...parts]);
}

/** Every f16 value by its bits. */
function halves() {
  return Float32Array.from({ length: 1 << 16 }, (_, bits) => {
    const sign = bits >> 15 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = (bits & 1023) / 1024;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14);
  });
}

const elements = (shape) => shape.reduce((product, size) => product * size, 1);
/** @param {[string, any]} entry @param {[string, any]} other */
const byName = ([a], [b]) => (a < b ? -1 : 1);
