// Starts the threads of the CPU backend.

/** More than this share the memory's bandwidth, not the work. */
const MOST = 8;

/** A thread that hasn't begun after so long is done without. */
const PATIENCE_MS = 10_000;

/** How many threads are worth having, the engine's among them. */
export function threadsWanted() {
  return self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency ?? 1, MOST) : 1;
}

/**
 * Nothing of the module may run until this is over: threads allocate when they begin.
 * @param {{threadMaterial: () => object?, threadsReady: (count: number, sleep: boolean) => void}} wasm
 * @param {number} count    of threads, the caller's among them
 * @param {(name: string) => Worker} start    starts thread.js
 * @returns {Promise<number>} how many there are
 */
export async function startThreads(wasm, count, start) {
  const material = count > 1 ? wasm.threadMaterial() : null;
  if (!material) return 1;
  let thread = 1;
  try {
    // one after the other: none may allocate beside another
    for (; thread < count; thread++) await started(start(`lorakeet thread ${thread}`), { ...material, thread });
  } catch (error) {
    // fewer do as well
    console.warn(error);
  }
  wasm.threadsReady(thread - 1, !("document" in self));
  return thread;
}

/** @param {Worker} worker @param {object} message @returns {Promise<void>} */
function started(worker, message) {
  return /** @type {Promise<void>} */ (new Promise((resolve, reject) => {
    worker.addEventListener("message", ({ data }) => (data.ready ? resolve() : reject(new Error(data.error))));
    worker.addEventListener("error", (event) => reject(new Error(event.message || "a thread could not be started")));
    setTimeout(() => reject(new Error("a thread didn't start")), PATIENCE_MS);
    worker.postMessage(message);
  })).catch((error) => {
    // It must not begin later, beside the others' work.
    worker.terminate();
    throw error;
  });
}
