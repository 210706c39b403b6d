// The gallery: what is drawn stays, is looked at, deleted and brought back; and what is said where it can't be kept.

import assert from "node:assert/strict";
import { test } from "node:test";
import { open } from "./page.js";

const NAMES = "#gallery-list li:not([hidden]) button";
const names = (page) => page.run((wanted) => [...document.querySelectorAll(wanted)].map((one) => one.getAttribute("aria-label").replace(/, \w+ \d+, \d{4}.*/, "")), NAMES);
const count = (page, wanted) => page.until(`${wanted} pictures`, (selector, number) => document.querySelectorAll(selector).length === number, NAMES, wanted);

async function drawn(page, prompt, seed) {
  await page.set("#prompt", prompt);
  await page.set("#seed", seed);
  const before = await page.run(() => document.querySelector("#gallery-summary").textContent);
  await page.draw();
  await page.until("it to be kept", (old) => document.querySelector("#gallery-summary").textContent !== old, before);
}

test("pictures stay over a reload, are found, starred, deleted and brought back, in every tab", async () => {
  const page = await open();
  assert.equal(await page.run(() => document.querySelector("#gallery").checkVisibility()), false);
  for (const [prompt, seed] of [["a fox", "1"], ["a panda", "2"], ["a red apple", "3"]]) await drawn(page, prompt, seed);
  await page.says("#gallery-summary", "3 pictures");
  await page.click("#gallery summary");
  await count(page, 3);
  assert.deepEqual(await names(page), ["a red apple, seed 3", "a panda, seed 2", "a fox, seed 1"]);
  await page.shows("gallery", "#gallery");
  await page.reload();
  await page.click("#gallery summary");
  await count(page, 3);
  await page.set("#gallery-search", "panda");
  await count(page, 1);
  await page.click(NAMES);
  await page.says("#viewer-words", "2 of 3: a panda, seed 2");
  await page.shows("viewer");
  await page.click("#viewer-star");
  await page.says("#viewer-star", "★ Starred");
  await page.click("#viewer-compare");
  await page.says("#viewer-words", "3 of 3: a fox");
  await page.until("both", () => !document.querySelector("#viewer-pair").single);
  await page.shows("viewer compares");
  const other = await page.another();
  await other.ready();
  await other.run(() => { document.querySelector("#gallery").open = true; });
  await count(other, 3);
  await page.click("#viewer-delete");
  await page.says("#viewer-words", "2 of 2: a panda");
  await count(other, 2);
  assert.deepEqual(await names(other), ["a red apple, seed 3", "With a star: a panda, seed 2"]);
  await page.click("#viewer-back");
  await count(other, 3);
  await page.says("#viewer-words", "of 3");
  assert.deepEqual([await page.messages(), page.errors, other.errors], [[], [], []]);
  await page.close();
});

test("a picture's settings come back by a click, and by another what was there", async () => {
  const page = await open();
  await drawn(page, "a fox", "7");
  await page.set("#prompt", "something else");
  await page.set("#steps", "9");
  await page.click("#gallery summary");
  await page.click(NAMES);
  await page.click("#viewer-use");
  await page.message("From the gallery (Lorakeet)");
  const form = () => page.run(() => [document.querySelector("#prompt").value, document.querySelector("#seed").value, document.querySelector("#steps").value]);
  assert.deepEqual(await form(), ["a fox", "7", "20"]);
  await page.click("#messages .quiet");
  assert.deepEqual(await form(), ["something else", "7", "9"]);
  await page.close();
});

test("a full disk is said once, and drawing goes on", async () => {
  const page = await open();
  const { origin } = new URL(page.address);
  await page.devtools("Storage.overrideQuotaForOrigin", { origin, quotaSize: 1 });
  await page.set("#seed", "1");
  await page.draw();
  await page.message("The browser has no room for it");
  await page.shows("gallery full", "#messages");
  await page.set("#seed", "2");
  await page.draw();
  await page.until("it to be drawn", () => document.body.dataset.pictureFingerprint?.includes('"seed":"2"'));
  assert.equal((await page.messages()).length, 1);
  await page.devtools("Storage.overrideQuotaForOrigin", { origin });
  await drawn(page, "there is room", "3");
  assert.deepEqual([await page.messages(), page.errors], [[], []]);
  await page.close();
});

test("nothing is kept where nobody wants it, or where there is no storage", async () => {
  const page = await open();
  await page.run(() => document.querySelector("#keep-pictures").click());
  await page.draw();
  await page.reload();
  assert.deepEqual(await page.run(() => [document.querySelector("#gallery").hidden, document.querySelector("#keep-pictures").checked]), [true, false]);
  await page.close();

  // no such call, and one that refuses, as in private windows
  for (const call of ["undefined", "async () => { throw new DOMException('not here', 'SecurityError'); }"]) {
    const bare = await open({ before: `self.StorageManager && Object.defineProperty(StorageManager.prototype, "getDirectory", { value: ${call} });` });
    await bare.draw();
    await bare.until("it to be said", () => /keeps no (files|pictures)/.test(document.querySelector("#keep-pictures-why").textContent));
    assert.deepEqual([await bare.run(() => document.querySelector("#keep-pictures").disabled), await bare.messages(), bare.errors], [true, [], []]);
    await bare.close();
  }
});
