// Prompts that are kept: those that were drawn, negative ones by name, and trigger words of what is in the library.

import assert from "node:assert/strict";
import { test } from "node:test";
import { adapter, file, open } from "./page.js";

const value = (page, selector) => page.run((wanted) => document.querySelector(wanted).value, selector);
const UP = { key: "ArrowUp", windowsVirtualKeyCode: 38 };
const DOWN = { key: "ArrowDown", windowsVirtualKeyCode: 40 };

/** @param {import("./page.js").Page} page */
async function alt(page, key) {
  for (const type of ["rawKeyDown", "keyUp"]) await page.devtools("Input.dispatchKeyEvent", { type, ...key, modifiers: 1 });
}

async function draw(page, prompt, negative) {
  await page.set("#prompt", prompt);
  await page.set("#negative-prompt", negative);
  await page.draw();
  await page.until("nothing to be drawn", () => document.body.dataset.state === "ready");
}

const unfold = (page, selector) => page.run((wanted) => document.querySelector(wanted).closest("details").setAttribute("open", ""), selector);
const earlier = (page) => page.run(() => [...document.querySelectorAll("#earlier-list li")].map((one) => one.innerText.replace(/\s*\n\s*/g, " / ")));

test("what was drawn can be taken again, from the list or by keys, after a reload too, until it is forgotten", async () => {
  const page = await open();
  assert.equal(await page.run(() => document.querySelector("#earlier").hidden), true, "nothing was drawn yet");
  await draw(page, "a red cat", "");
  await draw(page, "a blue dog of a kind that needs a great many words to say what it is, in one long line", "blurry, low quality");
  await draw(page, "a red cat", "");
  await unfold(page, "#settings summary");
  await unfold(page, "#earlier-list");
  assert.deepEqual(await earlier(page), ["a red cat", "a blue dog of a kind that needs a great many words to say what it is, in one long line / without blurry, low quality"]);
  await page.shows("earlier prompts", "#earlier");

  await page.set("#prompt", "not drawn yet");
  await page.run(() => document.querySelector("#prompt").focus());
  await alt(page, UP);
  assert.equal(await value(page, "#prompt"), "a red cat");
  await alt(page, UP);
  assert.deepEqual([await value(page, "#prompt").then((text) => text.slice(0, 10)), await value(page, "#negative-prompt")], ["a blue dog", "blurry, low quality"]);
  await alt(page, DOWN);
  await alt(page, DOWN);
  assert.deepEqual([await value(page, "#prompt"), await value(page, "#negative-prompt")], ["not drawn yet", ""]);

  await page.reload();
  assert.equal((await page.run(() => document.querySelectorAll("#earlier-list li").length)), 2);
  await unfold(page, "#settings summary");
  await unfold(page, "#earlier-list");
  await page.click("#earlier-list li:nth-child(2) button");
  assert.equal(await value(page, "#negative-prompt"), "blurry, low quality");
  const other = await page.another();
  await other.ready();
  await draw(other, "from another tab", "");
  await page.until("the list to follow", () => document.querySelectorAll("#earlier-list li").length === 3);
  await page.devtools("Page.bringToFront");
  await page.click("#earlier-forget");
  await page.says("#confirm-text", "All 3 in this browser.");
  await page.shows("forget prompts");
  await page.click("#confirm-yes");
  await page.until("the list to be gone", () => document.querySelector("#earlier").hidden);
  assert.equal(await page.run(() => localStorage.getItem("lorakeet.prompts")), "[]");
  assert.equal(await value(page, "#negative-prompt"), "blurry, low quality");
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("negative prompts by name are added once, kept under a name of one's own, and removed", async () => {
  const page = await open();
  await unfold(page, "#settings summary");
  await unfold(page, "#negative-list");
  await page.shows("negative prompts", "#negative-list");
  await page.click("#negative-keep button");
  await page.message("It has no name yet");
  await page.set("#negative-name", "mine");
  await page.click("#negative-keep button");
  await page.message("Write a negative prompt first, then name it.");
  await page.click("#negative-list li:nth-child(3) button");
  await page.click("#negative-list li:nth-child(1) button");
  await page.click("#negative-list li:nth-child(3) button");
  const both = "text, watermark, signature, logo, worst quality, low quality, lowres, blurry, jpeg artifacts";
  assert.equal(await value(page, "#negative-prompt"), both);
  await page.click("#negative-keep button");
  await page.says("#negative-list li:first-child", "mine");
  assert.equal(await value(page, "#negative-name"), "");
  await page.reload();
  await unfold(page, "#settings summary");
  await unfold(page, "#negative-list");
  await page.set("#negative-prompt", "");
  await page.click("#negative-list li:first-child .shelf-line");
  assert.equal(await value(page, "#negative-prompt"), both);
  await page.shows("negative prompts with an own one", "#negative-list");
  await page.click("#negative-list .remove");
  await page.until("it to be gone", () => !document.querySelector("#negative-list").innerText.includes("mine"));
  await page.close();
});

test("storage that is full or switched off is said, and the prompts are there until the tab is closed", async () => {
  const page = await open({ before: "Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError'); };" });
  await draw(page, "a red cat", "");
  await page.message("Prompts are not kept");
  await unfold(page, "#settings summary");
  await unfold(page, "#earlier-list");
  assert.deepEqual(await earlier(page), ["a red cat"]);
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("an adapter's trigger words are a click away in the library too, loaded or not", async () => {
  const page = await open({ plays: { addAdapter: () => ({ report: { trigger_words: ["night style", "nghtstl"] } }) } });
  await page.drop(file("night.safetensors", adapter(1)));
  await page.until("its card", () => document.querySelector(".card .triggers .chip"));
  await page.click("[data-testid=keep-adapters]");
  await page.says("#keep-adapters", "Kept for the next visit");
  await page.click(".card .remove");
  await page.set("#prompt", "a cat");
  await unfold(page, "#library summary");
  await unfold(page, ".entry summary");
  await page.shows("trigger words in the library", ".entry");
  await page.click(".entry .triggers .chip:nth-child(2)");
  await page.click(".entry .triggers .chip:nth-child(2)");
  assert.equal(await value(page, "#prompt"), "a cat, nghtstl");
  assert.deepEqual(page.errors, []);
  await page.close();
});
