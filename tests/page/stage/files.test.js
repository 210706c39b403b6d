// What is dropped: adapters and what is said of them, many files at once, and what is no use here.

import assert from "node:assert/strict";
import { test } from "node:test";
import { adapter, checkpoint, file, open, pause, tensors } from "./page.js";

/** Of each adapter by its name, what the engine finds in it. */
const REPORTS = {
  "extras.safetensors": {
    kind: "LoCon", summary: "64 of 66 modules: UNet 64, text encoder 0; rank 8 to 16, alpha 4; trained on SD 1.5; trigger words: night style, nghtstl", modules_used: 64, modules_in_file: 66, unet_modules: 64,
    base_model: "SD 1.5", trigger_words: ["night style", "nghtstl", "a very long phrase that somebody wrote into the metadata of the file, who knows why, and which goes on and on for a hundred and twenty characters"],
    unused: [["lora_unet_down_blocks_0_attentions_0_norm.diff", "belongs to a norm difference, which isn't supported yet"], ["lora_unet_mid_block_attentions_0_proj_out.oft_blocks", "belongs to an OFT adapter, which isn't supported yet"]],
    notes: ["2 of its tensors are left out, since they are of a kind that isn't supported yet (norm differences, OFT): pictures differ from those of tools that use them"],
  },
  "lcm_lora_sdv15_for_a_name_that_somebody_made_very_long_indeed-000012-final.safetensors": {
    summary: "278 of 278 modules: UNet 278, text encoder 0; rank 64, alpha 64", modules_used: 278, modules_in_file: 278, unet_modules: 278,
    advice: { name: "LCM-LoRA", steps: 4, guidance: 1, scheduler: "ddim", spacing: "trailing", eta: null, settings: "4 steps, guidance 1, LCM", why: "its name says so; the settings are those of huggingface.co/latent-consistency/lcm-lora-sdv1-5" },
  },
  "peft.safetensors": { naming: "PEFT", kind: "LoRA", summary: "128 of 128 modules: UNet 128, text encoder 0; rank 4, alpha not told", notes: ["No adapter_config.json came with it: alpha is taken to be the rank"] },
  "text only.safetensors": { summary: "72 of 72 modules: UNet 0, text encoder 72; rank 4, alpha 4", modules_used: 72, modules_in_file: 72, unet_modules: 0, text_encoder_modules: 72 },
};

const plays = { addAdapter: ({ name }) => ({ report: REPORTS[name] ?? {} }) };

test("what an adapter's file holds is on its card: trigger words, what is left out, the settings it is made for", async () => {
  const page = await open({ plays });
  for (const [at, name] of Object.keys(REPORTS).entries()) {
    await page.drop(file(name, adapter(at + 1)));
    await page.until("its card", (count) => document.querySelectorAll(".card").length === count && document.body.dataset.state === "ready", at + 1);
  }
  await page.shows("cards", ".card");
  await page.run(() => { for (const fold of document.querySelectorAll(".card details")) fold.setAttribute("open", ""); });
  await page.shows("cards unfolded", ".card");
  await page.shows("cards unfolded below", ".card:nth-child(3)");
  await page.click(".advice:not([hidden]) button");
  assert.deepEqual(await page.run(() => ["#steps", "#guidance", "#spacing"].map((field) => document.querySelector(field).value)), ["4", "1", "trailing"]);
  await page.click(".triggers:not([hidden]) .chip");
  assert.match(await page.run(() => document.querySelector("#prompt").value), /, night style$/);
  await page.close();
});

test("an adapter that can't be used, one that is here already, and a newer one of its name", async () => {
  const page = await open({ plays: { addAdapter: ({ name }) => name.startsWith("flux") && { error: { kind: "key", message: "flux style.safetensors: transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight: neither this nor any other key names a layer of the loaded model; the file says that it was made for flux (Flux). Load the model that it was made for" } } } });
  await page.drop(file("flux style.safetensors", adapter(1)));
  assert.match(await page.message("made for flux (Flux)"), /^flux style was not added: /);
  await page.drop(file("night.safetensors", adapter(2)));
  await page.says("#status", "night is on at strength 1");
  await page.set(".strength input[type=range]", "0.5");
  await page.drop(file("again/night.safetensors", adapter(2)));
  await page.message("This adapter is already here; see its card.");
  await page.drop(file("copy.safetensors", adapter(2)));
  await page.message("already here, as night");
  await page.drop(file("newer/night.safetensors", adapter(3)));
  await page.message("The newer file took the place");
  assert.deepEqual(await page.run(() => [...document.querySelectorAll(".card .strength input[type=range]")].map((one) => one.value)), ["0.5"]);
  await page.shows("adapters refused and replaced", "#messages");
  await page.close();
});

