// Three things that a page of static files can't do by itself: have its policy sent as a header, be cross-origin
// isolated where the host sends no headers for it, and open a second time without the network.
//
// `cargo xtask build` writes the page's files and what they hold into FILES. A version is this script with its
// list: the browser fetches the script at each visit, and where a byte of it differs it installs the new one
// beside the old, with a cache of its own, filled whole and checked before it is ever used. So modules and wasm
// of two builds never meet, whatever the host has been given meanwhile. The old one answers until a person says
// so on the page (web/visits.js), or every window of it is closed.
//
// The very first one is there at once, sends headers along with what the host answers, and fills its cache when
// the page has loaded everything: the browser has it all by then, and no file is loaded twice.
//
// Other pages of this origin are none of its business: it answers for the files in its list alone.

/**
 * Path to [bytes, sum], and true where a file is kept only once it has been used: not everybody needs it.
 * null in the sources: then there is nothing to keep, and what an earlier build left here goes.
 * @type {any}
 */
const FILES = null;

/** Path to the headers that a file goes out with (`xtask/src/policy.rs`); "" for all that have no entry. @type {any} */
const HEADERS = null;

/** Stands in every document of this build. */
const BUILD = "";

const PREFIX = "lorakeet-";

/** Beside the files of a version that is kept whole. */
const WHOLE = "whole";

let whole = false;

/** Since when a host hands out other bytes than a version's. */
const REFUSED = "lorakeet refused";

/** A host that hands out other bytes for so long changes them itself; an upload is over before. */
const UPLOAD_MS = 24 * 60 * 60 * 1000;

/** A tab that doesn't answer for so long is frozen, and does nothing. */
const ANSWER_MS = 1000;

const version = FILES && PREFIX + sum(new TextEncoder().encode(JSON.stringify([FILES, HEADERS])));

const fetchOwn = withholdOthers();

self.addEventListener("install", (event) => event.waitUntil(FILES ? install() : self.skipWaiting()));
self.addEventListener("activate", (event) => event.waitUntil(FILES ? activate() : leave()));
self.addEventListener("notificationclick", (event) => event.waitUntil(toTheFront(event.notification)));
self.addEventListener("fetch", (event) => {
  const { method, cache, mode } = event.request;
  const path = FILES && method === "GET" ? ownPath(event.request.url) : null;
  if (path === null) return;
  if (cache === "only-if-cached" && mode !== "same-origin") return; // DevTools asks so; fetch() would throw
  event.respondWith(answer(event.request, path));
});
self.addEventListener("message", (event) => {
  const { data, source, ports: [port] } = event;
  if (data === "now") event.waitUntil(self.skipWaiting());
  if (data === "others") event.waitUntil(others(source).then((found) => port.postMessage(found)));
  // A page that was loaded before there was a service worker has fetched past it.
  if (FILES?.[data.used]) event.waitUntil(late(data.used).catch(() => {}));
  if (data === "loaded") event.waitUntil(keepAll().then(isWhole).then((all) => port?.postMessage(all)));
});

/**
 * No host is sure to send a policy with this script. So whatever could ask another origin goes before anything
 * else runs, and what is left asks this one alone.
 * @returns {typeof fetch}
 */
function withholdOthers() {
  const { fetch } = self;
  const ways = [
    [self, ["fetch", "WebSocket", "EventSource", "WebTransport", "FontFace", "importScripts"]],
    [self.Cache?.prototype, ["add", "addAll"]],
    [self.BackgroundFetchManager?.prototype, ["fetch"]],
    [self.Clients?.prototype, ["openWindow"]],
    [self.WindowClient?.prototype, ["navigate"]],
  ];
  for (const [owner, names] of ways) {
    for (let place = owner; place; place = Object.getPrototypeOf(place)) for (const name of names) delete place[name];
  }
  return (request, options) => {
    if (new URL(request instanceof Request ? request.url : request).origin !== location.origin) return Promise.reject(new TypeError("another origin"));
    return fetch.call(self, request, options);
  };
}

/** The path in FILES that an address stands for; null where it is none of this page's. */
function ownPath(url) {
  const { origin, pathname } = new URL(url);
  const scope = new URL(self.registration.scope);
  if (origin !== scope.origin || !pathname.startsWith(scope.pathname)) return null;
  const path = pathname.slice(scope.pathname.length) || "index.html";
  return Object.hasOwn(FILES, path) ? path : null;
}

/** Asked for as a visitor does: some hosts send from index.html on to its folder. */
const address = (path) => new URL(path === "index.html" ? "./" : path, self.registration.scope);

async function install() {
  if (!self.registration.active) return self.skipWaiting();
  try {
    await fill();
    await caches.delete(REFUSED);
  } catch (error) {
    await caches.delete(version);
    // The version that works stays, unless this would be for ever. A host that always hands out other bytes than
    // were built is left to answer itself, with the page's headers.
    if (error.name !== "OtherBytes" || await isUploading()) throw error;
  }
}

/** The page that came first has loaded what it needs. */
async function keepAll() {
  if (await isWhole() || await kept(version, REFUSED) && await isUploading()) return;
  try {
    await fill();
    await caches.delete(REFUSED);
  } catch (error) {
    // the host is gone, or changes its files: it goes on answering itself, and a later visit tries again
    if (error.name === "OtherBytes") await refusedSince();
    await caches.delete(version);
  }
}

/** Since when the host has handed out other bytes than this version's, in milliseconds: from now on, or noted before. */
async function refusedSince() {
  const note = await kept(version, REFUSED);
  if (note) return Number(await note.text());
  const now = Date.now();
  await caches.delete(REFUSED);
  await (await caches.open(REFUSED)).put(address(version), new Response(String(now)));
  return now;
}

