// The Train tab: every state of a run and of what is before it, and what goes wrong in each.

import assert from "node:assert/strict";
import { test } from "node:test";
import { adapter, checkpoint, file, latch, open, pause } from "./page.js";

const THUMB = "tests/fixtures/demo-model/held-out-set/tulip.png";

/** A run of so many steps, begun. */
async function start(page, settings = {}) {
  for (const [selector, value] of Object.entries(settings)) await page.set(selector, value);
  await page.until("the settings to be looked at", () => document.body.dataset.train === "ready");
  await page.click("#train-start");
}

const at = (page, step) => page.until(`step ${step}`, (wanted) => Number(document.body.dataset.trainStep) >= wanted, step);
const state = (page, wanted) => page.until(`the run to be ${wanted}`, (sought) => document.body.dataset.train === sought, wanted);

/** Holds the engine at a step until it is let go. */
function holding(wanted) {
  const held = latch();
  return { ...held, play: ({ step }) => (step === wanted ? held.opened : {}) };
}

test("before a run: no pictures, pictures with what is odd of them, a setting that is wrong, and a refusal of memory", async () => {
  const page = await open({ at: "#train", plays: {
    trainInspect: () => ({ warnings: { "guitar.png": ["smaller than 128 pixels: it is drawn larger, and blurred"], "house.png": ["nearly the same as rocket.png: it counts twice", "one colour all over"] } }),
    trainEstimate: ({ config }) => config.rank > 100
      ? { error: { kind: "setting", message: "memory: this run needs about 3.1 GB, and 1.0 GB are free. These fit: batch 2 with accumulation 2 (0.9 GB); pictures of 384 px (0.8 GB); attention alone (0.7 GB)" } }
      : config.alpha > 500 ? { error: { kind: "setting", message: "alpha: 1000 is out of range. Choose the rank, or a half of it" } }
        : { notes: ["40 steps come to each picture being seen 20 times: with so few pictures it may learn them by heart"] },
  } });
  await page.says("#train-status", "Add pictures to begin");
  await page.shows("train empty");
  await page.demoPictures();
  await page.says("#picture-grid", "nearly the same as rocket.png");
  await page.shows("train ready");
  await page.set("#train-steps", "100000000");
  await page.says("#train-status", "A setting is not right");
  await page.shows("train setting wrong");
  await page.set("#train-steps", "40");
  await page.set("#train-rank", "128");
  await page.says("#train-detail", "These fit: batch 2");
  assert.equal(await page.text("#train-status"), "A setting is not right");
  assert.equal(await page.run(() => document.querySelector("#train-start").disabled), true);
  await page.shows("train without memory");
  await page.close();
});

test("a load that is cancelled asks anew what a run comes to", async () => {
  const held = latch();
  const page = await open({ at: "#train", plays: { loading: ({ files }) => (files.includes("other.safetensors") ? held.opened : {}) } });
  await page.demoPictures();
  await page.drop(file("other.safetensors", checkpoint(1)));
  await page.says("#status", "Loading other");
  await page.set("#train-steps", "55");
  await pause(400);
  await page.run(() => document.querySelector("#cancel-loading").click());
  held.open();
  await state(page, "ready");
  assert.match(await page.text("#train-status"), /^Ready to train on 8 pictures/);
  assert.deepEqual(await page.messages(), []);
  await page.close();
});

test("a run from its start to its end, with all that is said on the way", async () => {
  const preparing = latch();
  const middle = holding(30);
  const measuring = latch();
  const page = await open({ at: "#train", plays: {
    prepare: async ({ done }) => { await pause(); if (done === 3) await preparing.opened; },
    step: middle.play,
    evaluation: async ({ step, part }) => { await pause(); if (step === 40 && part === 2) await measuring.opened; return step >= 40 ? { best: false, verdict: "memorising", words: "Memorising: pictures it never saw were better at step 20.", heldOut: { loss: 0.11, ratio: 0.95 }, copying: { name: "rocket.png", similarity: 0.94 }, diversity: 0.5, drift: 1.1 } : {}; },
  } });
  await page.demoPictures();
  await page.set("#trigger", "night style");
  await start(page, { "#train-steps": "60" });
  await page.says("#train-status", "Preparing: ");
  await page.shows("preparing");
  await page.run(() => document.querySelector("#tab-generate").click());
  assert.match(await page.text("#training-notice"), /^A training run is being prepared/);
  await page.shows("preparing, seen from Generate");
  await page.run(() => document.querySelector("#tab-train").click());
  preparing.open();
  await page.until("step 29", () => Number(document.body.dataset.trainStep) === 29);
  assert.match(await page.text("#train-status"), /^Training: step 29 of 60/);
  await page.shows("running");
  await page.shows("running, the plot", "#plot");
  middle.open();
  await page.says("#train-detail", "measuring");
  await page.shows("measuring");
  measuring.open();
  await state(page, "finished");
  assert.match(await page.text("#train-status"), /^Finished: 60 steps in/);
  assert.match(await page.text("#train-detail"), /^Memory: 310 MB predicted, 300 MB at most/);
  assert.match(await page.text("#verdict-words"), /^Memorising/);
  await page.shows("finished");
  await page.shows("finished, the timeline", "#timeline-panel");
  await page.run(() => { document.querySelector("#inside-panel").setAttribute("open", ""); });
  await page.shows("inside the adapter", "#findings");
  await page.close();
});

