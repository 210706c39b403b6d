// The library's worker: copies, sums and deletes, where the page never waits for it. A table of actions, which
// library.js asks for; several may run at a time.

import { Fetcher } from "../download/fetcher.js";
import { Source } from "../download/source.js";
import { packError } from "../protocol.js";
import { Shelf } from "./shelf.js";
import { BrowserStore } from "./store.js";

/** How often progress is told, in ms. */
const TELL = 100;

let opening = null;
const running = new Map();

const actions = {
  list: async (shelf) => shelf.list(),
  keep: async (shelf, { about, files, handle }, options) => shelf.keep(about, files, { handle, ...options }),
  begin: async (shelf, { about, parts, source }) => shelf.begin(about, parts, source),
  fetch: async (shelf, { entry, port }, options) => shelf.fetch(entry, new Fetcher(shelf.store, new Source(port)), options),
  find: async (shelf, { files }, options) => shelf.find(files, options),
  open: async (shelf, { entry }) => shelf.open(entry),
  change: async (shelf, { entry, fields }) => shelf.change(entry, fields),
  remove: async (shelf, { entry }) => shelf.remove(entry),
};

async function opened() {
  const shelf = new Shelf(await BrowserStore.open(), navigator.locks);
  await shelf.sweep();
  return shelf;
}

self.addEventListener("message", async ({ data: { id, abort, action, ...parameters } }) => {
  if (abort) return running.get(abort)?.abort();
  const stop = new AbortController();
  running.set(id, stop);
  let last = 0;
  const onProgress = (progress) => {
    const now = performance.now();
    if (now - last < TELL) return;
    last = now;
    postMessage({ id, progress });
  };
  try {
    const shelf = await (opening ??= opened());
    postMessage({ id, result: await actions[action](shelf, parameters, { signal: stop.signal, onProgress }) });
  } catch (error) {
    postMessage({ id, error: packError(error) });
  } finally {
    running.delete(id);
  }
});
