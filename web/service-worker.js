// Two things that a page of static files can't do by itself: be cross-origin isolated where the host
// sends no headers for it, and open a second time without the network.
//
// `cargo xtask build` writes the page's files and what they hold into FILES. A version is this script
// with its list: the browser fetches the script at each visit, and where a byte of it differs it
// installs the new one beside the old, with a cache of its own, filled whole and checked before it is
// ever used. So modules and wasm of two builds never meet, whatever the host has been given meanwhile.

/**
 * Path to [bytes, sum], and true where a file is kept only once it has been used: not everybody needs it.
 * null: nothing is kept, as when the sources are served themselves.
 */
const FILES = null;

const PREFIX = "lorakeet-";

/** With these a document, its workers and its own files make a page that is cross-origin isolated. */
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};

const version = FILES && PREFIX + sum(new TextEncoder().encode(JSON.stringify(FILES)));

/** Windows that are about to load something else. */
const leaving = new Set();

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => {
  const { method, url, cache, mode } = event.request;
  const { origin, pathname } = new URL(url);
  if (method !== "GET" || origin !== location.origin) return;
  if (cache === "only-if-cached" && mode !== "same-origin") return; // DevTools asks so; fetch() would throw
  // Who asks for a part of itself has stayed after all.
  if (mode !== "navigate") leaving.delete(event.clientId);
  event.respondWith(answer(event.request, pathname));
});
self.addEventListener("message", (event) => {
  const { data, source } = event;
  if (data === "leaving") leaving.add(source.id);
  if (data === "now") self.skipWaiting();
  // A page that was loaded before there was a service worker has fetched past it.
  if (FILES?.[data.used]) event.waitUntil(late(data.used).catch(() => {}));
});

async function install() {
  if (FILES) {
    try {
      await fill();
    } catch (error) {
      await caches.delete(version);
      // Where there is a version that works it stays. Where a host hands out other bytes than were built,
      // the page still gets its headers.
      if (self.registration.active || error.name !== "OtherBytes") throw error;
    }
  }
  if (!self.registration.active) await self.skipWaiting();
}

async function fill() {
  const cache = await caches.open(version);
  await Promise.all(Object.entries(FILES).map(async ([path, [, , late]]) => {
    if (!late || await usedBefore(path)) await cache.put(address(path), await fetched(path));
  }));
}

const address = (path) => new URL(path, self.registration.scope);

/** Whether a version before this has it: who used it then will again. */
async function usedBefore(path) {
  for (const name of await caches.keys()) {
    if (name.startsWith(PREFIX) && await (await caches.open(name)).match(address(path))) return true;
  }
  return false;
}

/** A file that is kept from its first use on. */
async function late(path) {
  const cache = await caches.open(version);
  const kept = await cache.match(address(path));
  if (kept) return kept;
  const response = await fetched(path);
  await cache.put(address(path), response.clone());
  return response;
}

/** A file of this version. Throws where the host has another. */
async function fetched(path) {
  const [length, wanted] = FILES[path];
  // Asked for anew unless the host says that it is the same: it may be of the build before.
  const response = await fetch(address(path), { cache: "no-cache" });
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (bytes.length !== length || sum(bytes) !== wanted) {
    throw Object.assign(new Error(`${path} isn't that of this build`), { name: "OtherBytes" });
  }
  const headers = { "Content-Type": type(path, response), ...ISOLATION };
  return new Response(bytes, { headers });
}

/** FNV-1a in 32 bits: tells builds apart, which is all that it is for. `xtask/src/version.rs` has it too. */
function sum(bytes) {
  let state = 2166136261;
  for (let i = 0; i < bytes.length; i++) state = Math.imul(state ^ bytes[i], 16777619);
  return state >>> 0;
}

/** WebAssembly is compiled while it arrives only under its own type, which not every host knows. */
function type(path, response) {
  return path.endsWith(".wasm") ? "application/wasm" : response.headers.get("Content-Type") ?? "application/octet-stream";
}

async function activate() {
  for (const name of await caches.keys()) {
    if (name.startsWith(PREFIX) && name !== version) await caches.delete(name);
  }
  // Pages that are open stay as they are: what they load later shall be what they began with.
}

async function answer(request, pathname) {
  if (request.mode === "navigate" && await replaced()) {
    // The new version has the next load, which is this one: once more, then under that.
    return new Response(`<link rel="icon" href="data:,">`, { headers: { "Content-Type": "text/html", Refresh: "0" } });
  }
  const path = pathname.slice(new URL(self.registration.scope).pathname.length);
  const file = path === "" || path.endsWith("/") ? `${path}index.html` : path;
  if (FILES && Object.hasOwn(FILES, file)) {
    const kept = await caches.open(version);
    const response = await kept.match(address(file));
    if (response) return response;
    // A host that has a newer build by now can't complete this one.
    if (FILES[file][2]) return late(file).catch((error) => isolated(new Response(error.message, { status: 503 })));
  }
  return isolated(await fetch(request));
}

/** Whether a newer version waits and no window but the one that is loading is in its way. */
async function replaced() {
  const { waiting } = self.registration;
  if (!waiting) return false;
  // What a window says when it leaves comes by another way than what it asks for next.
  for (let tries = 0; tries < 5; tries++) {
    const windows = await self.clients.matchAll({ type: "window" });
    if (windows.every(({ id }) => leaving.has(id))) {
      waiting.postMessage("now");
      return true;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}

/** The same with the headers, unless the host sends its own. */
function isolated(response) {
  if (response.type === "opaque" || response.type === "opaqueredirect" || response.status === 0) return response;
  if (response.headers.has("Cross-Origin-Embedder-Policy")) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(ISOLATION)) headers.set(name, value);
  const { status, statusText } = response;
  return new Response([204, 205, 304].includes(status) ? null : response.body, { status, statusText, headers });
}
