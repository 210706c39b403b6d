// Instantiates the page's wasm module: with shared memory where threads are wanted and possible. The
// file imports a shared memory; for an unshared one the import is changed on its way to the compiler.
//
// `cargo xtask build` cuts the module in two (xtask/src/split): what only WebGPU runs is fetched beside
// the rest where that is the backend, and elsewhere not at all.

import { startThreads, threadsWanted } from "./threads.js";
import { startWorker } from "./workers.js";

const FILE = new URL("../lorakeet_bg.wasm", import.meta.url);
const THREAD = new URL("./thread.js", import.meta.url);

/** @type {?Part} */
let part = null;

/**
 * @param {"cpu" | "webgpu"} backend
 * @param {number} [threads]    instead of as many as the machine has
 * @returns {Promise<{wasm: typeof import("../lorakeet.js"), threads: number, part?: string, references?: WebAssembly.Table}>}
 *   part: the file beside the page that this backend alone needs; references: what of this side the
 *   module holds
 */
export async function openModule(backend, threads = threadsWanted()) {
  const wasm = await import("../lorakeet.js");
  if (wasm.gpuPart) part ??= new Part(new URL(`../${wasm.gpuPart}`, import.meta.url));
  // The module's stubs call it, and its way to a GPU.
  self.lorakeetGpuPart = () => part?.loadNow();
  // On WebGPU the processor has little to do, and not every browser uploads from shared memory.
  if (backend === "cpu" && threads > 1 && self.crossOriginIsolated) {
    const module = await WebAssembly.compileStreaming(asWasm(await file(FILE)));
    try {
      const main = await wasm.default({ module_or_path: module });
      part?.belongsTo(main);
      return { wasm, threads: await startThreads(wasm, threads, (name) => startWorker(THREAD, name)) };
    } catch (error) {
      // A small machine may refuse to reserve 4 GiB of addresses.
      if (!(error instanceof RangeError)) throw error;
    }
  }
  const [{ module, memory }] = await Promise.all([compiled(FILE), backend === "webgpu" && part?.compile()]);
  const main = await wasm.default({ module_or_path: module, memory: new WebAssembly.Memory(memory) });
  part?.belongsTo(main);
  if (backend !== "webgpu") return { wasm, threads: 1 };
  const references = /** @type {WebAssembly.Table} */ (main.__wbindgen_externrefs);
  return { wasm, threads: 1, part: wasm.gpuPart, references };
}

/** The functions that only a GPU's backend calls: a module that works on the main one's memory and table. */
class Part {
  #url;
  /** @type {?WebAssembly.Module} */
  #module = null;
  /** @type {any} */
  #main = null;
  #there = false;

  constructor(url) {
    this.#url = url;
  }

  /** Fetches and compiles it; it needs no main module yet. */
  async compile() {
    ({ module: this.#module } = await compiled(this.#url));
  }

  /** @param {WebAssembly.Exports} main */
  belongsTo(main) {
    this.#main = main;
    if (this.#module) this.loadNow();
  }

  /** Makes it part of the main module, which may be in the middle of a call. */
  loadNow() {
    if (this.#there) return;
    if (!this.#main) throw new Error(`${this.#url.pathname} was called before the page's module was there`);
    this.#module ??= new WebAssembly.Module(this.#fetchNow());
    new WebAssembly.Instance(this.#module, { main: this.#main });
    this.#there = true;
  }

  /** What nobody fetched ahead: the backend is another one, and something of it is called all the same. */
  #fetchNow() {
    const request = new XMLHttpRequest();
    request.open("GET", this.#url, false);
    request.responseType = "arraybuffer";
    try {
      request.send();
    } catch {
      // its status is 0
    }
    // It breaks off whatever called it, like a trap.
    if (request.status !== 200) throw new WebAssembly.RuntimeError(unavailable(this.#url, request.status).message);
    const bytes = new Uint8Array(request.response);
    const { buffer } = /** @type {WebAssembly.Memory} */ (Object.values(this.#main).find((value) => value instanceof WebAssembly.Memory));
    if (buffer instanceof ArrayBuffer) bytes[memoryImport(bytes, this.#url).flags] &= ~SHARED;
    return bytes;
  }
}

async function file(url) {
  const response = await fetch(url);
  if (!response.ok) throw unavailable(url, response.status);
  return response;
}

function unavailable({ pathname }, status) {
  return new Error(`${pathname} could not be fetched from this page's own address (HTTP ${status}). Check that the site was published whole.`);
}

/** Browsers compile a stream of this type only, and some servers don't know it. */
function asWasm(response) {
  const type = "application/wasm";
  if (response.headers.get("content-type")?.startsWith(type)) return response;
  return new Response(response.body, { headers: { "content-type": type } });
}

/** The module of a file with its memory's import not shared, and the memory that it asks for. */
async function compiled(url) {
  const { response, memory } = await unshared(await file(url), url);
  return { module: await WebAssembly.compileStreaming(response), memory };
}

async function unshared(original, url) {
  const reader = original.body.getReader();
  let head = new Uint8Array(0);
  let found = null;
  while (!found) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`${url.pathname} ends before its imports. Check that the site was published whole.`);
    const longer = new Uint8Array(head.length + value.length);
    longer.set(head);
    longer.set(value, head.length);
    head = longer;
    found = memoryImport(head, url);
  }
  head[found.flags] &= ~SHARED;
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(head),
    async pull(controller) {
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return { response: asWasm(new Response(body)), memory: { initial: found.initial, maximum: found.maximum } };
}

/** Bits of what limits begin with. */
const SHARED = 2;
const MAXIMUM = 1;

/**
 * Where the import of the memory has its flags, and its limits in pages; null while the section of
 * imports isn't there whole. (WebAssembly Core Specification, "Binary Format", "Modules".)
 */
function memoryImport(bytes, url) {
  const IMPORTS = 2;
  let at = 8;
  const number = () => {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  const skipped = () => {
    const length = number();
    at += length;
  };
  for (;;) {
    if (at + 6 > bytes.length) return null;
    const section = bytes[at++];
    const size = number();
    if (at + size > bytes.length) return null;
    if (section === IMPORTS) break;
    at += size;
  }
  /** By kind of import. @type {(() => any)[]} */
  const kinds = [
    () => number(), // a function's type
    () => { // a table: of what, and its limits
      at++;
      if (number() & MAXIMUM) number();
      number();
    },
    () => ({ flags: at++, initial: number(), maximum: number() }),
    () => { at += 2; }, // a global's type and whether it changes
  ];
  for (let left = number(); left > 0; left--) {
    skipped(); // its module
    skipped(); // its name
    const limits = kinds[bytes[at++]]();
    if (limits?.flags) return limits;
  }
  throw new Error(`${url.pathname} imports no memory. It is not the one that belongs to this page.`);
}
