// A sheet: what it takes is told before, it fills cell by cell, and each cell is a press from being restored.

import assert from "node:assert/strict";
import { test } from "node:test";
import { adapter, file, latch, open, pause } from "./page.js";

const drawn = (page) => page.run(() => [...document.querySelectorAll("#sheet-cells button")].filter((button) => !button.disabled).length);

async function axes(page, x, y, z = ["", ""]) {
  for (const [side, [id, text]] of [["x", x], ["y", y], ["z", z]]) {
    await page.set(`#sheet-${side}`, id);
    if (id) await page.set(`#sheet-${side}-values`, text);
  }
}

test("a strength row over seeds fills cell by cell, is stopped, goes on, is restored and saved", async () => {
  const held = latch();
  const begun = [];
  const page = await open({ plays: {
    start: ({ settings }) => { begun.push(settings.seed); },
    pull: ({ step }) => (begun.length === 4 && step === 10 ? held.opened : {}),
  } });
  assert.equal(await page.run(() => document.querySelector("#sheet-strengths").checkVisibility()), false, "no adapter, no strengths");
  await page.drop(file("night.safetensors", adapter(1)));
  await page.says("#status", "night is on");
  await page.set("#prompt", "a fox at night");
  await page.click("#sheet-strengths");
  await page.says("#sheet-cost", "12 pictures, how long isn’t known before a picture was drawn");
  await page.shows("sheet before");
  await axes(page, ["strength", "0-1 [3]"], ["seed", "7-8"]);
  await page.says("#sheet-cost", "6 pictures");
  await page.click("#sheet-draw");
  await page.says("#sheet-status", "3 of 6 drawn");
  assert.equal(await drawn(page), 3);
  await page.shows("sheet filling");
  await page.click("#sheet-stop");
  held.open();
  await page.says("#sheet-status", "3 of 6 drawn: Draw draws the rest");
  assert.equal(await page.run(() => document.querySelector("#queue").hidden), true);
  await page.says("#sheet-cost", "6 pictures");
  await page.click("#sheet-draw");
  await page.says("#sheet-status", "6 of 6 drawn");
  assert.deepEqual(begun, ["7", "7", "7", "8", "8", "8", "8"], "what is there is not drawn again");
  await page.shows("sheet drawn");
  // the sheet is a file
  await page.run(() => {
    const { click } = HTMLAnchorElement.prototype;
    HTMLAnchorElement.prototype.click = function clicked() {
      if (this.download) window.saved = { name: this.download, href: this.href };
      else click.call(this);
    };
  });
  await page.click("#sheet-save");
  await page.until("the file", () => window.saved);
  const { name, width } = await page.run(async () => {
    const image = new Image();
    image.src = window.saved.href;
    await image.decode();
    return { name: window.saved.name, width: image.naturalWidth };
  });
  assert.match(name, /^sheet-a-fox-at-night-\d+\.png$/);
  assert.ok(width > 3 * 128, "it holds three columns");
  // a cell
  await page.click("#sheet-cells button:nth-child(5)");
  await page.until("its picture on show", () => JSON.parse(document.body.dataset.pictureFingerprint ?? "{}").seed === "8");
  const { adapters } = await page.run(() => JSON.parse(document.body.dataset.pictureFingerprint));
  assert.equal(adapters[0][1], 0.5);
  assert.deepEqual(await page.run(() => [document.querySelector("#seed").value, document.querySelector(".strength input").value, document.querySelector("#sheet-dialog").open]), ["8", "0.5", false]);
  await page.ready();
  assert.deepEqual([await page.messages(), page.errors], [[], []]);
  await page.close();
});

test("an axis that is wrong is told by name, and nothing is drawn; a setting that is refused leaves its cell empty", async () => {
  const page = await open({ plays: { start: ({ settings }) => settings.steps === 9 && { error: { kind: "setting", message: "steps: nine is too many. Choose 8" } } } });
  await page.run(() => { document.querySelector("#settings").setAttribute("open", ""); });
  await page.click("#sheet-open");
  await axes(page, ["steps", "8, 900"], ["", ""]);
  await page.says("#sheet-problem", "Across, Steps: 900 is out of range: it goes from 1 to 150.");
  assert.equal(await page.run(() => document.querySelector("#sheet-draw").disabled), true);
  await page.shows("sheet refused");
  await axes(page, ["steps", "8-10"], ["guidance", "2, 3"]);
  await page.says("#sheet-cost", "6 pictures");
  await page.click("#sheet-draw");
  await page.says("#sheet-status", "4 of 6 drawn: Draw draws the rest");
  assert.match(await page.message("nine is too many"), /^No picture/);
  await page.click("#sheet-close");
  assert.equal(await page.run(() => document.querySelectorAll("#history button").length), 0, "cells are no pictures of the strip until they are chosen");
  await page.click("#sheet-open");
  assert.equal(await drawn(page), 4, "the sheet is still there");
  await page.close();
});

