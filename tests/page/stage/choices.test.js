// Choices in prompts: what each seed draws, lists that are dropped, adapters that only some pictures have, and how a
// picture brings its template back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { draw } from "../../../web/prompt/choices.js";
import { linesOf } from "../../../web/prompt/lists.js";
import { adapter, file, open } from "./page.js";

const LINE = "#prompt-choices";
const prompt = (page) => page.run(() => document.querySelector("#prompt").value);
const pictures = (page, count) => page.until(`${count} pictures`, (wanted) => document.querySelectorAll("#history button").length === wanted && document.body.dataset.state === "ready", count);

async function ask(page, template, seed, batch = "1") {
  await page.set("#prompt", template);
  await page.set("#seed", seed);
  await page.set("#batch-count", batch);
  await page.click("#generate");
}

test("each seed of a batch draws its own text, from lists that stay, and what isn't found is said at the prompt", async () => {
  const drawn = [];
  const page = await open({ plays: { start: ({ settings }) => { drawn.push(settings.prompt); } } });
  assert.equal(await page.run((line) => document.querySelector(line).hidden, LINE), true);
  const template = "a {red|green|blue} __animal__";
  await page.set("#seed", "5");
  await page.set("#prompt", template);
  await page.says(LINE, "There is no list “animal”: drop animal.txt on the page, with a choice on each line.");
  await page.shows("a list that isn't there");
  const text = "# mine\nfox\nowl\n\n{old|young} cat\n";
  await page.drop(file("animal.txt", text));
  await page.message("A list of 3 choices now: write __animal__ in a prompt");
  const lists = new Map([["animal", linesOf(text)]]);
  const expected = ["5", "6", "7"].map((seed) => draw(template, seed, lists).text);
  await page.says(LINE, `Seed 5 draws: ${expected[0]}`);
  await page.shows("what a seed draws");
  await ask(page, template, "5", "3");
  await pictures(page, 3);
  assert.deepEqual(drawn, expected);
  await page.reload();
  await page.set("#seed", "6");
  await page.says(LINE, `Seed 6 draws: ${expected[1]}`);

  await page.click("#library summary");
  await page.says("#library-summary", "1 list");
  await page.set("#prompt", "on a hill");
  await page.click("#library-list .entry-use");
  assert.equal(await prompt(page), "on a hill, __animal__");
  await page.drop(file("animal.txt", "whale\n"));
  await page.message("The newer list took the place of the older one");
  await page.says(LINE, "draws: on a hill, whale");
  assert.equal(await page.run(() => document.querySelectorAll("#library-list li").length), 1);
  await page.drop(file("fish.txt", "whale\n"));
  await page.message("This list is here already, as animal");
  await page.drop(file("none.txt", "# nothing\n"));
  await page.message("A list of choices has one on each line");
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("a choice may hold an adapter's tag: only pictures that draw it have it, and its card stays off", async () => {
  const drawn = [];
  const page = await open({ plays: { start: ({ settings, strength }) => { drawn.push([settings.prompt, strength]); } } });
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on at strength 1");
  await page.click(".card[data-adapter=night] .switch");
  const template = "a cat {<lora:night:0.5>|by day}";
  const isNight = (seed) => draw(template, seed, new Map()).text.includes("lora");
  const wanted = ["1", "2", "3", "4", "5", "6"].map((seed) => (isNight(seed) ? ["a cat", 0.5] : ["a cat by day", 0]));
  assert.equal(new Set(wanted.map(String)).size, 2);
  await ask(page, template, "1", "6");
  await pictures(page, 6);
  // at strength 0, to compare, the last one is drawn once more
  assert.deepEqual(drawn.slice(0, 6), wanted);
  assert.equal(await page.run(() => document.querySelector(".card .enabled").checked), false);
  assert.equal(await prompt(page), template);
  await page.close();
});

test("a picture brings its template back, from memory and from its file; without its list, its words", async () => {
  const drawn = [];
  const page = await open({ plays: {
    start: ({ settings, strength }) => { drawn.push([settings.prompt, settings.negativePrompt, strength]); },
  } });
  await page.drop(file("colour.txt", "red\ngreen\nblue\n"));
  await page.message("A list of 3 choices");
  const template = "a __colour__ cat {<lora:ink:0.5>|<lora:ink:0.25>}";
  await page.set("#negative-prompt", "{fog|rain}");
  await ask(page, template, "11");
  await pictures(page, 1);
  await page.until("it to be kept", () => document.querySelector("#gallery-summary").textContent.startsWith("1 picture"));
  const [first] = drawn;
  assert.match(first[0], /^a (red|green|blue) cat$/);
  const fingerprint = () => page.run(() => document.body.dataset.pictureFingerprint);
  const key = await fingerprint();
  await ask(page, "another", "12");
  await pictures(page, 2);
  await page.run(() => [...document.querySelectorAll("#history button")].at(-1).click());
  assert.equal(await prompt(page), template);
  assert.equal(await page.run(() => document.querySelector(".card[data-adapter=ink] .enabled").checked), false);
  await page.click("#generate");
  await page.until("the same picture", (wanted) => document.body.dataset.pictureFingerprint === wanted, key);

  const use = async () => {
    await page.run(() => { document.querySelector("#gallery").open = true; });
    await page.until("the gallery", () => document.querySelectorAll("#gallery-list button").length > 0);
    await page.run(() => [...document.querySelectorAll("#gallery-list button")].at(-1).click());
    await page.click("#viewer-use");
    return page.message("From the gallery (Lorakeet)");
  };
  await page.reload();
  assert.match(await use(), /prompt with its choices/);
  assert.equal(await prompt(page), template);
  await page.click("#generate");
  await page.until("the same picture", (wanted) => document.body.dataset.pictureFingerprint === wanted, key);
  assert.deepEqual(drawn.filter(([, , strength]) => strength > 0).at(-1), first, "the same words and strengths");

  await page.run(() => { document.querySelector("#library").open = true; });
  await page.run(() => document.querySelector("#library-list .entry-delete").click());
  await page.click("#confirm-yes");
  await page.says(LINE, "There is no list “colour”");
  assert.match(await use(), /Not taken over: its choices, since lists that they draw from are others here/);
  assert.equal(await prompt(page), first[0]);
  assert.equal(await page.run(() => document.querySelector(".card[data-adapter=ink] .enabled").checked), true);
  await page.set("#steps", "9");
  await page.click("#generate");
  await page.until("the picture of 9 steps", () => document.body.dataset.pictureFingerprint.includes('"steps":9'));
  assert.deepEqual(drawn.filter(([, , strength]) => strength > 0).at(-1), first);
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("a list that the browser can't keep is there until the tab is closed, which is said", async () => {
  const page = await open();
  await page.devtools("Storage.overrideQuotaForOrigin", { origin: new URL(page.address).origin, quotaSize: 1 });
  await page.set("#seed", "1");
  await page.drop(file("colour.txt", "red\n"));
  await page.message("The list is there until the tab is closed.");
  await page.set("#prompt", "a __colour__ cat");
  await page.says(LINE, "draws: a red cat");
  await page.close();
});

test("two tags of one adapter act with both strengths, and its slider leaves one", async () => {
  const drawn = [];
  const page = await open({ plays: { start: ({ strength }) => { drawn.push(strength); } } });
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on at strength 1");
  await page.set("#prompt", "a cat <lora:night:0.5> on <lora:night:0.25>a mat");
  await page.until("the sum", () => document.querySelector(".card .strength input[type=number]").valueAsNumber === 0.75);
  await page.draw();
  assert.equal(drawn[0], 0.75);
  await page.set(".card .strength input[type=range]", "-1");
  assert.equal(await prompt(page), "a cat <lora:night:-1> on a mat");
  await page.close();
});
