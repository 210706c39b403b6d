// Start pictures without a page: how many steps they leave, and what is kept of them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fingerprint } from "../../web/pictures.js";
import { boxOf, cropOf } from "../../web/start/crop.js";
import { extended, keptOf } from "../../web/start/extend.js";
import { maskOf, paintedBy, shareOf } from "../../web/start/mask.js";
import { sizeNear, stepsMade } from "../../web/start/steps.js";
import { GONE, StartStore, startsOf } from "../../web/start/store.js";

test("steps are counted as A1111 counts them", () => {
  // strength, steps, calls: int(min(strength, 0.999) * steps) + 1, in doubles
  const cases = [[0, 20, 1], [0.29, 100, 29], [0.4, 20, 9], [0.5, 20, 11], [0.75, 20, 16], [1, 20, 20], [1, 1, 1]];
  for (const [strength, steps, calls] of cases) {
    assert.equal(stepsMade(strength, steps, false), calls, `${strength} of ${steps}`);
    assert.equal(stepsMade(strength, steps, true), steps);
  }
});

test("the size near to a picture's can be drawn", () => {
  const limits = { least: 64, most: 1536 };
  const cases = { "512×512": [512, 512], "4000×3000": [1536, 1152], "509×515": [512, 512], "10×2000": [64, 1536], "100×99": [104, 96] };
  for (const [size, near] of Object.entries(cases)) {
    const [width, height] = size.split("×").map(Number);
    assert.deepEqual(Object.values(sizeNear({ width, height }, limits)), near, size);
  }
});

const pixels = (width, height, value = 0) => ({ width, height, rgba: new Uint8ClampedArray(4 * width * height).fill(value) });
const start = (picture, mask = "") => ({ picture, mask, strength: 0.5, exactSteps: false, resize: "stretch", inpaint: null });

test("pictures are told apart by their pixels and by their shape, and those in use stay", async () => {
  let used = "";
  const store = new StartStore((name) => name === used, 4 * 4 * 4 * 3);
  const [wide, tall] = [await store.put(pixels(8, 2)), await store.put(pixels(2, 8))];
  assert.notEqual(wide, tall);
  assert.match(wide, /^[0-9a-f]{16}$/);
  assert.equal(await store.put(pixels(8, 2)), wide);
  used = tall;
  const third = await store.put(pixels(4, 4, 1));
  assert.deepEqual(store.of({ start: start(wide, tall) }), { picture: store.get(wide), mask: store.get(tall) });
  // one too many: the one used longest ago goes, unless it is in use
  store.get(wide);
  const fourth = await store.put(pixels(4, 4, 2));
  assert.deepEqual([wide, tall, third, fourth].map((name) => Boolean(store.get(name))), [true, true, false, true]);
  assert.equal(store.of({}), null);
  assert.throws(() => store.of({ start: start(third) }), { name: GONE, message: /isn’t in memory any more/ });
  assert.deepEqual([store.has(null), store.has(start(wide, third)), store.has(start(wide))], [true, false, true]);
  const masked = { ...start(wide, tall), inpaint: { blur: 4, content: "original", area: "masked", padding: 32, inverted: false } };
  const whole = { ...masked, inpaint: { ...masked.inpaint, area: "whole" } };
  const size = (one) => Object.values(store.sizeOf({ start: one, width: 64, height: 72 }));
  assert.deepEqual([size(masked), size(whole), size(null)], [[8, 2], [64, 72], [64, 72]]);
});

test("what a picture starts from is of its fingerprint, and is known while it waits", () => {
  const job = (one) => ({ model: "m", settings: { prompt: "a", variationStrength: 0, ...one && { start: one } }, adapters: [] });
  const prints = [null, start("a"), start("b"), { ...start("a"), strength: 0.6 }, start("a", "m")].map((one) => fingerprint(job(one)));
  assert.equal(new Set(prints).size, 5);
  const entry = (one) => ({ job: job(one) });
  assert.deepEqual([...startsOf({ hand: null, live: entry(start("a")), waiting: [entry(null), entry(start("b", "m"))] })], ["a", "", "b", "m"]);
});

