// The model, the engine beneath it and the machine that it runs on: what is said while it loads, when it is refused, and
// when it breaks and comes back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { adapter, checkpoint, file, latch, open, pause } from "./page.js";

const isDemo = ({ files }) => files.includes("model_index.json");

test("the demo model loads, with how far it is and a way out", async () => {
  const held = latch();
  const page = await open({ ready: false, plays: { loading: async ({ done }) => { await pause(); if (done > 50e6) await held.opened; } } });
  await page.says("#progress-detail", "80.0 MB of 105.0 MB · unet");
  assert.match(await page.text("#status"), /^Loading the demo model/);
  await page.shows("loading");
  held.open();
  await page.ready();
  assert.equal(await page.text("#model-name"), "Emoji Diffusion");
  await page.shows("ready");
  await page.close();
});

test("a checkpoint of another kind, and one without room, change nothing", async () => {
  const page = await open({ plays: {
    judgeModel: ({ files }) => files[0].startsWith("sdxl")
      ? { error: { kind: "file", message: "sdxl refiner 1.0.safetensors: is the refiner of Stable Diffusion XL, which isn't supported. Use a model that draws alone" } }
      : files[0].startsWith("large") && { error: { kind: "setting", message: "memory: this model's weights take 4.27 GB in full (f32), 2.13 GB in halves (f16), 1.21 GB in 8 bits, and there is room for 1.00 GB. Use a smaller model, or a device with more memory" } },
  } });
  await page.drop(file("sdxl refiner 1.0.safetensors", checkpoint(1)));
  assert.match(await page.message("Stable Diffusion XL"), /^sdxl refiner 1\.0\.safetensors was not loaded: sdxl/);
  await page.drop(file("large.safetensors", checkpoint(2)));
  await page.message("room for 1.00 GB");
  await page.says("#status", "Emoji Diffusion stays loaded");
  await page.shows("models refused");
  assert.equal(page.site.points.filter((point) => point === "loadModel").length, 1, "what is refused is never loaded");
  await page.draw();
  await page.close();
});

test("a load that is cancelled, even while adapters come on, leaves page and engine with the same model", async () => {
  const held = latch();
  let loads = [];
  const page = await open({ plays: {
    loadModel: ({ files }) => { loads.push(isDemo({ files }) ? "demo" : files[0]); },
    addAdapter: () => (loads.at(-1) === "other.safetensors" ? held.opened : {}),
  } });
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on at strength 1");
  loads = [];
  await page.drop(file("other.safetensors", checkpoint(1)));
  await page.until("the adapter to be asked for", () => document.querySelector("#status").textContent === "Loading other.safetensors…" && document.querySelector("#progress-detail").textContent !== "");
  while (page.site.points.at(-1) !== "addAdapter") await pause(20);
  await page.shows("loading another model");
  await page.click("#cancel-loading");
  await page.says("#status", "Emoji Diffusion stays loaded");
  held.open();
  assert.deepEqual([await page.text("#model-name"), loads], ["Emoji Diffusion", ["other.safetensors", "demo"]]);
  await page.draw();
  assert.deepEqual(await page.messages(), []);
  await page.close();
});

test("a slider that moves while a model loads draws nothing, and leaves the load alone", async () => {
  const held = latch();
  const page = await open({ plays: { loading: (told) => (isDemo(told) ? {} : held.opened) } });
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on");
  await page.draw();
  await page.drop(file("other.safetensors", checkpoint(1)));
  await page.says("#status", "Loading other");
  await page.set(".strength input[type=range]", "0.5");
  await pause(400); // longer than a slider rests
  assert.equal(await page.text("#status"), "Loading other.safetensors…");
  assert.equal(await page.text("#generate"), "Generate");
  held.open();
  await page.says("#model-name", "other");
  assert.deepEqual(await page.messages(), []);
  await page.close();
});

test("a model's files that are gone when the engine has to be started anew: the demo model takes its place", async () => {
  let gone = false;
  const page = await open({ plays: {
    loadModel: ({ files }) => gone && !isDemo({ files }) && { error: { kind: "file", message: "stick.safetensors: can't be read any more. It may have been moved or changed on disk: drop it again" } },
    pull: ({ step }) => gone && step === 2 && { panic: "index out of bounds: the len is 4 but the index is 4" },
  } });
  await page.drop(file("stick.safetensors", checkpoint(1)));
  await page.says("#model-name", "stick");
  gone = true;
  await page.set("#prompt", "a house");
  await page.click("#generate");
  assert.match(await page.message("stick could not be put back"), /drop it again\. The demo model takes its place\.$/);
  await page.says("#model-name", "Emoji Diffusion");
  const told = await page.message("The engine stopped and was started again");
  assert.ok(told.includes("index out of bounds"), told);
  await page.shows("model gone");
  await page.close();
});

