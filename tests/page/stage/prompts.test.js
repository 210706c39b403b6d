<<<<<<< HEAD
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
=======
// Prompts on the page: the tags of adapters, which are bound to their cards, and how long the prompts are.

import assert from "node:assert/strict";
import { test } from "node:test";
import { adapter, file, open, tensors } from "./page.js";

/** What a card says. @returns {Promise<{on: boolean, strength: number}|null>} */
function card(page, name) {
  return page.run((wanted) => {
    const found = [...document.querySelectorAll(".card")].find((one) => one.dataset.adapter === wanted);
    return found ? { on: found.querySelector(".enabled").checked, strength: found.querySelector(".strength input[type=number]").valueAsNumber } : null;
  }, name);
}

function cardSays(page, name, on, strength) {
  return page.until(`${name} ${on ? "on" : "off"} at ${strength}`, (wanted, state, number) => {
    const found = [...document.querySelectorAll(".card")].find((one) => one.dataset.adapter === wanted);
    return found && found.querySelector(".enabled").checked === state && found.querySelector(".strength input[type=number]").valueAsNumber === number;
  }, name, on, strength);
}

const prompt = (page) => page.run(() => document.querySelector("#prompt").value);

test("a tag moves its adapter's card, and the card writes its tag", async () => {
  const drawn = [];
  const page = await open({ plays: { start: ({ settings, strength }) => { drawn.push([settings.prompt, strength]); } } });
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on at strength 1");
  await page.drop(file("day.safetensors", adapter(2)));
  await page.says("#status", "day is on at strength 1");

  await page.set("#prompt", "a cat, <lora:night:0.5> on a mat");
  await cardSays(page, "night", true, 0.5);
  await cardSays(page, "day", true, 1);
  await page.draw();
  assert.deepEqual(drawn[0], ["a cat,  on a mat", 1 + 0.5], "the UNet's strengths; the tag is none of the prompt's words");
  assert.deepEqual(await page.messages(), []);

  await page.set(".card[data-adapter=night] .strength input[type=range]", "-0.75");
  assert.equal(await prompt(page), "a cat, <lora:night:-0.75> on a mat");
  await page.set(".card[data-adapter=night] .strength input[type=number]", "4");
  assert.equal(await prompt(page), "a cat, <lora:night:4> on a mat");
  await page.click(".card[data-adapter=night] .switch");
  assert.equal(await prompt(page), "a cat, <lora:night:0> on a mat");
  await page.click(".card[data-adapter=night] .switch");
  assert.equal(await prompt(page), "a cat, <lora:night:4> on a mat");
  await page.set(".card[data-adapter=day] .strength input[type=range]", "0.2");
  assert.equal(await prompt(page), "a cat, <lora:night:4> on a mat", "an adapter without a tag gets none");

  await page.set("#prompt", "a cat on a mat");
  await page.until("night to go off", () => !document.querySelector(".card[data-adapter=night] .enabled").checked);
  assert.deepEqual(await card(page, "day"), { on: true, strength: 0.2 });

  await page.set("#prompt", "a cat <lora:Night:1.5>");
  await cardSays(page, "night", true, 1.5);
  await page.click(".card[data-adapter=night] .remove");
  await page.until("night to be gone", () => !document.querySelector(".card[data-adapter=night]"));
  assert.equal(await prompt(page), "a cat ");
  await page.close();
});

test("a picture that is shown again brings its tags and strengths", async () => {
  const page = await open();
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on at strength 1");
  await page.set("#prompt", "a fox <lora:night:0.5>");
  await page.draw();
  await page.set("#prompt", "a panda");
  await page.until("night to go off", () => !document.querySelector(".card[data-adapter=night] .enabled").checked);
  await page.draw();
  await page.until("two pictures", () => document.querySelectorAll("#history button").length === 2);
  await page.run(() => [...document.querySelectorAll("#history button")].find((one) => one.getAttribute("aria-label")?.includes("fox") ?? one.title.includes("fox")).click());
  await cardSays(page, "night", true, 0.5);
  assert.equal(await prompt(page), "a fox <lora:night:0.5>");
  await page.close();
});

