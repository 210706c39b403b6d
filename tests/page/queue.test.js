// The line of pictures: what waits, what goes first and what is thrown away, without drawing anything; and drawing it with
// an engine that is played.

import assert from "node:assert/strict";
import { test } from "node:test";
import "./played/globals.js";
import { PictureMaker, pictureCache } from "../../web/pictures.js";
import { EVENTS, NOTHING, next, owed } from "../../web/queue.js";
import { behindChip, lineOf } from "../../web/queue-words.js";
import { seedAfter } from "../../web/seed.js";

globalThis.ImageData ??= class { constructor(data, width, height) { Object.assign(this, { data, width, height }); } };

let ids = 0;
const jobOf = (prompt, { seed = "1", adapters = [] } = {}) => ({ model: "m", settings: { prompt, seed, width: 1, height: 1 }, adapters });
const entry = (key, group = null) => ({ id: ++ids, key, job: jobOf(key), group });
const keys = (entries) => entries.map(({ key }) => key);
/** After these events, each [name, detail]. */
const after = (...events) => events.reduce((state, [event, told]) => next(state, event, told), NOTHING);

test("those that were asked for come in their order, and nothing but their own controls takes them away", () => {
  const [a, b, c, live, base] = ["a", "b", "c", "live", "base"].map((key) => entry(key));
  const begun = after(["ask", [a]], ["begin"], ["ask", [b, c]]);
  assert.deepEqual([begun.hand, keys(begun.waiting)], [{ kind: "asked", entry: a }, ["b", "c"]]);
  const ends = { stop: true, putBack: true, cancel: true, empty: true, done: true };
  for (const event of Object.keys(EVENTS)) {
    const told = { ask: [a], live, compare: base, cancel: () => true, done: a }[event];
    const state = next(begun, /** @type {any} */ (event), told);
    if (!(event in ends)) assert.deepEqual([state.hand, keys(state.waiting)], [begun.hand, ["b", "c"]], event);
  }
  assert.deepEqual(keys(next(begun, "stop").waiting), ["b", "c"], "Stop leaves those that wait");
  assert.equal(next(begun, "empty").hand?.entry, a, "Empty leaves the one in hand");
  assert.deepEqual(keys(next(begun, "cancel", (one) => one === b).waiting), ["c"]);
  assert.deepEqual(keys(next(begun, "putBack").waiting), ["a", "b", "c"], "what something else interrupts comes first again");
  assert.equal(owed(begun), 3);
});

test("a slider's picture goes before those that wait, and makes way for a newer one; the one to compare with comes last", () => {
  const [a, b, live, newer, base] = ["a", "b", "live", "newer", "base"].map((key) => entry(key));
  const moved = after(["ask", [a, b]], ["begin"], ["compare", base], ["live", live], ["done", a]);
  const second = next(moved, "begin");
  assert.equal(second.hand?.entry, live);
  const again = next(next(second, "rest"), "begin");
  assert.equal(again.hand, null, "while a slider is held nothing begins");
  const last = next(next(again, "live", newer), "begin");
  assert.deepEqual([last.hand?.entry, keys(last.waiting)], [newer, ["b"]]);
  const order = [];
  for (let state = after(["ask", [a]], ["compare", base], ["ask", [b]]); ;) {
    state = next(state, "begin");
    if (!state.hand) break;
    order.push(state.hand.entry.key);
    state = next(state, "done", state.hand.entry);
  }
  assert.deepEqual(order, ["a", "b", "base"]);
});

test("what is there already isn't there twice; what a slider began is asked for from then on", () => {
  const a = entry("a");
  const twice = after(["ask", [a]], ["begin"], ["ask", [entry("a"), entry("b"), entry("b")]]);
  assert.deepEqual([twice.hand?.entry, keys(twice.waiting)], [a, ["b"]]);
  const asked = after(["live", a], ["begin"], ["ask", [entry("a")]]);
  assert.deepEqual([asked.hand, asked.waiting.length], [{ kind: "asked", entry: a }, 0]);
  const group = {};
  assert.equal(after(["ask", [a]], ["ask", [entry("a", group)]]).waiting.length, 2, "a sheet has its own");
  const base = entry("base");
  const aside = after(["compare", base], ["begin"], ["ask", [a]]);
  assert.deepEqual([aside.hand, aside.base], [null, base], "the one to compare with waits again");
});

