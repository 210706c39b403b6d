// The page by keys: the list of them, what each does and when it does nothing; what is done to a prompt; and its colours
// by hand.

import assert from "node:assert/strict";
import { test } from "node:test";
import { adapter, file, latch, open } from "./page.js";

const CTRL = 2;

/** @param {import("./page.js").Page} page @param {string} key @param {number} [modifiers] */
const press = (page, key, modifiers) => page.press(key, modifiers);
const value = (page, selector) => page.run((wanted) => document.querySelector(wanted).value, selector);
const focused = (page) => page.run(() => document.activeElement?.id);
const blur = (page) => page.run(() => { if (document.activeElement instanceof HTMLElement) document.activeElement.blur(); });

test("keys press what the page has, and none does while somebody writes or a dialog is open", async () => {
  const page = await open();
  await blur(page);
  await press(page, "t");
  assert.equal(await page.run(() => document.body.dataset.view), "train");
  await press(page, "r");
  await press(page, "Enter", CTRL);
  assert.equal(await page.run(() => document.body.dataset.view), "train", "what is on the other tab isn't pressed");
  await press(page, "g");
  await blur(page);

  await page.set("#seed", "7");
  const locked = () => page.run(() => document.querySelector("#seed-lock").checked);
  assert.equal(await locked(), true);
  await press(page, "k");
  assert.equal(await locked(), false);
  assert.equal(await page.run(() => document.querySelector("#settings").open), true, "what changed is seen");
  await press(page, "r");
  assert.notEqual(await value(page, "#seed"), "7");
  await press(page, "s");
  assert.deepEqual(page.errors, [], "there is no picture to save yet");

  await press(page, "p");
  assert.equal(await focused(page), "prompt");
  const before = await value(page, "#prompt");
  for (const letter of "tk?") await press(page, letter);
  assert.equal(await value(page, "#prompt"), `${before}tk?`);
  assert.equal(await page.run(() => document.body.dataset.view), "generate");

  await blur(page);
  await press(page, "?");
  await page.says("#keys", "Draw, as the prompt says");
  await page.shows("keys");
  await press(page, "t");
  assert.equal(await page.run(() => document.body.dataset.view), "generate", "a dialog is open");
  await page.click("#keys-letters");
  await press(page, "Escape");
  await page.until("the list to close", () => !document.querySelector("#keys").open);
  await blur(page);
  await press(page, "t");
  assert.equal(await page.run(() => document.body.dataset.view), "generate", "letters alone are switched off");
  await page.reload();
  await press(page, "t");
  assert.equal(await page.run(() => document.body.dataset.view), "generate", "and stay so");
  await page.click("#about-open");
  await page.click("#keys-open");
  await page.says("#keys", "Letters alone");
  await page.close();
});

test("Ctrl+Enter draws from anywhere, the prompt's field too, and once; Escape stops", async () => {
  const held = latch();
  let pictures = 0;
  const page = await open({ plays: { start: () => { if (++pictures === 2) return held.opened; } } });
  await press(page, "p");
  await press(page, "Enter", CTRL);
  await page.says("#status", "Drawn");
  assert.equal(pictures, 1);
  await page.run(() => document.querySelector("#about-open").focus());
  await press(page, "Enter", CTRL);
  await page.until("it to draw", () => document.querySelector("#generate").textContent === "Stop");
  await press(page, "Escape");
  held.open();
  await page.says("#status", "Stopped");
  await page.close();
});

test("a prompt's words are weighed by keys; every change is taken back, whoever made it", async () => {
  const page = await open({ plays: { addAdapter: () => ({ report: { trigger_words: ["night style"] } }) } });
  await page.drop(file("night.safetensors", adapter(1)));
  await page.until("its card", () => document.querySelector(".triggers .chip") && document.body.dataset.state === "ready");
  const select = (start, end) => page.run((from, to) => {
    document.querySelector("#prompt").focus();
    document.querySelector("#prompt").setSelectionRange(from, to);
  }, start, end);
  await page.set("#prompt", "a red cat");
  await select(7, 7);
  await press(page, "ArrowUp", CTRL);
  await press(page, "ArrowUp", CTRL);
  assert.equal(await value(page, "#prompt"), "a red (cat:1.2)");
  await select(5, 5);
  await page.click(".triggers .chip");
  assert.equal(await value(page, "#prompt"), "a red, night style, (cat:1.2)");
  await page.click(".triggers .chip");
  assert.equal(await value(page, "#prompt"), "a red, night style, (cat:1.2)", "once");
  await page.click("#prompt-chips button:nth-child(2)");
  await page.says("#status", "Drawn");
  assert.equal(await value(page, "#prompt"), "fox");
  await select(3, 3);
  const seen = [];
  for (let i = 0; i < 4; i++) {
    await press(page, "z", CTRL);
    seen.push(await value(page, "#prompt"));
  }
  assert.deepEqual(seen, ["a red, night style, (cat:1.2)", "a red (cat:1.2)", "a red (cat:1.1)", "a red cat"]);
  await press(page, "y", CTRL);
  assert.equal(await value(page, "#prompt"), "a red (cat:1.1)");
  assert.equal(await page.run(() => JSON.parse(localStorage.getItem("lorakeet.prompt") ?? "")), "a red (cat:1.1)", "it is what the next visit begins with");
  await press(page, "x");
  assert.equal((await value(page, "#prompt")).includes("x"), true);
  await press(page, "z", CTRL);
  assert.equal(await value(page, "#prompt"), "a red (cat:1.1)");
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("the page is light or dark by hand, and the next visit too; else as the system has it", async () => {
  const page = await open();
  const ground = () => page.run(() => getComputedStyle(document.body).backgroundColor);
  const theme = () => page.run(() => [...document.querySelectorAll("meta[name=theme-color]")].find(({ media }) => matchMedia(media).matches).content);
  const light = await ground();
  await page.look(1280, "dark");
  const dark = await ground();
  assert.notEqual(dark, light);
  assert.equal(await theme(), "#0f1512");
  await page.click("#about-open");
  await page.set("#look", "light");
  assert.equal(await ground(), light);
  assert.equal(await theme(), "#f5f8f4");
  await page.look(1280, "light");
  await page.set("#look", "dark");
  assert.equal(await ground(), dark);
  assert.equal(await theme(), "#0f1512");
  assert.equal(await page.run(() => getComputedStyle(document.documentElement).colorScheme), "dark", "scroll bars and fields follow");
  await page.shows("dark by hand");
  await page.reload();
  assert.equal(await ground(), dark);
  const other = await page.another("bench.html");
  await other.until("the measure's page to follow", (wanted) => getComputedStyle(document.body).backgroundColor === wanted, dark);
  await page.click("#about-open");
  await page.set("#look", "system");
  assert.equal(await ground(), light);
  await other.until("another tab to follow", (wanted) => getComputedStyle(document.body).backgroundColor === wanted, light);
  await page.close();
});