test("a tag switches on an adapter that is kept, or a demo adapter, and what is nowhere is left to the engine", async () => {
  const drawn = [];
  const page = await open({ plays: { start: ({ settings, strength }) => { drawn.push([settings.prompt, strength]); } } });
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on at strength 1");
  await page.click("#keep-adapters input");
  await page.until("it to be kept", () => document.querySelectorAll("[data-state=whole]").length === 1);
  await page.reload();
  assert.equal(await card(page, "night"), null);
  await page.set("#prompt", "a cat <lora:night:0.5><lora:ink:0.25> <lora:nowhere:1>");
  await page.click("#generate"); // before the hand has rested
  await cardSays(page, "night", true, 0.5);
  await cardSays(page, "ink", true, 0.25);
  await page.until("a picture", () => document.querySelector("#status").textContent.startsWith("Drawn"));
  assert.deepEqual(drawn[0], ["a cat  <lora:nowhere:1>", 0.75], "nothing is drawn before they are there");
  assert.deepEqual(await page.messages(), []);
  await page.close();
});

test("tokens are counted where it is worth telling", async () => {
  const counted = [];
  const page = await open({ plays: { countTokens: ({ prompt: text }) => { counted.push(text); } } });
  await page.set("#prompt", "a cat");
  await page.until("it to be counted", () => document.querySelector("#prompt-tokens").hidden);
  await page.set("#prompt", "red apple ".repeat(25).trim());
  await page.says("#prompt-tokens", "63 of 75 tokens");
  await page.set("#prompt", "red apple ".repeat(40).trim());
  await page.says("#prompt-tokens", "100 of 150 tokens, read in 2 chunks");
  await page.shows("a long prompt");
  await page.run(() => { document.querySelector("#settings").setAttribute("open", ""); });
  await page.set("#negative-prompt", "blue ".repeat(600));
  await page.says("#negative-tokens", "More than 600 tokens: too long. Shorten it.");
  await page.shows("too long a prompt", "#negative-tokens");
  await page.run(() => [...document.querySelectorAll("#prompt-chips button")].at(-1).click());
  await page.until("a chip's words to be counted", () => document.querySelector("#prompt-tokens").hidden);
  assert.ok(counted.includes("octopus"), "what the page writes is counted as well");
  await page.close();
});

test("an embedding is a card without a slider, whose word goes into the prompt by a click", async () => {
  const report = {
    kind: "Textual inversion", naming: "", summary: "3 vectors, where a prompt has the word “zorp”", modules_used: 0, modules_in_file: 0, unet_modules: 0,
    trigger_words: ["zorp"], embeddings: [{ name: "zorp", vectors: 3 }], notes: ["“zorp” is an ordinary word: wherever a prompt has it, these vectors take its place."],
  };
  const drawn = [];
  const page = await open({ plays: { addAdapter: () => ({ report }), start: ({ strength }) => { drawn.push(strength); } } });
  await page.drop(file("zorp.safetensors", tensors(["emb_params"])));
  await page.says("#status", "zorp is on");
  assert.equal(await page.run(() => document.querySelector(".card .strength").checkVisibility()), false);
  await page.set("#prompt", "a cat");
  await page.click(".card .triggers button");
  assert.match(await prompt(page), /a cat, zorp/);
  await page.draw();
  await page.until("its name without a number", () => document.querySelector("#tag-now").textContent.includes("zorp") && !/zorp \d/.test(document.querySelector("#tag-now").textContent));
  await page.shows("an embedding", ".card");
  await page.click(".card .switch");
  await page.until("the picture without it", () => !document.querySelector("#tag-now").textContent.includes("zorp"));
  assert.deepEqual([...new Set(drawn)].toSorted(), [0, 1]);
>>>>>>> 6e820b8 (Tags of adapters are bound to their cards, words of embeddings are read, and tokens are counted)
  await page.close();
});
