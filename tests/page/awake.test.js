// The screen stays on while something long goes on, and not a moment longer.

import assert from "node:assert/strict";
import { test } from "node:test";

const held = [];
const asked = [];
globalThis.document = { visibilityState: "visible", addEventListener() {} };
Object.defineProperty(globalThis, "navigator", { value: { wakeLock: {
  request: () => new Promise((resolve) => {
    const lock = Object.assign(new EventTarget(), { release: () => held.splice(held.indexOf(lock), 1) });
    asked.push(() => { held.push(lock); resolve(lock); });
  }),
} } });
const { stayAwake } = await import("../../web/awake.js");
const turn = () => new Promise((resolve) => { setTimeout(resolve); });

test("however often it is asked for, one lock is held, and none when all is done", async () => {
  for (let time = 0; time < 3; time += 1) stayAwake(true);
  assert.equal(asked.length, 1);
  asked.shift()();
  await turn();
  assert.equal(held.length, 1);
  stayAwake(true);
  assert.equal(asked.length, 0);
  stayAwake(false);
  assert.deepEqual(held, []);
});

test("what is over before the browser answers lets go at once", async () => {
  stayAwake(true);
  stayAwake(false);
  stayAwake(true);
  stayAwake(false);
  assert.equal(asked.length, 1);
  asked.shift()();
  await turn();
  assert.deepEqual([held.length, asked.length], [0, 0]);
});