test("what is said of the line: how many, what is next, what holds it; a chip for each and one for a sheet", () => {
  const page = { training: false, broken: false, then: "" };
  assert.deepEqual(lineOf(NOTHING, page), { words: "", chips: [], more: 0, stuck: false });
  const group = {};
  const state = after(["ask", [entry("fox"), entry("x", group), entry("y", group), entry("")]]);
  const { words, chips } = lineOf(state, page);
  assert.equal(words, "4 pictures wait; next: fox, seed 1");
  assert.deepEqual(chips.map(({ text }) => text), ["fox · 1", "Sheet · 2 left", "no prompt · 1"]);
  assert.equal(lineOf(state, { ...page, training: true }).words, "4 pictures wait until the training run rests");
  assert.equal(lineOf(state, { ...page, broken: true }).stuck, true);
  assert.match(lineOf(state, { ...page, then: "then other is loaded" }).words, /; then other is loaded$/);
  assert.equal(lineOf(NOTHING, { ...page, then: "then other is loaded" }).words, "");
  const inHand = after(["ask", [entry("a")]], ["begin"]);
  assert.equal(lineOf(inHand, { ...page, then: "then other is loaded" }).words, "Then other is loaded");
  const isIn = (i) => state.waiting.map(behindChip(state.waiting, chips[i].id));
  assert.deepEqual([isIn(0), isIn(1), isIn(2)], [[true, false, false, false], [false, true, true, false], [false, false, false, true]]);
  assert.equal(state.waiting.some(behindChip(state.waiting, "999999")), false);
  const many = lineOf(after(["ask", Array.from({ length: 20 }, (_, i) => entry(`p${i}`))]), page);
  assert.deepEqual([many.chips.length, many.more], [12, 8]);
});

test("seeds count up without losing a digit, and begin anew after the last one that the field holds", () => {
  assert.equal(seedAfter("41"), "42");
  assert.equal(seedAfter("9007199254740993", 3), "9007199254740996");
  assert.equal(seedAfter("9999999999999999999"), "0");
});

/** An engine whose pictures come when they are let, and a maker on it. */
function played() {
  const calls = [];
  const engine = {
    generate: (settings, adapters, { signal }) => new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(Object.assign(new Error("aborted"), { name: "AbortError" })));
      const done = () => resolve({ width: 1, height: 1, rgba: new Uint8ClampedArray(4), seconds: 1, notes: [] });
      calls.push({ prompt: settings.prompt, adapters, done, fail: (name) => reject(Object.assign(new Error(name), { name })) });
    }),
  };
  const page = { may: true };
  const maker = new PictureMaker(engine, pictureCache(), () => page.may);
  const seen = [];
  for (const type of ["picture", "failed", "idle"]) {
    maker.addEventListener(type, ({ detail: { picture, error, stopped } }) => {
      seen.push([type, picture?.job.settings.prompt ?? error?.message ?? stopped]);
    });
  }
  const ask = (...prompts) => maker.ask(prompts.map((prompt) => jobOf(prompt)));
  return { maker, calls, page, seen, ask };
}
const turn = () => new Promise((resolve) => { setTimeout(resolve); });

test("pictures come one after another; Stop ends one of them, and the next follows", async () => {
  const { maker, calls, seen, ask } = played();
  ask("a", "b", "c");
  await turn();
  assert.equal(calls.length, 1);
  maker.stop();
  await turn();
  calls[1].done();
  await turn();
  calls[2].fail("Error");
  await turn();
  assert.deepEqual(calls.map(({ prompt }) => prompt), ["a", "b", "c"]);
  assert.deepEqual(seen, [["picture", "b"], ["failed", "Error"], ["idle", true]]);
  ask("b");
  assert.deepEqual(seen.at(-1), ["picture", "b"], "what is known is there at once");
});

test("an engine that breaks takes one along; broken twice in a row, the line rests until somebody says so", async () => {
  const { maker, calls, page, ask } = played();
  ask("a", "b", "c", "d");
  for (const i of [0, 1]) {
    await turn();
    page.may = false;
    calls[i].fail("EngineCrash");
    await turn();
    page.may = true;
    maker.goOn();
  }
  await turn();
  assert.deepEqual([calls.length, maker.isBroken, keys(maker.state.waiting).length], [2, true, 2]);
  maker.tryAgain();
  await turn();
  calls[2].done();
  await turn();
  assert.deepEqual(calls.map(({ prompt }) => prompt), ["a", "b", "c", "d"]);
});

test("what needs the engine waits for the picture in hand, or has it drawn anew; the line goes on after it", async () => {
  const { maker, calls, ask } = played();
  ask("a", "b");
  await turn();
  let between = false;
  const added = maker.between(async () => { between = true; });
  await turn();
  assert.equal(between, false);
  calls[0].done();
  await added;
  await turn();
  assert.equal(calls[1].prompt, "b");
  await maker.instead(async () => { await turn(); assert.equal(calls.length, 2, "nothing is drawn meanwhile"); });
  await turn();
  assert.deepEqual(calls.map(({ prompt }) => prompt), ["a", "b", "b"]);
  const settled = maker.settled(new AbortController().signal);
  calls[2].done();
  await settled;
});

test("a load that waits ends with a cancel, or with the engine; an adapter stays while a picture is to be drawn with it", async () => {
  const { maker, calls, ask } = played();
  const adapters = [{ handle: "ink", name: "ink", unet: 1, textEncoder: 0, onePart: true }];
  maker.ask([jobOf("a", { adapters })]);
  ask("b");
  await turn();
  const cancel = new AbortController();
  const cancelled = maker.settled(cancel.signal);
  cancel.abort();
  await assert.rejects(cancelled, { name: "AbortError" });
  const broken = maker.settled(new AbortController().signal);
  maker.engineLost(Object.assign(new Error("gone"), { name: "Crash" }));
  await assert.rejects(broken, { name: "Crash" });
  let free = false;
  const without = maker.without("ink").then(() => { free = true; });
  await turn();
  assert.equal(free, false);
  calls[0].done();
  await without;
});
