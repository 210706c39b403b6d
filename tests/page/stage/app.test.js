// The page as an app: its manifest, files that the system opens with it, and what it says of the network.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { adapter, open } from "./page.js";

const WEB = new URL("../../../web/", import.meta.url);
const MANIFEST = new URL("manifest.webmanifest", WEB);

test("the manifest is one that Chromium takes, within the page's folder, and its icons have the sizes it names", async () => {
  const page = await open();
  const { errors, data, url } = await page.devtools("Page.getAppManifest");
  assert.deepEqual(errors, []);
  assert.equal(url, `${page.address}web/manifest.webmanifest`);
  const manifest = JSON.parse(data);
  assert.deepEqual(manifest, JSON.parse(readFileSync(MANIFEST, "utf8")));
  for (const address of [manifest.start_url, manifest.scope, ...manifest.file_handlers.map(({ action }) => action)]) {
    assert.equal(new URL(address, url).href, page.address);
  }
  for (const { src, sizes, type } of manifest.icons.filter((icon) => icon.type === "image/png")) {
    const png = readFileSync(new URL(src, WEB));
    assert.equal(`${png.readUInt32BE(16)}x${png.readUInt32BE(20)}`, sizes, src);
    assert.equal(await page.run(async (at) => (await fetch(at)).headers.get("content-type"), `/web/${src}`), type);
  }
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("files that the system opens with the page are taken as dropped ones, and one that can't be read is named", async () => {
  const before = "Object.defineProperty(window, 'launchQueue', { value: { setConsumer(take) { window.launch = take; } } })";
  const page = await open({ before });
  await page.run(() => window.launch({ files: [] }));
  await page.run((bytes) => {
    const file = new File([new Uint8Array(bytes)], "night.safetensors");
    const gone = { kind: "file", name: "gone.safetensors", getFile: () => Promise.reject(new DOMException("", "NotFoundError")) };
    window.launch({ files: [{ kind: "file", name: file.name, getFile: () => Promise.resolve(file) }, gone] });
  }, [...adapter(1)]);
  assert.match(await page.message("gone.safetensors"), /can't be read/);
  await page.until("its card", () => document.querySelector(".card .name")?.textContent === "night");
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("the page says that it works offline once all of it is kept, and not before", async () => {
  const page = await open({ ready: false });
  await page.ready();
  assert.equal(await page.text("#offline"), "", "sources that are served themselves are never kept");
  await page.close();

  const builds = [];
  const built = await open({ site: (site) => builds.push(site.build()), ready: false });
  await Promise.all(builds);
  await built.go();
  await built.ready();
  await built.says("#offline", "Works offline: all of this page is kept in this browser.");
  assert.ok(await built.run(async () => Boolean(await caches.match(new URL("whole", location.href)))));
  await built.shows("works offline", "#offline");
  assert.deepEqual(built.errors, []);
  await built.close();
});

test("without the network the page says what waits for it, and a download says why it came to nothing", async () => {
  const page = await open();
  const network = (offline) => page.devtools("Network.emulateNetworkConditions", { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  await network(true);
  await page.says("#offline", "No network. Everything here works without it; only downloads wait. Leave this tab open: not all of the page is kept yet.");
  await page.shows("no network", "#offline");
  await page.run(() => document.querySelector("#library").setAttribute("open", ""));
  await page.click("#download-open");
  await page.set("#download-address", "huggingface.co/owner/name");
  await page.click("#download-go");
  await page.says("#download-problem", "There is no network. Downloads need it; everything else on this page goes on without.");
  await page.shows("download without network");
  await page.click("#download-dialog [value=close]");
  await network(false);
  await page.until("nothing more to say", () => document.querySelector("#offline").textContent === "");
  await page.close();
});

test("the button that installs the page is there where the browser offers it, and asks once", async () => {
  const page = await open();
  await page.click("#about-open");
  assert.equal(await page.run(() => document.querySelector("#install").hidden), true);
  await page.run(() => {
    const offer = Object.assign(new Event("beforeinstallprompt", { cancelable: true }), { prompt: () => { document.body.dataset.prompted = String(offer.defaultPrevented); return Promise.resolve(); } });
    dispatchEvent(offer);
  });
  await page.shows("about with install", "#install");
  await page.click("#install");
  await page.until("the button to go", () => document.body.dataset.prompted === "true" && document.querySelector("#install").hidden);
  await page.close();
});