test("a panic is told in its own words, and the engine is back with model and adapters", async () => {
  let once = true;
  const page = await open({ plays: { pull: ({ step }) => {
    if (step !== 3 || !once) return {};
    once = false;
    return { panic: "panicked at src/kernels/cpu/threads.rs:120:9: a thread is gone" };
  } } });
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on");
  await page.click("#generate");
  const told = await page.message("The engine stopped and was started again");
  assert.match(told, /Your model and adapters are back\. Only the job in hand was lost\. .*a thread is gone/);
  await page.ready();
  await page.shows("a panic");
  await page.draw();
  await page.close();
});

test("what went through the module and leaves it locked brings another engine, as a panic does", async () => {
  const causes = [{ message: "Array buffer allocation failed", short: true }, { message: "recursive use of an object detected which would lead to unsafe aliasing in rust" }];
  const page = await open({ plays: { pull: ({ step }) => (step === 2 && causes.length > 0 ? { error: causes.shift() } : {}) } });
  for (const words of ["Array buffer allocation failed", "recursive use of an object"]) {
    await page.click("#generate");
    assert.match(await page.message(words), /^The engine stopped and was started again/);
    await page.ready();
  }
  await page.draw();
  await page.close();
});

test("a GPU that is lost comes back; one that is lost again and again is left for the CPU", async () => {
  let losses = 0;
  const page = await open({ gpu: true, plays: { pull: ({ step }) => {
    if (step !== 2 || losses === 3) return {};
    losses += 1;
    return { lost: "the driver was reset" };
  } } });
  assert.match(await page.text("#capability summary"), /^Runs on WebGPU: example one, f16$/);
  for (let time = 1; time <= 3; time += 1) {
    await page.click("#generate");
    // the second says the same as the first, and is told once
    await page.until("the engine to be back", (count) => document.querySelectorAll(".message").length === count && document.body.dataset.state === "ready", Math.max(1, time - 1));
    while (page.site.points.filter((point) => point === "open").length <= time) await pause(20);
    await page.ready();
    if (time === 1) await page.shows("GPU lost");
  }
  const [first, third] = await page.messages();
  assert.equal(first, "The GPU was lost, and the engine was started again: Your model and adapters are back. Only the job in hand was lost. (the driver was reset)");
  assert.match(third, /It computes on the CPU now, which is slower: reload the page to try the GPU again/);
  assert.match(await page.text("#capability summary"), /^Runs on CPU: the GPU was left: it was lost again and again/);
  await page.shows("GPU left for the CPU");
  await page.draw();
  await page.close();
});

