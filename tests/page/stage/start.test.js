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

/** Drags the mouse over the picture in the mask's dialog; places are shares of its sides. */
async function stroke(page, ...places) {
  const { left, top, width, height } = await page.run(() => document.querySelector("#mask-pair").getBoundingClientRect().toJSON());
  const mouse = (type, [x, y]) => page.devtools("Input.dispatchMouseEvent", { type, x: left + x * width, y: top + y * height, button: "left", buttons: 1, clickCount: 1 });
  await mouse("mousePressed", places[0]);
  for (const place of places) await mouse("mouseMoved", place);
  await mouse("mouseReleased", places.at(-1));
}

/** How opaque the mask is at these places. */
const painted = (page, ...places) => page.run((wanted) => {
  const canvas = document.querySelector("#mask-canvas");
  return wanted.map(([x, y]) => canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data[3]);
}, places);

test("a mask is painted, by mouse and by keys, each step back and forth, and the engine is given it", async () => {
  const starts = [];
  const page = await open({ plays: { start: ({ settings, pictures }) => { starts.push({ start: settings.start, pictures }); } } });
  await dropOnPanel(page, file("tulip.png", TULIP));
  await page.says("#start-name", "tulip.png");
  await page.click("#start-mask");
  await page.until("the picture", () => document.querySelector("#mask-canvas").width === 128);
  await stroke(page, [0.2, 0.2], [0.5, 0.2], [0.8, 0.2]);
  assert.deepEqual(await painted(page, [0.2, 0.2], [0.65, 0.2], [0.5, 0.8]), [255, 255, 0]);
  await page.shows("mask dialog");
  await page.click("#mask-eraser");
  await stroke(page, [0.5, 0.2]);
  assert.deepEqual(await painted(page, [0.2, 0.2], [0.5, 0.2]), [255, 0]);
  await page.click("#mask-undo");
  await page.click("#mask-invert");
  assert.deepEqual(await painted(page, [0.2, 0.2], [0.5, 0.2], [0.5, 0.8]), [0, 0, 255]);
  // by keys alone: the stroke goes, the rectangle comes
  const key = (typed, modifiers = 0) => page.devtools("Input.dispatchKeyEvent", { type: "rawKeyDown", key: typed, modifiers, windowsVirtualKeyCode: typed.toUpperCase().charCodeAt(0) });
  await page.run(() => document.querySelector("#mask-view").focus());
  for (const typed of ["z", "z"]) await key(typed, 2);
  assert.deepEqual(await painted(page, [0.2, 0.2], [0.5, 0.8]), [0, 0]);
  assert.equal(await page.run(() => document.querySelector("#mask-undo").disabled), true);
  await page.run(() => document.querySelector("#mask-rectangle").requestSubmit());
  assert.deepEqual(await painted(page, [0.25, 0.25], [0.75, 0.25], [0.25, 0.75]), [255, 0, 0]);
  // a mask's file that is dropped on it: of another size, and none
  await page.drop(file("broken mask.png", "no picture"));
  await page.says("#mask-words", "broken mask.png: This picture could not be read");
  await page.drop(file("mask.png", fixture("picture-info/infotext/latin.png")));
  await page.says("#mask-words", "mask.png is the mask now, stretched from");
  await page.click("#mask-undo");
  await page.click("#mask-done");
  await page.says("#start-mask-words", "25 % masked");
  await page.run(() => { document.querySelector("#start-inpaint-fold").open = true; });
  await page.set("#start-area", "masked");
  await page.set("#start-content", "noise");
  await page.set("#width", "64");
  assert.equal(await page.run(() => document.querySelector("#start-resize-field").hidden), true);
  await page.shows("start picture masked", "#start-inpaint");
  await page.draw();
  await drawn(page, 1);
  const [{ start, pictures }] = starts;
  assert.deepEqual(start.inpaint, { blur: 4, content: "noise", area: "masked", padding: 32, inverted: false });
  assert.match(start.mask, /^[0-9a-f]{16}$/);
  assert.deepEqual(pictures.mask, { width: 128, height: 128, painted: 64 * 64 });
  // the masked part alone was drawn: the picture keeps its size
  assert.deepEqual(await page.run(() => [document.querySelector("#canvas-now").width, document.querySelector("#canvas-now").height]), [128, 128]);
  assert.deepEqual([await page.messages(), page.errors], [[], []]);

  // larger: the new part is masked, and reaches into the old one
  await page.set("#width", "128");
  await page.click("#start-mask");
  await page.run(() => {
    const form = document.querySelector("#mask-extend");
    form.elements.namedItem("right").value = "64";
    form.requestSubmit();
  });
  await page.says("#mask-words", "192×128, with the new part masked.");
  assert.deepEqual(await painted(page, [0.1, 0.1], [0.5, 0.9], [120 / 192, 0.9], [0.9, 0.9]), [255, 0, 255, 255]);
  await page.click("#mask-undo");
  assert.equal(await page.run(() => document.querySelector("#mask-canvas").width), 128);
  await page.click("#mask-redo");
  await page.shows("mask dialog extended");
  await page.click("#mask-done");
  await page.says("#start-size", "192×128");
  const fields = ["#start-strength-number", "#width", "#height"];
  assert.deepEqual(await page.run((wanted) => wanted.map((one) => document.querySelector(one).value), fields), ["0.9", "192", "128"]);
  await page.click("#start-unmask");
  assert.equal(await summary(page), "strength 0.9");
  await page.click("#messages .quiet");
  assert.equal(await summary(page), "strength 0.9, masked");
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("a second pass is off until somebody chooses it, and not done with a start picture", async () => {
  const given = [];
  const page = await open({ plays: { start: ({ settings }) => { given.push(settings); } } });
  await page.draw();
  await page.run(() => { for (const id of ["#settings", "#hires"]) document.querySelector(id).open = true; });
  await page.set("#hires-upscaler", "lanczos");
  await page.says("#hires-summary", "to 256×256");
  assert.equal(await page.run(() => document.querySelector("#hires-strength").value), "0.4");
  await page.shows("hires", "#hires");
  // the field says what is too large, and nothing is drawn of it
  await page.set("#width", 1024);
  await page.set("#hires-scale", 2.5);
  assert.equal(await page.run(() => document.querySelector("#hires-scale").validationMessage), "2560×320 is too large: 2048 pixels a side are the most.");
  await page.set("#width", 128);
  await page.set("#hires-scale", 2);
  await page.says("#settings-summary", "128×128 to 256×256");
  await page.draw();
  await drawn(page, 2);
  assert.equal(await page.run(() => document.querySelector("#canvas-now").width), 256);
  await page.click("#start > summary");
  await page.click("#start-shown");
  await page.says("#start-size", "256×256");
  await page.says("#hires-summary", "not with a start picture");
  await page.draw();
  await drawn(page, 3);
  assert.deepEqual(given.map(({ hires, start }) => [hires ?? null, Boolean(start)]), [[null, false], [{ scale: 2, upscaler: "lanczos", strength: 0.4, steps: 0 }, false], [null, true]]);
  await page.click("#history button:nth-child(2)");
  await page.says("#hires-summary", "to 256×256");
  await page.click("#history button:nth-child(3)");
  await page.says("#hires-summary", "off");
  assert.deepEqual([await page.messages(), page.errors], [[], []]);
  await page.close();
});
