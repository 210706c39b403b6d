// The npm package's functions over an engine that is played: what is shared with the page comes to the same, whoever asks.

import assert from "node:assert/strict";
import { test } from "node:test";
import { adapter, checkpoint, file, latch, open } from "./page.js";

const EXAMPLE = "api/example/index.html";
const says = (page, words) => page.until(`“${words}”`, (wanted) => document.querySelector("#status").value.includes(wanted), words);

/** The example's page, and an engine of its own as `window.lorakeet`, with a model where one is wanted. */
async function opened({ plays = {}, gpu = false, model = true } = {}) {
  const page = await open({ plays, gpu, at: EXAMPLE, ready: false });
  await says(page, "Give it a model");
  await page.run(async (bytes, isWanted) => {
    const { Lorakeet } = await import("lorakeet");
    const lorakeet = await Lorakeet.open();
    const blob = new Blob([new Uint8Array(bytes)]);
    if (isWanted) await lorakeet.loadModel({ path: "first.safetensors", blob });
    const told = [];
    for (const type of ["crash", "recovered", "broken", "lost"]) lorakeet.addEventListener(type, ({ detail }) => told.push(`${type}: ${detail.message}`));
    const failure = (work) => work().then(() => "nothing", ({ name, message }) => `${name}: ${message}`);
    Object.assign(window, { Lorakeet, lorakeet, blob, told, failure });
  }, [...checkpoint(1)], model);
  return page;
}

/** An adapter's file. Run in the page: its bytes come as numbers. */
const bytesOf = (mark) => [...adapter(mark)];