test("a run is paused, goes on, is rewound and stopped; another model asks first", async () => {
  const held = holding(14);
  const page = await open({ at: "#train", plays: { step: held.play } });
  await page.demoPictures();
  await start(page, { "#train-steps": "1000" });
  await at(page, 13);
  await page.click("#train-pause");
  await page.says("#train-status", "Pausing after");
  await page.shows("pausing");
  held.open();
  await state(page, "paused");
  assert.equal(await page.text("#train-status"), "Paused at step 14 of 1000");
  await page.shows("paused");
  await page.run(() => { const range = document.querySelector("#timeline"); range.value = "1"; range.dispatchEvent(new Event("input")); });
  await page.click("#rewind");
  await page.says("#confirm-text", "The 4 steps after it are dropped");
  await page.shows("rewind asks");
  page.plays.step = () => pause(100); // what is asked aside comes between two steps
  await page.click("#confirm-yes");
  await state(page, "running");
  await page.drop(file("other.safetensors", checkpoint(1)));
  await page.says("#confirm-text", "This pauses the training run.");
  await page.shows("another model asks");
  await page.click("#confirm-dialog button[value=cancel]");
  assert.match(await page.text("#train-status"), /^Training: step/);
  await page.drop(file("more.png", ""));
  await page.message("The run has its pictures");
  await page.click("#train-stop");
  await state(page, "finished");
  assert.match(await page.text("#train-status"), /^Stopped at step \d+ of 1000/);
  await page.shows("stopped");
  await page.click("#train-new");
  await state(page, "ready");
  await page.close();
});

test("cancel while it is being prepared is heeded, to the last part", async () => {
  const held = latch();
  const page = await open({ at: "#train", plays: { prepare: ({ done }) => (done === 8 ? held.opened : {}) } });
  await page.demoPictures();
  await start(page);
  await state(page, "preparing");
  await page.click("#train-stop");
  held.open();
  await state(page, "ready");
  assert.equal(await page.run(() => document.querySelectorAll("#runs li").length), 0);
  await page.close();
});

test("a run that can't go on says why: its numbers, its memory, the engine", async () => {
  let once = "panic";
  const page = await open({ at: "#train", plays: {
    step: ({ step }) => {
      if (step === 12 && once === "panic") {
        once = "";
        return { panic: "memory access out of bounds" };
      }
      if (step === 25 && once === "refusal") {
        once = "numbers";
        return { error: { kind: "device", message: "the GPU has no room for a buffer of 410 MiB. Close other tabs, or choose a smaller batch" } };
      }
      return step === 33 && once === "numbers" ? { stopped: "5 steps in a row came to NaN or infinity. Nothing of them went into the adapter" } : {};
    },
  } });
  await page.demoPictures();
  once = "panic";
  await start(page, { "#train-steps": "60" });
  const told = await page.message("The engine stopped and was started again");
  assert.match(told, /memory access out of bounds/);
  once = "refusal";
  await page.message("Training failed");
  assert.match(await page.text("#train-status"), /^Interrupted at step 24 of 60/);
  await page.shows("interrupted");
  await page.click("#train-start");
  await page.message("Training stopped");
  await state(page, "paused");
  await page.shows("stopped by its numbers", "#messages");
  await page.close();
});

