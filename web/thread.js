// A thread of the CPU backend: an instance of the page's module on the same memory, which never
// returns (src/kernels/cpu/threads.rs). It must not call JavaScript: of what the module imports it
// has the memory alone.

const STACK_BYTES = 1 << 18;

self.addEventListener("message", async ({ data: { module, memory, kernels, places, failed, thread } }) => {
  try {
    /** @type {WebAssembly.Imports} */
    const imports = {};
    for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
      imports[from] ??= {};
      imports[from][name] = kind === "memory" ? memory : unavailable(name);
    }
    const { exports } = /** @type {{exports: any}} */ (await WebAssembly.instantiate(/** @type {WebAssembly.Module} */ (module), imports));
    exports.__wbindgen_start(STACK_BYTES);
    const written = (await WebAssembly.instantiate(/** @type {WebAssembly.Module} */ (kernels), { env: { memory } })).exports;
    const table = Object.values(exports).find((value) => value instanceof WebAssembly.Table && holds(value, places[0][1]));
    for (const [name, place] of places) table.set(place, written[name]);
    postMessage({ ready: true });
    exports.thread_work(thread);
  } catch (error) {
    // whoever waits for this thread looks here
    Atomics.store(new Int32Array(memory.buffer), failed / 4, 1);
    postMessage({ error: String(error?.message ?? error) });
  }
});

/** What sets up the module's table of JavaScript values has nothing to do here. */
function unavailable(name) {
  if (name.includes("init_externref_table")) return () => {};
  return () => {
    throw new Error(`a thread called ${name}`);
  };
}

/** The other table holds JavaScript values. */
function holds(table, place) {
  return place < table.length && typeof table.get(place) === "function";
}
