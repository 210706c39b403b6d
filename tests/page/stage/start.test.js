// A picture to start from: where it comes from, what the engine is given, and what comes back of it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { file, open } from "./page.js";

const fixture = (path) => readFileSync(new URL(`../../fixtures/${path}`, import.meta.url));
const TULIP = fixture("demo-model/held-out-set/tulip.png");

/** Drags a file onto the panel, folded or not. */
async function dropOnPanel(page, path) {
  const { x, y } = await page.run(() => {
    const summary = document.querySelector("#start > summary");
    summary.scrollIntoView({ block: "center" });
    const { left, top } = summary.getBoundingClientRect();
    return { x: left + 5, y: top + 5 };
  });
  const data = { items: [], files: [path], dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"]) await page.devtools("Input.dispatchDragEvent", { type, x, y, data });
}

const summary = (page) => page.run(() => document.querySelector("#start-summary").textContent);
const drawn = (page, count) => page.until(`${count} pictures`, (wanted) => document.querySelectorAll("#history button").length === wanted && document.body.dataset.state === "ready", count);

test("a picture that is dropped on the panel is what is drawn from, live, and comes back with its settings", async () => {
  const starts = [];
  const page = await open({ plays: { start: ({ settings, pictures }) => { starts.push({ start: settings.start, pictures }); } } });
  await page.draw();
  await dropOnPanel(page, file("tulip.png", TULIP));
  await page.says("#start-name", "tulip.png");
  await page.says("#start-steps", "16 of 20 steps are made");
  await page.shows("start picture", "#start");
  await page.draw();
  await drawn(page, 2);
  const [, { start, pictures }] = starts;
  assert.match(start.picture, /^[0-9a-f]{16}$/);
  assert.deepEqual(start, { picture: start.picture, mask: "", strength: 0.75, exactSteps: false, resize: "stretch", inpaint: null });
  assert.deepEqual([pictures.width, pictures.height, pictures.bytes, pictures.mask], [128, 128, 4 * 128 * 128, null]);
  // the slider is live
  await page.set("#start-strength", "0.4");
  await drawn(page, 3);
  assert.deepEqual(starts.map((one) => one.start?.strength), [undefined, 0.75, 0.4]);
  assert.equal(await summary(page), "strength 0.4");
  // a picture from noise alone, from the strip, then one from the start picture again
  await page.click("#history button:nth-child(3)");
  assert.equal(await summary(page), "");
  await page.click("#history button:nth-child(2)");
  assert.equal(await summary(page), "strength 0.75");
  await page.click("#start-remove");
  assert.equal(await summary(page), "");
  await page.click("#messages .quiet");
  assert.equal(await summary(page), "strength 0.75");
  // the one on show is smaller now than what is drawn
  await page.set("#width", "256");
  await page.click("#start-shown");
  await page.says("#start-name", "The picture that was on show");
  assert.equal(await page.run(() => document.querySelector("#start-resize-field").checkVisibility()), true);
  await page.shows("start picture of another size", "#start");
  await page.click("#start-take-size");
  assert.deepEqual(await page.run(() => [document.querySelector("#width").value, document.querySelector("#start-resize-field").hidden]), ["128", true]);
  assert.deepEqual([await page.messages(), page.errors], [[], []]);
  await page.close();
});

test("what isn't a picture is said; the gallery's pictures come back and say what is gone after a reload", async () => {
  const page = await open();
  await dropOnPanel(page, file("broken.png", "no picture"));
  await page.message("broken.png: This picture could not be read");
  await page.click("#messages .icon");
  await page.drop(file("tulip.png", TULIP));
  await page.message("This picture carries no settings");
  await page.click("#messages .quiet:nth-child(2)");
  await page.says("#start-name", "tulip.png");
  await page.set("#start-strength", "0.3");
  await page.draw();
  await page.says("#gallery-summary", "1 picture");
  const use = async () => {
    await page.run(() => { document.querySelector("#gallery").open = true; });
    await page.click("#gallery-list li button");
    await page.click("#viewer-use");
  };
  await use();
  assert.match(await page.message("From the gallery"), /start picture, strength 0.3/);
  await page.reload();
  assert.equal(await summary(page), "gone with the reload");
  await use();
  const told = await page.message("From the gallery");
  assert.ok(told.includes("the picture that it started from, which no text holds: put it in again"), told);
  assert.equal(await page.run(() => document.querySelector("#start-strength-number").value), "0.3");
  // a picture of the gallery is a start as well
  await page.click("#gallery-list li button");
  await page.click("#viewer-start");
  await page.says("#start-size", "128×128");
  assert.deepEqual(page.errors, []);
  await page.close();
});