/** Whether the host may still be on its way to this version. */
async function isUploading() {
  const since = await refusedSince();
  return Date.now() - since < UPLOAD_MS;
}

async function fill() {
  const cache = await caches.open(version);
  const files = Object.entries(FILES).map(async ([path, [, , late]]) => {
    if (await kept(path)) return;
    const response = await copied(path) ?? (!late || await usedBefore(path) ? await fetched(path) : null);
    if (response) await cache.put(address(path), response);
  });
  // all of them, even if one fails: what comes later would otherwise fill a cache that is given up
  const failed = (await Promise.allSettled(files)).find((file) => file.status === "rejected");
  if (failed) throw failed.reason;
  await cache.put(address(WHOLE), new Response());
}

/** What a cache has under a path; a cache that isn't there stays so. */
function kept(path, cacheName = version) {
  return caches.match(address(path), { cacheName });
}

/** Whether everything of this version is kept, so that it can answer without the host. */
async function isWhole() {
  whole ||= Boolean(await kept(WHOLE));
  return whole;
}

/** What the versions before this one have under a path. */
async function* before(path) {
  for (const name of await caches.keys()) {
    if (!name.startsWith(PREFIX) || name === version) continue;
    const response = await kept(path, name);
    if (response) yield response;
  }
}

/** A file that is the same as in the version before. */
async function copied(path) {
  for await (const response of before(path)) {
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (isOfThisBuild(path, bytes)) return sent(path, bytes, response);
  }
  return null;
}

/** Whether a version before this has it: who used it then will again. */
async function usedBefore(path) {
  for await (const _ of before(path)) return true;
  return false;
}

/** A file that is kept from its first use on. */
async function late(path) {
  const there = await kept(path);
  if (there) return there;
  const response = await fetched(path);
  await (await caches.open(version)).put(address(path), response.clone());
  return response;
}

/** A file of this version. Throws where the host has another. */
async function fetched(path) {
  // A page that has just been opened has loaded most files, and the browser has them still. They may be of the
  // build before, and then the host is asked.
  for (const cache of /** @type {const} */ (["force-cache", "no-cache"])) {
    const response = await fetchOwn(address(path), { cache });
    if (!response.ok) {
      if (cache === "no-cache") throw new Error(`${path}: HTTP ${response.status}`);
      continue;
    }
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (isOfThisBuild(path, bytes)) return sent(path, bytes, response);
  }
  throw Object.assign(new Error(`${path} isn't that of this build`), { name: "OtherBytes" });
}

/** Hosts put things of theirs into documents; those are known by their build's mark. */
function isOfThisBuild(path, bytes) {
  const [length, wanted] = FILES[path];
  if (bytes.length === length && sum(bytes) === wanted) return true;
  return path.endsWith(".html") && new TextDecoder().decode(bytes).includes(BUILD);
}

/** A file as it goes out. */
function sent(path, bytes, response) {
  return new Response(bytes, { headers: { "Content-Type": type(path, response), ...headersOf(path) } });
}

const headersOf = (path) => HEADERS[path] ?? HEADERS[""];

/** FNV-1a in 32 bits: tells builds apart, which is all that it is for. `xtask/src/version.rs` has it too. */
function sum(bytes) {
  let state = 2166136261;
  for (let i = 0; i < bytes.length; i++) state = Math.imul(state ^ bytes[i], 16777619);
  return state >>> 0;
}

/** What not every host knows. WebAssembly is compiled while it arrives only under its own type. */
const TYPES = { wasm: "application/wasm", webmanifest: "application/manifest+json" };

function type(path, response) {
  return TYPES[path.split(".").at(-1)] ?? response.headers.get("Content-Type") ?? "application/octet-stream";
}

async function activate() {
  for (const name of await caches.keys()) {
    if (name === REFUSED || name.startsWith(PREFIX) && name !== version) await caches.delete(name);
  }
  // Pages that were loaded without a service worker stay so: what they load later shall be what they began with.
}

/** The sources are served here now: nothing of an earlier build stays in their way. */
async function leave() {
  for (const name of await caches.keys()) if (name === REFUSED || name.startsWith(PREFIX)) await caches.delete(name);
  await self.registration.unregister();
}

/** Shows the page that a notification is of, which is taken away. */
async function toTheFront(notification) {
  notification.close();
  const [page] = await self.clients.matchAll({ type: "window" });
  return page?.focus();
}

async function answer(request, path) {
  if (!await isWhole()) return withHeaders(await fetchOwn(request), path);
  const there = await kept(path);
  if (there) return there;
  // A host that has a newer build by now can't complete this one.
  if (FILES[path][2]) return late(path).catch((error) => new Response(error.message, { status: 503, headers: headersOf(path) }));
  return withHeaders(await fetchOwn(request), path);
}

/** What the host sends, with the page's headers. */
function withHeaders(response, path) {
  if (response.type === "opaque" || response.type === "opaqueredirect" || response.status === 0) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(headersOf(path))) headers.set(name, value);
  if (response.ok) headers.set("Content-Type", type(path, response));
  const { status, statusText } = response;
  return new Response([204, 205, 304].includes(status) ? null : response.body, { status, statusText, headers });
}

/** How many windows besides one are under this version, and in how many of them something is going on. */
async function others(asking) {
  const windows = await self.clients.matchAll({ type: "window" });
  const rest = windows.filter(({ id, frameType }) => id !== asking.id && frameType !== "nested");
  const busy = await Promise.all(rest.map(isBusy));
  return { windows: rest.length, busy: busy.filter(Boolean).length };
}

function isBusy(client) {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => resolve(data);
    setTimeout(() => resolve(false), ANSWER_MS);
    client.postMessage("busy?", [port2]);
  });
}