test("its example takes what is dropped, draws with and without, and can be stopped", async () => {
  const held = latch();
  const strengths = [];
  let steps = 0;
  const page = await open({ at: EXAMPLE, ready: false, plays: {
    addAdapter: ({ name }) => ({ report: { summary: `all of ${name}` } }),
    start: ({ strength, settings }) => { strengths.push([settings.prompt, settings.steps, strength]); },
    pull: () => (++steps === 60 ? held.opened : {}),
  } });
  await says(page, "Runs on cpu. Give it a model.");
  await page.click("#form button");
  await says(page, "There is no model. Load one first");
  await page.drop(file("big.safetensors", checkpoint(1)));
  await says(page, "Stable Diffusion 1 is loaded");
  await page.drop(file("night.safetensors", adapter(1)));
  await says(page, "all of night");
  await page.set("#strength", "0.5");
  await page.click("#form button");
  await says(page, "Drawn in 1.2 s");
  await page.until("the second", () => document.querySelector("[slot=right]").width === 512);
  assert.deepEqual(strengths, [["smiling face with sunglasses", 20, 0], ["smiling face with sunglasses", 20, 1]]);
  await page.click("#form button");
  await page.until("it to draw", () => document.querySelector("#status").value.endsWith("%"));
  await page.click("#stop");
  await says(page, "Stopped");
  held.open();
  await page.drop(file("virus.ckpt", "x"));
  await says(page, "virus.ckpt: Files of this kind can run code");
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("work tells its progress to every loop and to a function, and ends a loop with its error", async () => {
  const page = await opened();
  const { counts, ends, late } = await page.run(async () => {
    const { lorakeet } = window;
    const seen = [[], [], []];
    const drawing = lorakeet.draw({ prompt: "a", steps: 2 }, { onProgress: ({ fraction }) => seen[0].push(fraction) });
    const follow = async (list) => {
      for await (const { fraction, preview } of drawing) if (preview instanceof ImageData) list.push(fraction);
    };
    await Promise.all([follow(seen[1]), follow(seen[2])]);
    const image = await drawing;
    let afterwards = 0;
    for await (const _ of drawing) afterwards += 1;
    return { counts: seen, ends: [image.width, drawing.seconds, drawing.settings.steps, drawing.settings.scheduler], late: afterwards };
  });
  assert.ok(counts[0].length > 0);
  assert.deepEqual([counts[1], counts[2]], [counts[0], counts[0]]);
  assert.deepEqual(ends, [512, 1.2, 2, "ddim"]);
  assert.equal(late, 0);
  await page.close();
});

test("one thing is done at a time, in order; what waits is stopped at once", async () => {
  const held = latch();
  const first = latch();
  const begun = [];
  const page = await opened({ plays: {
    start: ({ settings }) => {
      begun.push(settings.prompt);
      first.open();
    },
    pull: ({ prompt }) => (prompt === "first" ? held.opened : {}),
    addAdapter: ({ name }) => { begun.push(name); },
  } });
  const stopped = await page.run(async (bytes) => {
    const { lorakeet, failure } = window;
    const abort = new AbortController();
    window.all = Promise.all([
      lorakeet.draw({ prompt: "first" }),
      lorakeet.attach(new File([new Uint8Array(bytes)], "night.safetensors")),
      lorakeet.draw({ prompt: "third" }),
    ]);
    const unwanted = failure(() => lorakeet.draw({ prompt: "unwanted" }, { signal: abort.signal }));
    abort.abort();
    return unwanted;
  }, bytesOf(1));
  assert.match(stopped, /^AbortError/);
  await first.opened;
  assert.deepEqual(begun, ["first"], "while the first is drawn");
  held.open();
  await page.run(() => window.all.then(() => {}));
  assert.deepEqual(begun, ["first", "night", "third"]);
  await page.close();
});

test("a model that is refused leaves the one before; another one takes the adapters over that fit it", async () => {
  let models = 0;
  let fits = true;
  const page = await opened({ plays: {
    loadModel: ({ files }) => (++models === 2 ? { error: { kind: "file", message: `${files[0]}: holds NaN. Take another one` } } : {}),
    addAdapter: ({ name }) => (name === "soft" && !fits ? { error: { kind: "key", message: "soft: is for another model" } } : {}),
  } });
  const add = (name, mark) => page.run(async (called, bytes) => { await window.lorakeet.attach(new File([new Uint8Array(bytes)], `${called}.safetensors`)); }, name, bytesOf(mark));
  await add("night", 1);
  await add("soft", 2);
  const refused = await page.run(() => window.failure(() => window.lorakeet.loadModel({ path: "second.safetensors", blob: window.blob })));
  assert.match(refused, /second.safetensors: holds NaN/);
  const names = () => page.run(() => [window.lorakeet.model.name, ...window.lorakeet.adapters.map(({ name }) => name)]);
  assert.deepEqual(await names(), ["first.safetensors", "night", "soft"]);
  fits = false;
  const gone = await page.run(async () => {
    const model = await window.lorakeet.loadModel({ path: "third.safetensors", blob: window.blob });
    return model.refused.map(({ name, refusal }) => `${name}: ${refusal.message}`);
  });
  assert.deepEqual(gone, ["soft: soft: is for another model"]);
  assert.deepEqual(await names(), ["third.safetensors", "night"]);
  await page.close();
});

test("a lost GPU and a panic are got over with model and adapters; what can't be brought back says so from then on", async () => {
  let pulls = 0;
  let opens = 0;
  const strengths = [];
  const page = await opened({ gpu: true, plays: {
    start: ({ strength }) => { strengths.push(strength); },
    pull: () => ({ 1: { lost: "the driver was reset" }, 30: { panic: "index out of bounds" }, 31: { panic: "again" } })[++pulls] ?? {},
    open: () => (++opens > 4 ? { error: { message: "no memory is left" } } : {}),
  } });
  const draw = () => page.run(() => window.failure(() => window.lorakeet.draw({ prompt: "a", steps: 20 })));
  await page.run(async (bytes) => {
    const night = await window.lorakeet.attach(new File([new Uint8Array(bytes)], "night.safetensors"));
    night.unet = 0.4;
    night.textEncoder = 0.2;
  }, bytesOf(1));
  assert.match(await draw(), /EngineCrash: .*the driver was reset/);
  assert.equal(await draw(), "nothing");
  pulls = 29;
  assert.match(await draw(), /EngineCrash: .*index out of bounds/);
  assert.deepEqual(strengths.map((one) => Math.round(10 * one)), [6, 6, 6]);
  assert.match(await draw(), /EngineCrash: .*again/);
  assert.match(await draw(), /no memory is left/);
  assert.match(await draw(), /no memory is left/);
  const told = await page.run(() => window.told.map((words) => words.split(":")[0]));
  assert.deepEqual(told, ["crash", "recovered", "crash", "recovered", "crash", "broken"]);
  const { backend } = await page.run(() => window.lorakeet.device);
  assert.equal(backend, "webgpu");
  await page.close();
});