test("a mask's file is read by its alpha where it has some, else by its grey", () => {
  const rgba = (...values) => new Uint8ClampedArray(values.flat());
  assert.deepEqual([...paintedBy(rgba([255, 255, 255, 255], [0, 0, 0, 255], [255, 0, 0, 255], [90, 90, 90, 255]))], [255, 0, 76, 90]);
  assert.deepEqual([...paintedBy(rgba([255, 255, 255, 0], [0, 0, 0, 128], [9, 9, 9, 129], [0, 0, 0, 255]))], [0, 0, 255, 255]);
  const mask = maskOf({ width: 2, height: 1, data: rgba([1, 2, 3, 255], [7, 7, 7, 51]) });
  assert.deepEqual([...mask.rgba], [255, 255, 255, 255, 51, 51, 51, 255]);
  assert.equal(shareOf(mask), 0.6);
});

test("a picture that is extended keeps its pixels, and its edge goes on", () => {
  const picture = { width: 2, height: 2, rgba: new Uint8ClampedArray([10, 20, 30, 40].flatMap((grey) => [grey, grey, grey, 255])) };
  const sides = { left: 1, right: 0, top: 0, bottom: 2 };
  const grey = (filling) => {
    const { width, height, rgba } = extended(picture, sides, filling);
    assert.deepEqual([width, height], [3, 4]);
    return Array.from({ length: 4 }, (_, y) => [0, 1, 2].map((x) => rgba[4 * (3 * y + x)]));
  };
  assert.deepEqual(grey("edge"), [[10, 10, 20], [30, 30, 40], [30, 30, 40], [30, 30, 40]]);
  const noise = grey("noise");
  assert.deepEqual([noise[0].slice(1), noise[1].slice(1)], [[10, 20], [30, 40]]);
  assert.deepEqual(grey("noise"), noise);
  assert.ok(new Set([noise[0][0], noise[1][0], ...noise[2], ...noise[3]]).size > 4);
  // the new part reaches into the old one, where a side grew
  assert.deepEqual(keptOf({ width: 100, height: 50 }, { left: 8, right: 0, top: 0, bottom: 24 }), { x: 24, y: 0, width: 84, height: 34 });
  assert.deepEqual(keptOf({ width: 20, height: 20 }, { left: 8, right: 8, top: 0, bottom: 0 }).width, 0);
});

test("the part that is drawn alone is A1111's", () => {
  // what its modules/masking.py gives: the mask's box, the picture, padding, the size that is drawn, the part
  const cases = [
    [[20, 18, 52, 38], [64, 64], 8, [512, 512], [12, 4, 60, 52]],
    [[0, 0, 10, 10], [64, 64], 32, [512, 512], [0, 0, 42, 42]],
    [[600, 20, 640, 90], [768, 512], 32, [512, 512], [559, 0, 681, 122]],
    [[10, 400, 700, 500], [768, 512], 0, [512, 768], [10, 0, 700, 512]],
    [[300, 300, 301, 301], [768, 512], 0, [512, 512], [300, 300, 301, 301]],
    [[5, 5, 700, 40], [720, 480], 16, [512, 512], [0, 0, 716, 480]],
    [[5, 5, 40, 470], [720, 480], 16, [768, 512], [0, 0, 720, 480]],
    [[0, 0, 720, 480], [720, 480], 32, [512, 512], [0, 0, 720, 480]],
    [[100, 50, 228, 82], [1024, 1024], 0, [512, 512], [100, 2, 228, 130]],
    [[101, 51, 230, 84], [1024, 1024], 5, [640, 384], [96, 26, 235, 109]],
  ];
  const size = ([width, height]) => ({ width, height });
  for (const [[left, top, right, bottom], image, padding, drawn, part] of cases) {
    const crop = cropOf({ left, top, right, bottom }, padding, size(image), size(drawn));
    assert.deepEqual([crop.left, crop.top, crop.right, crop.bottom], part, JSON.stringify([left, top, right, bottom]));
  }
  const mask = pixels(40, 30);
  mask.rgba[4 * (40 * 10 + 20)] = 200;
  const inpaint = { blur: 0, content: "original", area: "masked", padding: 0, inverted: false };
  assert.deepEqual(boxOf(mask, inpaint), { left: 20, top: 10, right: 21, bottom: 11 });
  assert.deepEqual(boxOf(mask, { ...inpaint, blur: 4 }), { left: 10, top: 0, right: 31, bottom: 21 });
  assert.deepEqual(boxOf(mask, { ...inpaint, inverted: true }), { left: 0, top: 0, right: 40, bottom: 30 });
  assert.equal(boxOf(pixels(4, 4), inpaint), null);
});
