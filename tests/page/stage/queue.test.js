// Pictures that wait: nothing that was asked for is thrown away because something else was pressed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { adapter, checkpoint, file, latch, open, pause } from "./page.js";

/** What the engine was asked to draw, and a way to hold pictures of a prompt in their middle. */
function drawing() {
  const drawn = [];
  const held = new Map();
  return {
    drawn,
    plays: {
      start: ({ settings }) => { drawn.push(`${settings.prompt} ${settings.seed}`); },
      pull: ({ step, prompt }) => (step === 3 && held.has(prompt) ? held.get(prompt).opened : {}),
    },
    hold(prompt) { held.set(prompt, latch()); },
    let(prompt) {
      const { open: opens } = held.get(prompt);
      held.delete(prompt);
      opens();
    },
    /** Waits until so many were begun. */
    async begun(count) { while (drawn.length < count) await pause(20); },
  };
}

async function ask(page, prompt, seed = "1") {
  await page.set("#seed", seed);
  await page.set("#prompt", prompt);
  await page.run(() => { const { hidden } = document.querySelector("#enqueue"); document.querySelector(hidden ? "#generate" : "#enqueue").click(); });
}

const history = (page) => page.run(() => [...document.querySelectorAll("#history button")].map((button) => button.title));
const over = (page) => page.until("all to be drawn", () => document.body.dataset.state === "ready" && document.body.dataset.waiting === "0");

test("several Generates wait in line: each can be cancelled, Stop ends one, Empty all, and what comes is in the history", async () => {
  const play = drawing();
  play.hold("fox");
  const page = await open({ plays: play.plays });
  for (const prompt of ["fox", "cat", "owl", "a very long prompt that goes on and on, with many words in it, as people write them", "bee"]) await ask(page, prompt);
  await page.says("#queue-words", "4 pictures wait; next: cat, seed 1");
  await ask(page, "cat");
  await page.says("#status", "It is in the queue already");
  await page.shows("pictures wait", "#queue");
  await page.click("#queue-chips .chip:nth-child(2)");
  await page.says("#queue-words", "3 pictures wait");
  await page.click("#generate");
  play.let("fox");
  await over(page);
  assert.deepEqual(play.drawn.map((one) => one.slice(0, 5)), ["fox 1", "cat 1", "a ver", "bee 1"]);
  assert.deepEqual((await history(page)).map((one) => one.slice(0, 3)), ["bee", "a v", "cat"]);
  assert.equal(await page.run(() => document.querySelector("#queue").hidden), true);
  play.hold("ant");
  for (const prompt of ["ant", "elk", "yak"]) await ask(page, prompt);
  await page.click("#queue-empty");
  play.let("ant");
  await over(page);
  assert.equal(play.drawn.at(-1), "ant 1", "the one in hand stays");
  assert.deepEqual([await page.messages(), page.errors], [[], []]);
  await page.close();
});

test("a batch has the seeds from the first one on; a slider redraws the picture on show, at its own seed", async () => {
  const play = drawing();
  const page = await open({ plays: play.plays });
  await page.run(() => { document.querySelector("#settings").setAttribute("open", ""); });
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on");
  await page.set("#batch-count", "3");
  await ask(page, "fox", "9007199254740993");
  await over(page);
  const seeds = ["9007199254740993", "9007199254740994", "9007199254740995"].map((seed) => `fox ${seed}`);
  assert.deepEqual(play.drawn, [...seeds, seeds[2]], "and the last one at strength 0, when nothing waits any more");
  await page.set(".strength input[type=range]", "0.5");
  await page.until("the picture at 0.5", () => JSON.parse(document.body.dataset.pictureFingerprint).adapters[0]?.[1] === 0.5);
  assert.equal(play.drawn.at(-1), seeds[2]);
  await page.shows("a batch", "#batch-count");
  await page.click("#seed-last");
  assert.equal(await page.run(() => document.querySelector("#seed").value), "9007199254740995");
  await page.click("#seed-next");
  assert.deepEqual(await page.run(() => [document.querySelector("#seed").value, document.querySelector("#seed-lock").checked]), ["9007199254740996", true]);
  await page.run(() => { navigator.clipboard.writeText = async (text) => { document.body.dataset.copied = text; }; });
  await page.click("#seed-copy");
  await page.says("#status", "Seed 9007199254740996 is copied");
  await page.run(() => { navigator.clipboard.writeText = () => Promise.reject(new Error("no")); });
  await page.click("#seed-copy");
  await page.says("#status", "press Ctrl+C");
  await page.close();
});

