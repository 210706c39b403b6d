// Instantiates the page's wasm module: with shared memory where threads are wanted and possible. The
// file imports a shared memory; for an unshared one the import is changed on its way to the compiler.

import { startThreads, threadsWanted } from "./threads.js";

const FILE = new URL("../lorakeet_bg.wasm", import.meta.url);

/**
 * @param {"cpu" | "webgpu"} backend
 * @param {number} [threads]    instead of as many as the machine has
 * @returns {Promise<{wasm: typeof import("../lorakeet.js"), threads: number}>}
 */
export async function openModule(backend, threads = threadsWanted()) {
  const wasm = await import("../lorakeet.js");
  // On WebGPU the processor has little to do, and not every browser uploads from shared memory.
  if (backend === "cpu" && threads > 1 && self.crossOriginIsolated) {
    const module = await WebAssembly.compileStreaming(asWasm(await file()));
    try {
      await wasm.default({ module_or_path: module });
      return { wasm, threads: await startThreads(wasm, threads, new URL("./thread.js", import.meta.url)) };
    } catch (error) {
      // A small machine may refuse to reserve 4 GiB of addresses.
      if (!(error instanceof RangeError)) throw error;
    }
  }
  const { response, memory } = await unshared(await file());
  const module = await WebAssembly.compileStreaming(response);
  await wasm.default({ module_or_path: module, memory: new WebAssembly.Memory(memory) });
  return { wasm, threads: 1 };
}

async function file() {
  const response = await fetch(FILE);
  if (!response.ok) throw new Error(`${FILE.pathname} could not be fetched from this page's own address (HTTP ${response.status}). Check that the site was published whole.`);
  return response;
}

/** Browsers compile a stream of this type only, and some servers don't know it. */
function asWasm(response) {
  const type = "application/wasm";
  if (response.headers.get("content-type")?.startsWith(type)) return response;
  return new Response(response.body, { headers: { "content-type": type } });
}

/** The file with its memory's import not shared, and the memory that it asks for. */
async function unshared(original) {
  const reader = original.body.getReader();
  let head = new Uint8Array(0);
  let found = null;
  while (!found) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`${FILE.pathname} ends before its imports. Check that the site was published whole.`);
    const longer = new Uint8Array(head.length + value.length);
    longer.set(head);
    longer.set(value, head.length);
    head = longer;
    found = memoryImport(head);
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

/** A bit of a memory's limits. */
const SHARED = 2;

/**
 * Where the import of the memory has its flags, and its limits in pages; null while the section of
 * imports isn't there whole. (WebAssembly Core Specification, "Binary Format", "Modules".)
 */
function memoryImport(bytes) {
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
  const kinds = [
    () => number(), // a function's type
    null, // tables are not imported
    () => ({ flags: at++, initial: number(), maximum: number() }),
    () => { at += 2; }, // a global's type and whether it changes
  ];
  for (let left = number(); left > 0; left--) {
    skipped(); // its module
    skipped(); // its name
    const limits = kinds[bytes[at++]]();
    if (limits?.flags) return limits;
  }
  throw new Error(`${FILE.pathname} imports no memory. It is not the one that belongs to this page.`);
}
