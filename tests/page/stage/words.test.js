// What is in a prompt: the tags of adapters, which are bound to their cards, words of embeddings, and how long it is.

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
  await page.until("its name without a number", () => document.querySelector("#two-up").rightLabel.includes("zorp") && !/zorp \d/.test(document.querySelector("#two-up").rightLabel));
  await page.shows("an embedding", ".card");
  await page.click(".card .switch");
  await page.until("the picture without it", () => !document.querySelector("#two-up").rightLabel.includes("zorp"));
  assert.deepEqual([...new Set(drawn)].toSorted(), [0, 1]);
  await page.close();
});
