// An adapter's strength over the UNet's blocks and a picture's steps: the fold of its card, tags both ways, and what a
// saved picture brings back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { adapter, file, open } from "./page.js";

const prompt = (page) => page.run(() => document.querySelector("#prompt").value);
const value = (page, selector) => page.run((wanted) => document.querySelector(wanted).value, selector);
const summary = (page) => page.text(".spread .summary-line");
/** Waits for a picture, with this adapter's words under it, and nothing to be drawn. */
const drawn = (page, words = "") => page.until(`a picture with “${words}”`, (wanted) => {
  const { state, pictureBase } = document.body.dataset;
  return state === "ready" && pictureBase === "1" && document.querySelector("#two-up").rightLabel.endsWith(wanted);
}, words && `(${words})`);
/** What the picture on show was drawn with. */
const spread = (page) => page.run(() => JSON.parse(document.body.dataset.pictureFingerprint).adapters
  .map(([, , , blocks, curve]) => blocks && { blocks, curve }));
const unfold = (page) => page.run(() => document.querySelector(".spread").setAttribute("open", ""));
const block = (name) => `[data-block=${name}] input`;

/** The page with an adapter on a picture. */
async function withAdapter(plays = {}) {
  const asked = [];
  const page = await open({ plays: { spread: (told) => { asked.push(told.spread); }, ...plays } });
  await page.set("#prompt", "a cat");
  await page.draw();
  await page.drop(file("night.safetensors", adapter(1)));
  await page.until("its card", () => document.querySelector(".card"));
  await drawn(page);
  return { page, asked };
}

/** @param {import("./page.js").Page} page @param {string} selector @param {string} key */
async function press(page, selector, key, code) {
  await page.run((wanted) => document.querySelector(wanted).focus(), selector);
  for (const type of ["rawKeyDown", "keyUp"]) await page.devtools("Input.dispatchKeyEvent", { type, key, windowsVirtualKeyCode: code });
}

