// What this browser keeps for the page, by kind, in bytes: measured where it lies, whoever put it there.

const PREFIX = "lorakeet.";
/** The service worker's (web/service-worker.js). */
const CACHES = /^lorakeet-/;

/** The folders of the browser's private files and what is in each. @returns {Promise<Record<string, number>>} */
export async function folders() {
  /** @type {Record<string, number>} */
  const sizes = {};
  try {
    const top = await navigator.storage.getDirectory();
    for await (const [name, handle] of top.entries()) sizes[name] = await bytesIn(handle);
  } catch {
    // a browser that keeps no files has none
  }
  return sizes;
}

/** A file may be moved or deleted while it is looked for. @param {FileSystemHandle} handle @returns {Promise<number>} */
async function bytesIn(handle) {
  try {
    if (handle instanceof FileSystemFileHandle) return (await handle.getFile()).size;
    let bytes = 0;
    for await (const inside of /** @type {FileSystemDirectoryHandle} */ (handle).values()) bytes += await bytesIn(inside);
    return bytes;
  } catch {
    return 0;
  }
}

/** The page's own files, kept to open without the network. @returns {Promise<number>} */
export async function page() {
  let bytes = 0;
  for (const name of await globalThis.caches?.keys().catch(() => []) ?? []) {
    if (!CACHES.test(name)) continue;
    const cache = await caches.open(name);
    for (const request of await cache.keys()) bytes += (await (await cache.match(request))?.blob())?.size ?? 0;
  }
  return bytes;
}

/** Prompts, settings and choices. */
export function small() {
  return names().reduce((sum, name) => sum + 2 * (name.length + localStorage.getItem(name).length), 0);
}

export function forgetSmall() {
  for (const name of names()) localStorage.removeItem(name);
  // this tab's parts hear of it as another tab's do
  dispatchEvent(new StorageEvent("storage", { key: null }));
}

/** @returns {string[]} */
function names() {
  try {
    return Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
  } catch {
    return []; // switched off
  }
}
