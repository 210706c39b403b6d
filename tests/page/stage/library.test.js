// The library and downloads: what is kept, what is said of it, and what a full disk or a bad host does.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { after, test } from "node:test";
import { adapter, checkpoint, file, latch, open } from "./page.js";

/** A host of files: by path, what it answers. @type {Map<string, import("node:http").RequestListener>} */
const answers = new Map();
const host = createServer((request, response) => {
  response.setHeader("access-control-allow-origin", "*");
  response.setHeader("access-control-expose-headers", "content-range, content-length");
  const answer = answers.get(new URL(request.url ?? "/", "http://host").pathname);
  if (answer) answer(request, response);
  else response.writeHead(404).end();
});
await new Promise((resolve) => { host.listen(0, "127.0.0.1", () => resolve(null)); });
const { port } = host.address();
const HOST = `http://127.0.0.1:${port}`;
after(() => {
  host.closeAllConnections();
  host.close();
});

const LARGE = Buffer.concat([checkpoint(5), Buffer.alloc(9_000_000, 7)]);

/** All of it, or from where it is asked; up to `most` bytes, then the connection is cut. */
function serve(bytes, most = () => Infinity) {
  return (request, response) => {
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const rest = bytes.subarray(from);
    const range = from > 0 ? { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {};
    response.writeHead(from > 0 ? 206 : 200, { "content-length": rest.length, ...range });
    const part = rest.subarray(0, most());
    if (part.length === rest.length) response.end(part);
    else response.write(part, () => setTimeout(() => response.destroy(), 50));
  };
}

async function unfold(page) {
  await page.run(() => { document.querySelector("#library").setAttribute("open", ""); });
}

/** Pastes an address and asks. */
async function download(page, path, sum = "") {
  await unfold(page);
  await page.click("#download-open");
  await page.set("#download-address", `${HOST}${path}`);
  await page.set("#download-sum", sum);
  await page.click("#download-go");
}

/** What the list says of each entry. @returns {Promise<string[]>} */
function entries(page) {
  return page.run(() => [...document.querySelectorAll(".entry summary")].map((one) => one.innerText.replace(/\s+/g, " ")));
}

test("a library is empty, then holds what is ticked, opens the last model by itself, and deletes what it's told to", async () => {
  const page = await open();
  await unfold(page);
  assert.match(await page.text("#library-empty"), /^Nothing is kept yet/);
  await page.shows("library empty", "#library");
  await page.drop(file("dream.safetensors", checkpoint(1)));
  await page.says("#model-name", "dream");
  await page.drop(file(`night_${"w".repeat(80)}.safetensors`, adapter(1)));
  await page.says("#status", "is on at strength 1");
  await page.click("#keep-model input");
  await page.click("#keep-adapters input");
  await page.until("both to be kept", () => document.querySelectorAll(".entry-use").length === 2 && document.querySelectorAll("[data-state=whole]").length === 2);
  await page.says("#keep-model", "Kept for the next visit");
  await page.shows("library of two", "#library");

  const held = latch();
  page.plays.loading = () => held.opened;
  await page.run(() => { document.documentElement.dataset.old = "1"; });
  await page.devtools("Page.reload");
  await page.until("the last model to open", () => !document.documentElement.dataset.old && document.querySelector("#status")?.textContent === "Loading dream…");
  await page.shows("the last model opens");
  held.open();
  await page.ready();
  assert.equal(await page.text("#model-name"), "dream");

  await unfold(page);
  await page.run(() => { for (const fold of document.querySelectorAll(".entry details")) fold.setAttribute("open", ""); });
  await page.until("the entry in use", () => [...document.querySelectorAll(".entry-use")].some((one) => one.textContent === "Loaded"));
  await page.shows("library unfolded", ".entry");
  const id = await page.run(() => [...document.querySelectorAll(".entry")].find((entry) => entry.textContent.includes("dream")).dataset.entry);
  await page.click(`[data-entry="${id}"] .entry-delete`);
  await page.says("#confirm-text", "It is loaded: the demo model takes its place.");
  await page.shows("delete from the library");
  await page.click("#confirm-yes");
  await page.says("#model-name", "Emoji Diffusion");
  await page.until("the entry to go", () => document.querySelectorAll(".entry").length === 1);
  await page.close();
});

test("a model that ended the page while it loaded isn't opened by itself again", async () => {
  const page = await open();
  await page.drop(file("heavy.safetensors", checkpoint(1)));
  await page.says("#model-name", "heavy");
  await page.click("#keep-model input");
  await page.says("#keep-model", "Kept for the next visit");
  page.plays.loading = ({ files }) => (files.includes("heavy.safetensors") ? new Promise(() => {}) : {});
  for (const loads of [true, false]) {
    await page.run(() => { document.documentElement.dataset.old = "1"; });
    await page.devtools("Page.reload");
    const words = loads ? "Loading heavy…" : "Ready";
    await page.until(words, (wanted) => !document.documentElement.dataset.old && document.querySelector("#status")?.textContent === wanted, words);
  }
  assert.match(await page.message("heavy was not opened by itself"), /The page ended while it was loading it/);
  await page.shows("not opened by itself");
  await page.close();
});

test("what finds no room in the library is told with what it takes, and stays loaded", async () => {
  const page = await open();
  const { origin } = new URL(page.address);
  await page.devtools("Storage.overrideQuotaForOrigin", { origin, quotaSize: 2_000_000 });
  await page.drop(file("large.safetensors", LARGE));
  await page.says("#model-name", "large");
  await page.click("#keep-model input");
  await page.says("#keep-model", "large was not kept: it takes 9 MB, ");
  assert.deepEqual(await entries(page), []);
  await unfold(page);
  await page.shows("no room in the library", "#keep-model");
  await page.close();
});

test("a browser that keeps no files says so, and all else works", async () => {
  const page = await open({ before: "delete StorageManager.prototype.getDirectory;" });
  await unfold(page);
  await page.says("#library-room", "This browser keeps no files for this page. What is dropped is there until the tab is closed.");
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on");
  assert.equal(await page.run(() => document.querySelector("#keep-adapters").hidden), true);
  await page.shows("no library", "#library");
  await page.draw();
  await page.close();
});

test("a download asks first, comes whole through cuts, and can be paused", async () => {
  let most = 100_000; // of which 64 kB are what there is already: it won't be whole before it is paused
  answers.set("/dream.safetensors", serve(LARGE, () => most));
  const page = await open();
  await unfold(page);
  await page.click("#download-open");
  await page.shows("download dialog");
  await page.set("#download-address", "ftp://example.org/model");
  await page.says("#download-problem", "Only addresses that begin with https");
  await page.set("#download-address", `${HOST}/dream.safetensors`);
  await page.says("#download-asks", "This asks 127.0.0.1");
  await page.run(() => { document.querySelector("#download-more").setAttribute("open", ""); });
  await page.shows("download asks");
  await page.click("#download-go");
  await page.says(".entry-words", "waiting to try again: The connection was cut.");
  await page.shows("download cut", ".entry");
  await page.click(".entry-use");
  await page.says(".entry-words", "paused at");
  await page.shows("download paused", ".entry");
  most = Infinity;
  await page.click(".entry-use");
  await page.message("dream is in the Library");
  assert.match((await entries(page))[0], /^dream model · 9 MB/);
  await page.close();
});

test("a host that refuses, sends a page or another file, and a disk that is full: each in words, and nothing bad stays", async () => {
  answers.set("/login.safetensors", (_, response) => response.writeHead(403).end());
  answers.set("/page.safetensors", (_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<p>log in"));
  answers.set("/swapped.safetensors", serve(LARGE));
  answers.set("/full.safetensors", serve(LARGE));
  const page = await open();
  await download(page, "/login.safetensors");
  await page.message("wants to know who asks (HTTP 403)");
  await download(page, "/page.safetensors");
  await page.message("sent a web page and not the file");
  const promised = createHash("sha256").update("another file").digest("hex");
  await download(page, "/swapped.safetensors", promised);
  await page.message("What came isn't what was promised");
  await page.shows("downloads refused", "#messages");
  const { origin } = new URL(page.address);
  await page.devtools("Storage.overrideQuotaForOrigin", { origin, quotaSize: 3_000_000 });
  await download(page, "/full.safetensors");
  await page.message("The browser's room for files is full");
  await page.shows("download without room", ".entry");
  await page.devtools("Storage.overrideQuotaForOrigin", { origin });
  await page.until("the one without room", () => [...document.querySelectorAll(".entry")].some((entry) => entry.textContent.includes("full") && entry.querySelector(".entry-use")?.textContent === "Resume"));
  const id = await page.run(() => [...document.querySelectorAll(".entry")].find((entry) => entry.querySelector(".entry-name")?.textContent === "full").dataset.entry);
  await page.click(`[data-entry="${id}"] .entry-use`);
  await page.message("full is in the Library");
  await page.close();
});