test("a strength is spread by sliders, keys, presets and a list, over the steps too, and put back to one", async () => {
  const { page, asked } = await withAdapter();
  assert.equal(await summary(page), "");
  await unfold(page);
  assert.equal(await page.run(() => document.querySelectorAll(".spread-block").length), 16);
  assert.equal(await value(page, ".spread-preset"), "");
  await page.shows("blocks all at one", ".spread-blocks");

  await press(page, block("IN04"), "ArrowLeft", 37);
  await page.says(".spread .summary-line", "IN04 0.95");
  await drawn(page, "IN04 0.95");
  assert.deepEqual([asked.at(-1).blocks.IN04, asked.at(-1).blocks.OUT03, asked.at(-1).curve], [0.95, 1, []]);
  await page.run((wanted) => document.querySelector(wanted).dispatchEvent(new MouseEvent("dblclick")), block("IN04"));
  await page.until("one again", () => document.querySelector(".spread .summary-line").textContent === "");

  await page.set(".spread-preset", "OUTALL");
  assert.deepEqual([await summary(page), await value(page, ".spread-list")], ["OUT blocks", "1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1"]);
  await page.set(".spread-how", "both");
  await page.set(".spread-from", "10");
  await page.set(".spread-to", "60");
  assert.equal(await summary(page), "OUT blocks · rising and falling, steps 10–60 %");
  await page.shows("blocks and steps", ".spread-steps");
  await page.set(".spread-list", "1,2");
  await page.says(".spread-wrong", "This is no list of blocks. Write 17 numbers");
  await page.shows("a list that is none", ".spread-list");
  await page.set(".spread-list", Array.from({ length: 26 }, (_, i) => (i === 14 ? 0.5 : 1)).join(","));
  assert.deepEqual([await value(page, block("OUT03")), await page.text(".spread-wrong")], ["1", ""]);
  assert.equal(await value(page, ".spread-list"), Array.from({ length: 17 }, () => 1).join(","));
  await page.set(".spread-list", "1,1,1,1,1,1,1,-3,1,1,1,1,1,1,1,1,1");
  assert.deepEqual([await summary(page), await value(page, ".spread-preset")], ["M00 -3 · rising and falling, steps 10–60 %", "other"]);

  await page.click(".spread-reset");
  assert.equal(await summary(page), "");
  await page.until("a picture without", () => JSON.parse(document.body.dataset.pictureFingerprint).adapters[0].length === 3);
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("a tag spreads its adapter's strength, the card writes the tag, and what can't be read is said", async () => {
  const { page } = await withAdapter();
  const typed = async (text, words) => {
    await page.set("#prompt", text);
    await page.until(`“${words}” on the card`, (wanted) => document.querySelector(".spread .summary-line").textContent === wanted, words);
  };
  await page.set("#steps", "20");
  await typed("a cat <lora:night:0.8:lbw=OUTALL:start=3:stop=13>", "OUT blocks · steps 10–60 %");
  await unfold(page);
  await page.set(".spread-to", "100");
  assert.equal(await prompt(page), "a cat <lora:night:0.8:lbw=OUTALL:start=3>");
  await page.set(block("M00"), "0.5");
  assert.equal(await prompt(page), "a cat <lora:night:0.8:lbw=1,0,0,0,0,0,0,0.5,1,1,1,1,1,1,1,1,1:start=3>");
  // what no tag can say stays on the card
  await page.set(".spread-preset", "");
  await page.set(".spread-how", "in");
  assert.equal(await prompt(page), "a cat <lora:night:0.8>");
  await typed("a big cat <lora:night:0.7>", "rising, steps 10–100 %");
  await drawn(page, "rising, steps 10–100 %");
  assert.deepEqual(await spread(page), [{ blocks: {}, curve: [[0.1, 0], [1, 1]] }]);
  // steps are counted in those of the picture, and what a tag no longer says is as if nobody had said it
  await typed("a cat <lora:night:0.7:start=11>", "steps 50–100 %");
  await drawn(page, "steps 50–100 %");
  await page.set("#steps", "40");
  await page.draw();
  await page.says(".spread .summary-line", "steps 25–100 %");
  await typed("a cat <lora:night:0.7>", "");
  await typed("a cat <lora:night:0.7:lbw=INALL>", "IN blocks");
  await page.set("#prompt", "a cat <lora:night:0.7:lbw=MINE>");
  await page.says("#prompt-choices", "night, lbw: “MINE” is no list of blocks. Write 17 numbers");
  await page.shows("a tag that can’t be read", "#prompt-choices");
  assert.equal(await summary(page), "IN blocks");
  await typed("a cat", "");
  assert.equal(await page.run(() => document.querySelector(".card .enabled").checked), false);
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("a lost engine, the strip, a saved picture and the library bring a spread back", async () => {
  let losing = false;
  const { page, asked } = await withAdapter({ pull: () => {
    if (!losing) return {};
    losing = false;
    return { panic: "index out of bounds" };
  } });
  await unfold(page);
  await page.set(".spread-preset", "OUTS");
  await page.set(".spread-how", "out");
  const words = "OUTS blocks · falling, steps 0–100 %";
  assert.equal(await summary(page), words);
  await drawn(page, words);
  const [{ blocks, curve }] = await spread(page);

  losing = true;
  asked.length = 0;
  await page.set("#seed", "76");
  await page.click("#generate");
  await page.message("was started again");
  await page.ready();
  await page.set("#seed", "77");
  await page.draw();
  await drawn(page, words);
  assert.deepEqual(asked[0], { blocks, curve }, "a new engine is told");

  await page.click(".spread-reset");
  await page.until("a picture without", () => JSON.parse(document.body.dataset.pictureFingerprint).adapters[0].length === 3);
  await page.click("#history button:nth-child(2)");
  await page.says(".spread .summary-line", words);

  await page.click("[data-testid=keep-adapters]");
  await page.says("#keep-adapters", "Kept for the next visit");
  await page.reload();
  await page.run(() => { for (const name of ["#gallery", "#library"]) document.querySelector(name).setAttribute("open", ""); });
  await page.click("#gallery-list li:nth-child(2) button");
  await page.click("#viewer-use");
  assert.match(await page.message("Settings of a picture"), /night 1 \(OUTS blocks · falling, steps 0–100 %\)/);
  await page.says(".spread .summary-line", words);
  await page.draw();
  assert.deepEqual(await spread(page), [{ blocks, curve }]);
  await page.click(".message .icon");

  // moved, so that the library keeps it
  await page.set(".card .strength input[type=number]", "0.5");
  await page.until("it to be kept", () => document.querySelector(".entry .facts").textContent.includes("Blocks and steps"));
  await page.click(".card .remove");
  await page.click(".entry .entry-use");
  await page.says(".spread .summary-line", words);
  assert.deepEqual(page.errors, []);
  await page.close();
});
