// The page by somebody who has no mouse: from open to a saved sheet, by the tab key and those that every control has.

import assert from "node:assert/strict";
import { test } from "node:test";
import { open } from "./page.js";

const CTRL = 2;

test("from open to a saved sheet without a mouse: draw, an adapter, its strength, two pictures compared, a sheet, a cell of it", async () => {
  const page = await open({ before: `
    const { click } = HTMLAnchorElement.prototype;
    HTMLAnchorElement.prototype.click = function clicked() {
      if (this.download) window.saved = { name: this.download, href: this.href };
      else click.call(this);
    };
    addEventListener("mousedown", () => { throw new Error("a mouse was used"); });` });
  await page.tabTo("#prompt");
  await page.press("a", CTRL);
  await page.type("a fox at night");
  await page.press("Enter");
  await page.says("#status", "Drawn");
  const bare = await page.run(() => document.body.dataset.pictureFingerprint);
  assert.equal(JSON.parse(bare).prompt, "a fox at night");

  await page.tabTo("#demo-adapters button");
  await page.press("Enter");
  await page.until("its card and its picture", () => document.querySelector(".card") && document.body.dataset.state === "ready" && JSON.parse(document.body.dataset.pictureFingerprint).adapters.length === 1);
  await page.tabTo("#two-up", 8);
  await page.press("Home");
  assert.equal(await page.run(() => document.querySelector("#two-up").position), 0);
  await page.press("PageUp");
  assert.equal(await page.run(() => document.querySelector("#two-up").position), 10);
  await page.tabTo(".card .strength input[type=range]");
  await page.press("ArrowLeft");
  await page.until("a weaker picture", () => document.body.dataset.state === "ready" && JSON.parse(document.body.dataset.pictureFingerprint).adapters[0][1] < 1);

  await page.tabTo("#sheet-strengths");
  await page.press("Enter");
  await page.until("the sheet's dialog", () => document.querySelector("#sheet-dialog").open);
  await page.tabTo("#sheet-x-values");
  await page.press("a", CTRL);
  await page.type("0, 1");
  await page.tabTo("#sheet-y-values");
  await page.press("a", CTRL);
  await page.type("7-8");
  await page.says("#sheet-cost", "4 pictures");
  await page.press("Enter");
  await page.says("#sheet-status", "4 of 4 drawn");
  await page.tabTo("#sheet-save");
  await page.press("Enter");
  await page.until("the file", () => window.saved);
  assert.match(await page.run(() => window.saved.name), /^sheet-a-fox-at-night-\d+\.png$/);

  await page.tabTo("#sheet-cells button");
  await page.press("ArrowRight");
  await page.press("Enter");
  await page.until("the second picture's settings", () => !document.querySelector("#sheet-dialog").open && document.querySelector("#seed").value === "7" && document.body.dataset.state === "ready");
  assert.equal(await page.run(() => document.querySelector(".card .strength input").value), "1");
  assert.equal(await page.run(() => document.activeElement.id), "sheet-strengths", "it goes on where it was");
  assert.deepEqual([await page.messages(), page.errors], [[], []]);
  await page.close();
});