test("an engine that breaks again and again doesn't start the run for ever", async () => {
  const page = await open({ at: "#train", plays: { step: ({ step }) => step === 3 && { panic: "out of memory" } } });
  await page.demoPictures();
  await start(page);
  await page.message("Continue goes on from there");
  await state(page, "error");
  await page.shows("broken again and again");
  await page.close();
});

test("pictures left out in turn: what it takes, how far it is, what was found", async () => {
  const held = latch();
  const page = await open({ at: "#train", plays: { leaveOneOut: async ({ done }) => { await pause(); if (done === 2) await held.opened; } } });
  await page.demoPictures();
  await start(page, { "#train-steps": "20" });
  await state(page, "finished");
  await page.shows("unseen, before", "#unseen-panel");
  await page.click("#leave-one-out");
  await page.says("#train-status", "Training without picture 2.png, 2 of 8");
  await page.shows("unseen, under way", "#unseen-panel");
  held.open();
  await page.says("#unseen-words", "Pictures left out come to 93 %");
  await page.shows("unseen, found", "#unseen-panel");
  await page.close();
});

test("a run that was left is offered; one of another model, a broken one and one in another tab are listed", async () => {
  const held = holding(21);
  const page = await open({ at: "#train", plays: { step: held.play } });
  await page.demoPictures();
  await page.set("#trigger", `${"w".repeat(70)} and more words`);
  await start(page, { "#train-steps": "40" });
  await at(page, 20);
  const other = await page.another("#train");
  await other.ready();
  await other.says("#runs", "open in another tab");
  await other.shows("a run in another tab", "#runs-panel");
  // a run that can't be read, and one of another model
  await page.run(async () => {
    const runs = await (await navigator.storage.getDirectory()).getDirectoryHandle("runs");
    const put = async (folder, text) => {
      const writer = await (await (await runs.getDirectoryHandle(folder, { create: true })).getFileHandle("run.json", { create: true })).createWritable();
      await writer.write(text);
      await writer.close();
    };
    let record = null;
    for await (const [name, folder] of runs.entries()) {
      if (folder.kind === "directory") record = JSON.parse(await (await (await runs.getDirectoryHandle(name)).getFileHandle("run.json")).getFile().then((found) => found.text()));
    }
    await put("20260102030405001", "{ torn");
    await put("20260102030405002", JSON.stringify({ ...record, id: "20260102030405002", title: "a style of watercolours with a name that is rather long", status: "finished", model: { key: "another", title: "dreamshaper_8" } }));
  });
  await page.reload();
  held.open();
  await page.says("#resume-offer", "Continue from step 20 of 40");
  await page.says("#runs", "A run that can't be read");
  await page.shows("a run is offered");
  await page.shows("runs kept", "#runs-panel");
  await page.click('#runs [aria-label="Delete A run that can\'t be read"]');
  await page.says("#confirm-text", "that nothing can be made of");
  await page.shows("delete a run");
  await page.click("#confirm-yes");
  await page.until("it to go", () => !document.querySelector("#runs").textContent.includes("can't be read"));
  await page.click("#resume-run");
  await state(page, "finished");
  await page.close();
});

test("a full disk is told, the run goes on in memory, and the tab asks before it is left", async () => {
  const held = holding(25);
  const page = await open({ at: "#train", plays: { step: held.play } });
  await page.demoPictures();
  const { origin } = new URL(page.address);
  await start(page, { "#train-steps": "40" });
  await at(page, 5);
  await page.devtools("Storage.overrideQuotaForOrigin", { origin, quotaSize: 1 });
  await page.message("This browser's room for files is full");
  await at(page, 24);
  await page.shows("a full disk");
  held.open();
  await state(page, "finished");
  await page.devtools("Page.navigate", { url: "about:blank" });
  await page.until("the page to be left", () => location.href === "about:blank");
  assert.deepEqual(page.asked, ["beforeunload"]);
  await page.close();
});

test("pictures and captions are there after a reload, and after a run that was opened meanwhile", async () => {
  const page = await open({ at: "#train" });
  await page.demoPictures();
  await page.set(".picture textarea", "a caption of mine");
  await page.until("the caption to be on disk", async () => {
    const draft = await (await navigator.storage.getDirectory()).getDirectoryHandle("draft");
    return (await (await (await draft.getFileHandle("draft.json")).getFile()).text()).includes("a caption of mine");
  });
  await page.reload();
  await page.until("eight pictures", () => document.body.dataset.pictures === "8" && document.body.dataset.train === "ready");
  assert.equal(await page.run(() => document.querySelector(".picture textarea").value), "a caption of mine");
  assert.equal(await page.run(() => document.querySelector("#resume-offer").hidden), true);
  await page.shows("a draft is back");
  await page.close();
});