test("a slider, an adapter that comes and one that goes leave what was asked for as it was asked for", async () => {
  const play = drawing();
  const page = await open({ plays: play.plays });
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on");
  play.hold("fox");
  await ask(page, "fox");
  await ask(page, "cat");
  await page.set(".strength input[type=range]", "0.5");
  await pause(400); // longer than a slider rests
  await page.drop(file("day.safetensors", adapter(2)));
  await page.says("#queue-words", "day is added after this picture");
  await page.shows("an adapter waits", "#queue");
  play.let("fox");
  await page.until("another card", () => document.querySelectorAll(".card").length === 2);
  await over(page);
  // while pictures with it wait, an adapter's card goes at once and the adapter stays
  play.hold("owl");
  await ask(page, "owl");
  await ask(page, "bee");
  await page.click(".card[data-adapter=day] .remove");
  await page.until("the card to go", () => document.querySelectorAll(".card").length === 1);
  play.let("owl");
  await over(page);
  const drawn = await history(page);
  for (const wanted of ["fox, seed 1, night 1", "cat, seed 1, night 1", "owl, seed 1, night 0.5, day 1", "bee, seed 1, night 0.5, day 1"]) assert.ok(drawn.includes(wanted), `${wanted}: ${drawn.join("; ")}`);
  assert.deepEqual([await page.messages(), page.errors], [[], []]);
  await page.close();
});

test("a picture from the strip can be looked at while others come", async () => {
  const play = drawing();
  const page = await open({ plays: play.plays });
  await ask(page, "fox");
  await over(page);
  play.hold("cat");
  await ask(page, "cat");
  await ask(page, "owl");
  await page.click("#history button");
  await page.says("#queue", "Show the one being drawn");
  await page.shows("another is looked at", "#queue");
  play.let("cat");
  await page.until("both in the strip", () => document.querySelectorAll("#history button").length === 3);
  assert.match(await page.run(() => document.body.dataset.pictureFingerprint), /"prompt":"fox"/);
  await over(page);
  await page.close();
});

test("a slider redraws the picture that is seen, and not the last of those that wait; a tab with a line asks before it goes", async () => {
  const play = drawing();
  const page = await open({ plays: play.plays });
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on");
  for (const prompt of ["fox", "cat"]) play.hold(prompt);
  // each with a seed of its own, as when nobody keeps one
  await page.set("#prompt", "fox");
  await page.click("#generate");
  for (const prompt of ["cat", "owl"]) {
    await page.set("#prompt", prompt);
    await page.click("#enqueue");
  }
  play.let("fox");
  await page.until("the fox", () => document.body.dataset.pictureFingerprint?.includes('"prompt":"fox"'));
  await page.set(".strength input[type=range]", "0.5");
  await pause(400); // longer than a slider rests
  play.let("cat");
  await over(page);
  const [fox, cat, again, owl] = play.drawn;
  assert.deepEqual([fox, cat, owl].map((one) => one.slice(0, 3)), ["fox", "cat", "owl"]);
  assert.equal(again, cat, "the one that was seen to come, drawn anew");
  assert.equal(owl, `owl ${await page.run(() => document.querySelector("#seed").value)}`);
  assert.match((await history(page))[1], /^cat, seed \d+, night 0\.5$/);
  for (const prompt of ["elk", "yak"]) play.hold(prompt);
  for (const prompt of ["elk", "yak"]) await ask(page, prompt);
  await page.reload();
  assert.deepEqual(page.asked, ["beforeunload"]);
  await page.close();
});