test("blocks of a third setting stand below one another, and a cell of one brings all three settings back", async () => {
  const page = await open();
  await page.set("#prompt", "a fox");
  await page.run(() => document.querySelector("#sheet-open").click());
  await axes(page, ["guidance", "2, 4"], ["", ""], ["guidance", "2"]);
  await page.says("#sheet-problem", "Across and blocks are both Guidance");
  await axes(page, ["guidance", "2, 4"], ["seed", "7-8"], ["steps", "3, 5"]);
  await page.says("#sheet-cost", "8 pictures");
  await page.click("#sheet-draw");
  await page.says("#sheet-status", "8 of 8 drawn");
  await page.shows("sheet in blocks");
  const places = await page.run(() => [...document.querySelectorAll("#sheet-cells button")].map((button) => Math.round(button.getBoundingClientRect().top)));
  assert.equal(new Set(places).size, 4);
  assert.deepEqual(places, places.toSorted((a, b) => a - b), "block after block, row after row");
  assert.equal(await page.run(() => document.querySelector("#sheet-cells button:nth-child(6)").title), "Guidance 4, Seed 7, Steps 5");
  await page.click("#sheet-cells button:nth-child(6)");
  await page.until("its picture", () => document.body.dataset.state === "ready" && JSON.parse(document.body.dataset.pictureFingerprint ?? "{}").steps === 5);
  assert.deepEqual(await page.run(() => ["guidance", "seed", "steps"].map((id) => document.querySelector(`#${id}`).value)), ["4", "7", "5"]);
  assert.deepEqual([await page.messages(), page.errors], [[], []]);
  await page.close();
});

test("a sheet stands in the line as one, and pictures that are asked for come after it", async () => {
  const held = latch();
  const begun = [];
  const page = await open({ plays: {
    start: ({ settings }) => { begun.push(`${settings.prompt} ${settings.seed}`); },
    pull: ({ step }) => (begun.length === 1 && step === 10 ? held.opened : {}),
  } });
  await page.set("#prompt", "fox");
  await page.run(() => document.querySelector("#sheet-open").click());
  await axes(page, ["seed", "1-3"], ["", ""]);
  await page.click("#sheet-draw");
  await page.until("the first to be drawn", () => document.body.dataset.waiting === "2");
  await page.click("#sheet-close");
  await page.set("#prompt", "owl");
  await page.set("#seed", "5");
  await page.click("#enqueue");
  await page.says("#queue-chips", "Sheet · 2 left");
  await page.shows("a sheet in the line", "#queue");
  held.open();
  await page.until("all", () => document.body.dataset.state === "ready" && document.body.dataset.waiting === "0");
  assert.deepEqual(begun, ["fox 1", "fox 2", "fox 3", "owl 5"]);
  assert.match(await page.run(() => document.body.dataset.pictureFingerprint), /"prompt":"owl"/);
  await page.close();
});

test("strength by step of a run: snapshots are drawn with, and one that is restored becomes a card", async () => {
  const page = await open({ at: "#train" });
  await page.demoPictures();
  await page.set("#train-steps", "20");
  await page.until("the settings to be looked at", () => document.body.dataset.train === "ready");
  await page.click("#train-start");
  await page.until("the end", () => document.body.dataset.train === "finished");
  const steps = await page.run(() => document.querySelector("#timeline").dataset.steps);
  assert.ok(steps.length > 0, "the run has snapshots");
  await page.run(() => document.querySelector("#tab-generate").click());
  await page.set("#prompt", "cat");
  await page.run(() => document.querySelector("#sheet-open").click());
  await axes(page, ["strength", "0.5, 1"], ["snapshot", "0, 20"]);
  await page.says("#sheet-cost", "4 pictures");
  await page.click("#sheet-draw");
  await page.says("#sheet-status", "3 of 3 drawn");
  await page.shows("sheet of a run");
  assert.equal(await page.run(() => document.querySelectorAll(".card").length), 0);
  await page.click("#sheet-cells button:nth-child(3)");
  await page.until("its card", () => document.querySelectorAll(".card").length === 1 && document.querySelector(".card .strength input").value === "0.5");
  await page.until("ready", () => document.body.dataset.state === "ready" && JSON.parse(document.body.dataset.pictureFingerprint).adapters[0]?.[1] === 0.5);
  await pause();
  assert.deepEqual([await page.messages(), page.errors], [[], []]);
  await page.close();
});
