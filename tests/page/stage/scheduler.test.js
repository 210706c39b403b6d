// The scheduler, and the fields that hang on which one it is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { open } from "./page.js";

const fields = (page) => page.run(() => {
  const shown = (id) => !document.querySelector(id).hidden;
  return { schedule: shown("#schedule-field"), spacing: shown("#spacing-field"), eta: shown("#eta-field") };
});

test("schedulers stand in groups and say what they are for; what one takes is asked for and sent, and nothing else", async () => {
  const sent = [];
  const start = ({ settings: { scheduler, schedule, spacing, eta } }) => { sent.push([scheduler, schedule, spacing, eta]); };
  const page = await open({ plays: { start } });
  const groups = await page.run(() => [...document.querySelectorAll("#scheduler optgroup")].map(({ label, children }) => [label, children.length]));
  assert.deepEqual(groups, [["For most pictures", 3], ["For models of few steps", 1]]);
  assert.deepEqual(await fields(page), { schedule: false, spacing: true, eta: false });
  await page.run(() => { document.querySelector("#settings").open = true; });
  await page.set("#scheduler", "dpmpp_2m");
  assert.equal(await page.run(() => document.querySelector("#scheduler-about").textContent), "the usual advice");
  await page.set("#spacing", "trailing");
  await page.draw();
  await page.set("#schedule", "karras");
  assert.deepEqual(await fields(page), { schedule: true, spacing: false, eta: false });
  await page.draw();
  await page.shows("a schedule", "#settings");
  // one that goes down its own levels: what was set is hidden, not sent, and there again afterwards
  await page.set("#scheduler", "tcd");
  assert.deepEqual(await fields(page), { schedule: false, spacing: true, eta: true });
  await page.draw();
  await page.set("#scheduler", "euler");
  await page.draw();
  assert.deepEqual(sent, [
    ["dpmpp_2m", "", "trailing", null], ["dpmpp_2m", "karras", "", null], ["tcd", "", "trailing", 0.3], ["euler", "karras", "", null],
  ]);
  assert.deepEqual(page.errors, []);
  await page.close();
});
