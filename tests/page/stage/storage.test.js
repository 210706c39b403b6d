// What takes how much of the browser's room, and what goes by kind.

import assert from "node:assert/strict";
import { test } from "node:test";
import { adapter, checkpoint, file, open } from "./page.js";

/** @param {import("./page.js").Page} page @returns {Promise<Record<string, string>>} what each row says */
const rows = (page) => page.run(() => Object.fromEntries([...document.querySelectorAll("#storage-rows tr")].map((row) => [row.dataset.kind, [...row.children].map((cell) => cell.innerText.replace(/\s*\n\s*/g, ", ")).join(" | ")])));

/** @param {import("./page.js").Page} page */
async function look(page) {
  await page.run(() => document.querySelector("#library").setAttribute("open", ""));
  await page.click("#storage-open");
  await page.until("what is kept", () => document.querySelector("#storage-total").textContent.includes("in use"));
}

test("the panel says what takes how much, and each kind can be deleted with a word of what goes", async () => {
  const page = await open();
  await look(page);
  assert.deepEqual(Object.keys(await rows(page)).filter((kind) => !["small"].includes(kind)), ["model", "adapter", "runs"], "what isn't there has no row, but for the three");
  assert.equal((await rows(page)).model, "Models, 0 models | nothing | ");
  await page.shows("storage empty");
  await page.click("#storage .primary");

  await page.drop(file("night.safetensors", adapter(1)));
  await page.until("its card", () => document.querySelector(".card"));
  await page.click("[data-testid=keep-adapters]");
  await page.says("#keep-adapters", "Kept for the next visit");
  await page.drop(file("dream.safetensors", Buffer.concat([checkpoint(5), Buffer.alloc(3_000_000)])));
  await page.says("#model-name", "dream");
  await page.click("[data-testid=keep-model]");
  await page.says("#keep-model", "Kept for the next visit");
  await page.run(() => {
    localStorage.setItem("lorakeet.prompts", JSON.stringify([{ prompt: "a red cat", negative: "" }]));
    localStorage.setItem("of another page", "stays");
  });
  await page.run(async () => {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("other", { create: true });
    const stream = await (await folder.getFileHandle("file", { create: true })).createWritable();
    await stream.write(new Uint8Array(250_000));
    await stream.close();
  });
  await look(page);
  const full = await rows(page);
  assert.equal(full.model, "Models, 1 model | 3 MB | Delete…");
  assert.equal(full.adapter, "Adapters, 1 adapter | 1 kB | Delete…");
  assert.match(full.rest, /^Other.* \| 0\.25 MB \| $/);
  await page.shows("storage");

  await page.click("[data-kind=model] button");
  await page.says("#confirm-text", "the demo model takes its place");
  await page.shows("delete all models");
  await page.click("#confirm-dialog [value=cancel]");
  assert.equal((await rows(page)).model, full.model);
  await page.click("[data-kind=model] button");
  await page.click("#confirm-yes");
  await page.until("no model", () => document.querySelector("[data-kind=model]").textContent.includes("0 models"));
  await page.says("#model-name", "Emoji Diffusion");
  await page.click("[data-kind=adapter] button");
  await page.click("#confirm-yes");
  await page.until("no adapter", () => document.querySelector("[data-kind=adapter]").textContent.includes("0 adapters"));
  assert.equal(await page.run(() => document.querySelectorAll(".card").length), 0);
  await page.click("[data-kind=small] button");
  await page.click("#confirm-yes");
  await page.until("no prompts", () => !localStorage.getItem("lorakeet.prompts"));
  assert.equal(await page.run(() => localStorage.getItem("of another page")), "stays");
  assert.deepEqual(page.errors, []);
  await page.close();
});