test("of many adapters, and of several models, a person chooses", async () => {
  const page = await open();
  await page.drop(...[1, 2, 3].map((at) => file(`some ${at}.safetensors`, adapter(at))));
  await page.message("3 adapters are here, switched off");
  await page.shows("a few adapters", ".card");
  await page.drop(...Array.from({ length: 14 }, (_, at) => file(`loras/style number ${at} of a folder full of them.safetensors`, adapter(10 + at))));
  await page.says("#choice-text", "14 adapters came at once");
  await page.shows("which adapters");
  await page.click("#choice-options label:nth-child(2) input");
  await page.click("#choice-yes");
  await page.until("the one that was chosen", () => document.querySelectorAll(".card").length === 4 && document.body.dataset.state === "ready");
  await page.drop(...["first", "second"].map((name, at) => file(`${name}.safetensors`, checkpoint(at))));
  await page.says("#choice-text", "2 models came at once");
  await page.shows("which model");
  await page.click("#choice-options label:nth-child(2) input");
  await page.click("#choice-yes");
  await page.says("#model-name", "second");
  assert.equal(page.site.points.filter((point) => point === "loadModel").length, 2, "of the two models one is loaded, after the demo's");
  await page.close();
});

test("what is no use here is told by name, and what to do", async () => {
  const page = await open();
  await page.drop(file("old.ckpt", "pickle"));
  await page.message("Files of this kind can run code");
  await page.drop(file("notes.docx", "words"));
  await page.message("Lorakeet reads .safetensors files");
  await page.drop(file("adapter_config.json", "{}"));
  await page.message("holds no weights");
  await page.drop(file("kl-f8.vae.safetensors", tensors(["first_stage_model.decoder.conv_in.weight"])));
  await page.says("#status", "Ready");
  await page.drop(file("broken.png", "no picture"));
  await page.message("broken.png");
  await page.click("#tab-train");
  await page.drop(file("lonely.txt", "a caption"));
  await page.message("there is none. Drop the picture first");
  await page.shows("no use here", "#messages");
  await page.close();
});

test("an unreadable file in a drop is named, and the rest is used", async () => {
  // what a cloud's placeholder does
  const before = `const real = DataTransferItem.prototype.webkitGetAsEntry;
    DataTransferItem.prototype.webkitGetAsEntry = function () {
      const { name } = this.getAsFile();
      const file = (take, refuse) => refuse(new DOMException("gone", "NotReadableError"));
      return name.startsWith("cloud") ? { isFile: true, name, fullPath: "/" + name, file } : real.call(this);
    };`;
  const page = await open({ before });
  await page.drop(file("cloud.safetensors", adapter(1)), file("night.safetensors", adapter(2)));
  await page.message("It can't be read: it was moved or deleted meanwhile");
  await page.says("#status", "night is");
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("what nobody expected is told to the person, and not to the console alone", async () => {
  const page = await open();
  await page.run(() => { Promise.reject(new Error("a fault of the page's own")); });
  await page.message("a fault of the page's own");
  await page.shows("unexpected");
  assert.equal(page.errors.length, 1);
  await page.close();
});

test("a message of a hundred lines, or of one word without an end, can be read and dismissed on a phone", async () => {
  const page = await open({ plays: { addAdapter: ({ name }) => ({ error: { kind: "key", message: `${name}: ${"layer_".repeat(66)}: ${"and so on ".repeat(60)}` } }) } });
  const name = `${"W".repeat(180)}.safetensors`;
  await page.drop(file(name, adapter(1)));
  await page.message("was not added");
  await page.shows("a long message");
  await page.look(390, "light");
  await page.click(".message .icon");
  assert.deepEqual(await page.messages(), []);
  await page.close();
});

test("a browser that is too old, or without scripts, says so", async () => {
  const page = await open({ ready: false, before: "delete Promise.withResolvers;" });
  assert.match(await page.text("#too-old"), /^This browser is too old for Lorakeet: it lacks JavaScript of 2024\. Chrome or Edge 119/);
  assert.equal(await page.text("#status"), "This browser is too old");
  await page.shows("too old");
  await page.devtools("Emulation.setScriptExecutionDisabled", { value: true });
  await page.devtools("Page.reload");
  await pause(500);
  await page.devtools("Emulation.setScriptExecutionDisabled", { value: false });
  assert.match(await page.text("noscript"), /needs JavaScript, which is switched off here/);
  await page.close();
});

test("the line of a new version, with what stands in its way", async () => {
  const page = await open();
  await page.run(async () => {
    const { VersionNotice } = await import("/web/ui/version-notice.js");
    new VersionNotice().show("A new version is here. Something is going on in this tab: load it when that is done, or pause it first.", "Load it");
  });
  await page.shows("new version");
  await page.click("#about-open");
  await page.shows("about");
  await page.close();
});
