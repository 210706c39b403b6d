// Work that is asked for while it runs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { onceMore } from "../../web/once-more.js";

test("asked for again meanwhile it runs once more, and who asked waits for that", async () => {
  let runs = 0;
  /** @type {(() => void)[]} */
  const waits = [];
  const ask = onceMore(() => {
    runs += 1;
    return new Promise((resolve) => waits.push(() => resolve()));
  }, assert.fail);
  const all = [ask(), ask(), ask()];
  let through = false;
  Promise.all(all).then(() => { through = true; });
  waits[0]();
  await new Promise(setImmediate);
  assert.deepEqual([runs, through], [2, false]);
  waits[1]();
  await Promise.all(all);
  assert.equal(runs, 2);
  const after = ask();
  waits[2]();
  await after;
  assert.equal(runs, 3);
});

test("what fails is told once, and the next one runs", async () => {
  const told = [];
  let fails = true;
  const ask = onceMore(async () => { if (fails) throw new Error("no room"); }, (error) => told.push(error.message));
  await Promise.all([ask(), ask()]);
  fails = false;
  await ask();
  assert.deepEqual(told, ["no room"]);
});
