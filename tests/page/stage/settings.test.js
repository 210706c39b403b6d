// Pictures that are dropped or pasted for their settings.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { file, open } from "./page.js";

const fixture = (path) => readFileSync(new URL(`../../fixtures/${path}`, import.meta.url));
const LATIN = fixture("picture-info/infotext/latin.png");
const PLAIN = fixture("demo-model/held-out-set/tulip.png");

const form = (page) => page.run(() => Object.fromEntries(new FormData(document.querySelector("#generate-form"))));
const view = (page) => page.run(() => document.body.dataset.view);

test("a picture of another program sets what can be set, says the rest, and what was there comes back", async () => {
  const page = await open();
  await page.set("#prompt", "mine  ");
  await page.set("#seed", "4");
  const before = await form(page);
  await page.drop(file("lighthouse.png", LATIN));
  const message = await page.message("lighthouse.png (A1111)");
  const told = ["seed 1234", "20 steps", "guidance 7", "512×768", "sampler Euler a (DDIM stays)", "model v1-5-pruned-emaonly (6ce0161689); Emoji Diffusion is loaded"];
  for (const words of told) assert.ok(message.includes(words), `${words}: ${message}`);
  const now = await form(page);
  const fields = ["prompt", "negativePrompt", "seed", "steps", "scheduler", "width", "height"];
  assert.deepEqual(fields.map((name) => now[name]), ["a lighthouse at dusk, oil painting", "people, text", "1234", "20", "ddim", "512", "768"]);
  await page.shows("settings restored", "#messages");
  await page.click("#messages .quiet");
  assert.deepEqual(await form(page), before);
  assert.deepEqual(await page.messages(), []);
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("a seed that a picture brings is drawn, also where it is that of the picture on show", async () => {
  const seeds = [];
  const page = await open({ plays: { start: ({ settings }) => { seeds.push(settings.seed); } } });
  await page.set("#seed", "1234");
  await page.run(() => { document.querySelector("#seed-lock").checked = false; });
  await page.draw();
  await page.drop(file("again.png", LATIN));
  await page.message("again.png (A1111)");
  await page.draw();
  assert.deepEqual(seeds, ["1234", "1234"]);
  await page.close();
});

test("a picture without settings says so, and can be trained on; several are a set to train on", async () => {
  const page = await open();
  await page.drop(file("tulip.png", PLAIN));
  await page.message("This picture carries no settings");
  assert.equal(await view(page), "generate");
  await page.shows("no settings", "#messages");
  await page.click("#messages .quiet");
  await page.until("one picture to train on", () => document.body.dataset.pictures === "1");
  await page.close();

  const other = await open();
  await other.drop(file("a.png", LATIN), file("b.png", PLAIN));
  await other.until("two pictures to train on", () => document.body.dataset.pictures === "2");
  await other.close();
});

test("on the Train view a picture is trained on, whatever it carries", async () => {
  const page = await open({ at: "#train" });
  const before = await form(page);
  await page.drop(file("train.png", LATIN));
  await page.until("one picture to train on", () => document.body.dataset.pictures === "1");
  assert.deepEqual(await form(page), before);
  await page.close();
});

test("an adapter that ships with the page comes along, and goes off again", async () => {
  const page = await open();
  await page.run((text) => {
    const field = document.querySelector("#prompt");
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", text);
    field.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  }, "a fox <lora:ink:0.6> <lora:none:1>\nSteps: 11, Sampler: DDIM, CFG scale: 3, Seed: 9, Size: 128x128, RNG: CPU, Lora hashes: \"none: 0123456789ab\"");
  const message = await page.message("Pasted (A1111)");
  assert.ok(message.includes("ink 0.6") && message.includes("adapter none (0123456789ab)"), message);
  const card = () => page.run(() => [...document.querySelectorAll(".card")].map((one) => {
    const [on, strength] = [one.querySelector(".enabled"), one.querySelector("input[type=number]")];
    return [one.dataset.adapter, on.checked, strength.value];
  }));
  assert.deepEqual(await card(), [["ink", true, "0.6"]]);
  assert.equal((await form(page)).prompt, "a fox <lora:none:1>");
  await page.click("#messages .quiet");
  assert.deepEqual((await card()).map(([name, on]) => [name, on]), [["ink", false]]);
  await page.close();
});

test("a picture that is pasted as a file is one that is dropped; a text stays a text", async () => {
  const page = await open();
  const paste = (name, bytes) => page.run((what, base64) => {
    const clipboardData = new DataTransfer();
    if (base64) clipboardData.items.add(new File([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], what, { type: "image/png" }));
    else clipboardData.setData("text/plain", what);
    const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
    document.querySelector("#prompt").dispatchEvent(event);
    return event.defaultPrevented;
  }, name, bytes?.toString("base64"));
  assert.equal(await paste("a plain text"), false);
  assert.equal(await paste("pasted.png", LATIN), true);
  await page.message("pasted.png (A1111)");
  assert.deepEqual(page.errors, []);
  await page.close();
});