test("captions that are no text, of no picture, and folders of kohya's kind", async () => {
  const { readFileSync } = await import("node:fs");
  const bytes = readFileSync(new URL(`../../../${THUMB}`, import.meta.url));
  const page = await open({ at: "#train" });
  const paths = ["10_rocket/1.png", "5_house/1.png"].map((path) => file(`set/${path}`, bytes));
  const texts = [["10_rocket/1.txt", "a rocket"], ["5_house/1.txt", "a house"], ["5_house/2.txt", "of no picture"]].map(([path, words]) => file(`set/${path}`, words));
  const folder = paths[0].replace(/\/10_rocket\/1\.png$/, "");
  assert.equal(texts.length, 3);
  await page.drop(folder);
  await page.message("In kohya’s folders the number says how often");
  await page.message("there is none. Drop the picture first");
  const captions = () => page.run(() => [...document.querySelectorAll("#picture-grid textarea")].map((one) => one.value).sort());
  assert.deepEqual(await captions(), ["a house", "a rocket"]);
  // it is in nobody's place
  await page.drop(file("binary/10_rocket/1.txt", Uint8Array.from([0x81, 0, 0x8d, 0, 0])));
  await page.message("This caption can't be read as text");
  assert.equal((await page.messages()).filter((one) => one.includes("there is none")).length, 1);
  assert.deepEqual(await captions(), ["a house", "a rocket"]);
  await page.shows("captions", "#messages");
  await page.close();
});

test("two runs' adapters of one title and step go side by side, and an export that fails says why", async () => {
  let fails = true;
  const page = await open({ at: "#train", plays: { trainExport: ({ format }) => format === "peft" && fails && { error: { kind: "file", message: "adapter_model.safetensors: lora_A of mid_block.attentions.0.proj_in came back with other numbers than were written. Try it again, and report it" } } } });
  await page.demoPictures();
  for (const seed of ["1", "2"]) {
    await page.run(() => { for (const fold of document.querySelectorAll("#train-advanced details")) fold.setAttribute("open", ""); });
    await start(page, { "#train-steps": "10", "#train-seed": seed });
    await state(page, "finished");
    if (seed === "1") {
      await page.click("#export");
      await page.shows("export");
      await page.click("#export-form input[value=peft]");
      await page.click("#export-download");
      await page.says("#export-problem", "came back with other numbers");
      await page.shows("export failed");
      fails = false;
      await page.click("#export-form button[value=cancel]");
    }
    await page.click("#use-adapter");
    await page.until("its card", (count) => document.querySelectorAll(".card").length === Number(count) && document.body.dataset.state === "ready", seed);
    await page.run(() => document.querySelector("#tab-train").click());
    await page.click("#train-new");
    await state(page, "ready");
  }
  const names = await page.run(() => [...document.querySelectorAll(".card .name")].map(({ textContent }) => textContent));
  assert.equal(new Set(names).size, 2, names.join());
  await page.close();
});

test("the preview prompt of the run before isn't the next one's", async () => {
  const page = await open({ at: "#train" });
  await page.demoPictures();
  await page.set("#trigger", "night style");
  await start(page, { "#train-steps": "5" });
  await state(page, "finished");
  await page.set("#preview-prompt", "night style, a castle");
  await page.click("#train-new");
  await state(page, "ready");
  await page.set("#trigger", "water colour");
  await page.until("the other trigger", () => document.querySelector("#preview-prompt").value.startsWith("water colour, "));
  await page.close();
});

test("what is being trained has the engine: the Generate tab says so, and an adapter goes on all the same", async () => {
  const held = holding(7);
  const page = await open({ at: "#train", plays: { step: held.play } });
  await page.demoPictures();
  await start(page, { "#train-steps": "20" });
  await at(page, 6);
  await page.run(() => document.querySelector("#tab-generate").click());
  assert.match(await page.text("#training-notice"), /^A training run has the engine/);
  await page.click("#generate");
  await page.message("Training has the engine");
  await page.shows("training has the engine");
  await page.drop(file("night.safetensors", adapter(1)));
  held.open();
  await page.says("#status", "night is on");
  await page.close();
});
