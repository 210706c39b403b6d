// Runs and the library on a disk in memory, with every fault that a disk can have (tests/page/played).

import assert from "node:assert/strict";
import { test } from "node:test";
import "./played/globals.js";
import libraryFaults from "./played/library_faults.js";
import runFaults from "./played/run_faults.js";
import runFlow from "./played/run_flow.js";
import runMachine from "./played/run_machine.js";
import runOwed from "./played/run_owed.js";

test("a run goes from state to state as charted: every event in every state", async () => {
  const { wrong, looked } = await runMachine();
  assert.deepEqual(wrong, []);
  assert.ok(looked > 100, `${looked}`);
});

test("a tab that dies and a full disk leave runs that go on, at every call of the disk", async () => {
  const { wrong, faults } = await runFaults();
  assert.deepEqual(wrong, []);
  assert.ok(faults > 1000, `${faults}`);
});

test("a run is paused, rewound, ended, cancelled and goes on", async () => {
  assert.deepEqual(await runFlow(), { wrong: [] });
});

test("what was due at the kept step is done after a reload, cut off at every state that is kept", async () => {
  const { wrong, cuts } = await runOwed();
  assert.deepEqual(wrong, []);
  assert.ok(cuts >= 8, `${cuts}`);
});

test("a tab that dies and a full disk leave whole entries in the library, at every call of the store", async () => {
  const { wrong, faults } = await libraryFaults();
  assert.deepEqual(wrong, []);
  assert.ok(faults > 200, `${faults}`);
});
