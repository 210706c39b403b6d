// Start pictures without a page: how many steps they leave, and what is kept of them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fingerprint } from "../../web/pictures.js";
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