test("a GPU that doesn't open, or doesn't come back, is left for the CPU", async () => {
  let broken = true;
  const page = await open({ gpu: true, plays: {
    open: ({ backend }) => backend === "webgpu" && broken && { error: { kind: "device", message: "the GPU can't be opened: it is taken. Close other programs that use it" } },
    pull: ({ step }) => step === 2 && { lost: "it was pulled out" },
  } });
  assert.match(await page.text("#capability summary"), /^Runs on CPU: the GPU could not be opened \(the GPU can't be opened: it is taken/);
  broken = false;
  await page.reload();
  assert.match(await page.text("#capability summary"), /^Runs on WebGPU/);
  broken = true;
  await page.click("#generate");
  await page.message("It computes on the CPU now");
  assert.match(await page.text("#capability summary"), /it didn't come back/);
  await page.close();
});

test("an engine that never starts says so, and what is dropped then is answered", async () => {
  const page = await open({ ready: false, plays: { open: () => ({ error: { message: "this browser's WebAssembly has no SIMD" } }) } });
  assert.equal(await page.message("Lorakeet could not start"), "Lorakeet could not start: this browser's WebAssembly has no SIMD. Reload the page; a current Chrome, Edge, Firefox or Safari is needed.");
  await page.drop(file("other.safetensors", checkpoint(1)));
  await page.message("other.safetensors was not loaded");
  assert.equal((await page.messages()).length, 2, "of the demo model, which nobody asked for, there is no word");
  await page.shows("no engine");
  await page.close();
});

test("an engine that says nothing is offered to be started anew; the offer goes when it speaks", async () => {
  const silent = latch();
  let hangs = true;
  const page = await open({ at: "?patience=1", plays: { pull: ({ step }) => (step === 2 && hangs ? silent.opened : {}) } });
  await page.click("#generate");
  await page.message("The engine doesn’t answer");
  await page.shows("silence");
  silent.open();
  await page.until("the offer to go", () => document.querySelectorAll(".message").length === 0);
  await page.says("#status", "Drawn");
  const never = latch();
  page.plays.pull = ({ step }) => (step === 2 && hangs ? never.opened : {});
  await page.click("#generate");
  await page.message("The engine doesn’t answer");
  hangs = false;
  await page.click(".message button.quiet");
  await page.message("it didn't answer");
  await page.ready();
  await page.draw();
  never.open();
  await page.close();
});

test("a setting that is wrong is no reason to take the focus from a slider", async () => {
  const page = await open();
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on");
  await page.draw();
  await page.run(() => { document.querySelector("#settings").setAttribute("open", ""); });
  await page.set("#steps", "900");
  await page.run(() => document.querySelector(".strength input").focus());
  await page.set(".strength input[type=range]", "0.5");
  await page.says("#status", "Not drawn: a setting is not right");
  assert.equal(await page.run(() => document.activeElement.parentElement.className), "strength");
  await page.close();
});

test("what is to be said of a picture is said: too large, black in parts, words left out, no weights of words", async () => {
  const held = latch();
  const page = await open({ plays: {
    start: ({ settings }) => settings.width > 1000 && { error: { kind: "setting", message: "size: 1024x1024 takes about 2.10 GB more memory, and there is room for 442 MB. Choose 768x768, the largest of this shape that fits, or set guidance to 1, which needs half of that" } },
    pull: ({ step, prompt }) => (step === 11 ? pause() : step === 12 && prompt === "fox" ? held.opened : step > 20 && prompt === "(a long:1.3) prompt" ? {
      notes: [
        "37 % of the picture is black because its numbers became NaN or infinite: choose weights in full (f32), another VAE, or adapters of less strength",
        "`(a long:1.3)` is read as plain words here: adapters are added by their files and have their own strengths, and weights of words, BREAK and embeddings aren't supported",
      ],
      truncated: ["and so on, to the end of the world", "in oil"],
    } : {}),
  } });
  await page.set("#prompt", "fox");
  await page.click("#generate");
  await page.says("#progress-detail", "step 12 of 20");
  await page.shows("drawing");
  held.open();
  await page.says("#status", "Drawn");
  await page.set("#prompt", "(a long:1.3) prompt");
  await page.draw();
  await page.message("is read as plain words");
  await page.shows("notes on a picture", "#messages");
  await page.run(() => { document.querySelector("#settings").setAttribute("open", ""); });
  for (const side of ["#width", "#height"]) await page.set(side, "1024");
  await page.click("#generate");
  await page.message("Choose 768x768");
  await page.shows("picture refused", "#messages");
  await page.close();
});

test("what is loaded for another model says how it fits that, or goes", async () => {
  let other = false;
  const page = await open({ plays: {
    loadModel: ({ files }) => {
      other = !isDemo({ files });
      return other ? {
        notes: ["the model asks for `KarrasVeScheduler`, which isn't among those here: DDIM stands in"], predictionType: "v_prediction",
        family: { label: "Stable Diffusion 2.1, 768 pixels, v-prediction", base: "sd2", task: "text_to_image", prediction: "v_prediction", size: 768, zeroTerminalSnr: false,
          fewSteps: null, compact: false, defaults: null, evidence: ["its text embeddings have 1024 numbers", "its name says 768"], notes: [] },
      } : {};
    },
    addAdapter: ({ name }) => other && (name.startsWith("ink")
      ? { error: { kind: "file", message: "ink.safetensors: lora_unet_down_blocks_0_attentions_0_proj_in: neither this nor any other key names a layer of the loaded model. Load the model that it was made for" } }
      : { report: { summary: "32 of 192 modules: UNet 32, text encoder 0; rank 8, alpha 4", modules_used: 32, unet_modules: 32,
        unused: [["lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", "names no layer of the loaded model"]],
        notes: ["Only 32 of its 192 modules fit this model; the file says that it was made for sd_v1 (Stable Diffusion 1): little of what it was trained for will show"] } }),
  } });
  for (const [at, name] of ["ink", "night"].entries()) {
    await page.drop(file(`${name}.safetensors`, adapter(at + 1)));
    await page.says("#status", `${name} is on`);
  }
  await page.drop(file("v2-1_768-nonema-pruned.safetensors", checkpoint(1)));
  await page.message("ink does not fit v2-1_768-nonema-pruned");
  await page.says(".coverage", "32 of 192");
  await page.run(() => { for (const fold of document.querySelectorAll(".card details, #model-notes, #family-details, #capability")) fold.setAttribute("open", ""); });
  await page.shows("another model", ".card");
  await page.shows("the model's panel", "#family");
  assert.equal(await page.run(() => document.querySelectorAll(".card").length), 1);
  await page.close();
});