test("a model waits for the pictures that were asked of the one before, and can be cancelled meanwhile", async () => {
  const play = drawing();
  // a model is looked at between two blocks of a picture
  const page = await open({ plays: { ...play.plays, pull: ({ step }) => (step < 20 ? pause() : {}) } });
  await ask(page, "fox");
  await ask(page, "cat");
  await page.drop(file("other.safetensors", checkpoint(1)));
  await page.says("#queue-words", "hen other.safetensors is loaded");
  await page.click("#cancel-loading");
  await page.says("#status", "Emoji Diffusion stays loaded");
  await page.drop(file("other.safetensors", checkpoint(1)));
  await page.says("#queue-words", "hen other.safetensors is loaded");
  await page.says("#model-name", "other");
  await page.ready();
  assert.deepEqual(play.drawn, ["fox 1", "cat 1"]);
  assert.deepEqual((await history(page)).map((one) => one.slice(0, 3)), ["cat", "fox"]);
  assert.deepEqual([await page.messages(), page.errors], [[], []]);
  await page.close();
});

test("an engine that dies in the middle of a queue goes on with the rest; one that dies twice in a row waits to be told", async () => {
  const play = drawing();
  const deadly = new Set(["cat"]);
  const page = await open({ plays: { ...play.plays, pull: (told) => (told.step === 2 && deadly.has(told.prompt) ? { panic: "a thread is gone" } : play.plays.pull(told)) } });
  play.hold("fox");
  for (const prompt of ["fox", "cat", "owl", "bee"]) await ask(page, prompt);
  play.let("fox");
  await page.message("Only the job in hand was lost, and not what waits in the queue (2 pictures)");
  await over(page);
  assert.deepEqual((await history(page)).map((one) => one.slice(0, 3)), ["bee", "owl", "fox"]);
  for (const prompt of ["elk", "yak"]) deadly.add(prompt);
  play.hold("ant");
  for (const prompt of ["ant", "elk", "yak", "emu"]) await ask(page, prompt);
  play.let("ant");
  await page.says("#queue-words", "the engine broke twice in a row");
  await page.shows("the line rests", "#queue");
  await page.click("#queue-go-on");
  await over(page);
  assert.match((await history(page))[0], /^emu/);
  await page.close();
});

test("training takes the engine from the line, which goes on when the run rests", async () => {
  const play = drawing();
  play.hold("fox");
  const held = latch();
  const page = await open({ plays: { ...play.plays, step: ({ step }) => (step === 3 ? held.opened : {}) } });
  await page.run(() => document.querySelector("#tab-train").click());
  await page.demoPictures();
  await page.until("the settings to be looked at", () => document.body.dataset.train === "ready");
  await page.run(() => document.querySelector("#tab-generate").click());
  await ask(page, "fox");
  await ask(page, "cat");
  await page.run(() => document.querySelector("#tab-train").click());
  await page.click("#train-start");
  await pause(100);
  play.let("fox");
  await page.until("the run to be at work", () => document.body.dataset.train === "running");
  await page.run(() => document.querySelector("#tab-generate").click());
  await page.says("#queue-words", "2 pictures wait until the training run rests");
  await ask(page, "owl");
  await page.message("What you asked for waits until then");
  await page.shows("training and a line", "#queue");
  await page.click("#training-pause");
  held.open();
  await over(page);
  const asked = play.drawn.filter((one) => !one.startsWith("cat face")); // the run's preview
  assert.deepEqual(asked, ["fox 1", "fox 1", "cat 1", "owl 1"]);
  assert.deepEqual((await history(page)).map((one) => one.slice(0, 3)), ["owl", "cat", "fox"]);
  await page.close();
});

test("one that is refused is told, and the others come", async () => {
  const play = drawing();
  play.hold("fox");
  const page = await open({ plays: { ...play.plays, start: (told) => (told.settings.prompt === "cat" ? { error: { kind: "setting", message: "size: it takes too much memory. Choose 256x256" } } : play.plays.start(told)) } });
  for (const prompt of ["fox", "cat", "owl"]) await ask(page, prompt);
  play.let("fox");
  await over(page);
  assert.match(await page.message("Choose 256x256"), /^No picture/);
  assert.deepEqual((await history(page)).map((one) => one.slice(0, 3)), ["owl", "fox"]);
  await page.close();
});
