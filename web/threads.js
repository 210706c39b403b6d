// Starts the threads of the CPU backend.

/** More than this share the memory's bandwidth, not the work. */
const MOST = 8;

/** How many threads are worth having, the engine's among them. */
export function threadsWanted() {
  return self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency ?? 1, MOST) : 1;
}

/**
 * Nothing of the module may run until this is over: threads allocate when they begin.
 * @param {{threadMaterial: () => object?, threadsReady: (count: number, sleep: boolean) => void}} wasm
 * @param {number} count    of threads, the caller's among them
 * @param {URL | string} script    thread.js
 * @returns {Promise<number>} how many there are
 */
export async function startThreads(wasm, count, script) {
  const material = count > 1 ? wasm.threadMaterial() : null;
  if (!material) return 1;
  const threads = [];
  try {
    for (let thread = 1; thread < count; thread++) threads.push(await started(script, { ...material, thread }));
  } catch (error) {
    // fewer do as well
    console.warn(error);
  }
  wasm.threadsReady(threads.length, typeof document === "undefined");
  return threads.length + 1;
}

function started(script, message) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(script, { type: "module", name: `lorakeet thread ${message.thread}` });
    worker.addEventListener("message", ({ data }) => (data.ready ? resolve(worker) : reject(new Error(data.error))));
    worker.addEventListener("error", (event) => reject(new Error(event.message || "a thread could not be started")));
    worker.postMessage(message);
  });
}
