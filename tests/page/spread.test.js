// How a strength is spread over blocks and steps: the cases of src/adapters/spread.rs, the words of tags both ways, and
// what is said of it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isSameIn, saidBy, wordsFor } from "../../web/prompt/spread-words.js";
import { readTags, sumsOf, writeTag } from "../../web/prompt/tags.js";
import { PRESETS, acting, blocksOf, checked, courseOf, curveOf, factorAt, listText, presetOf, within, wordsOf } from "../../web/spread.js";

const two = (number) => String(number).padStart(2, "0");
const ATTENTION = [..."124578"].map((number) => `IN0${number}`).concat("M00", Array.from({ length: 9 }, (_, i) => `OUT${two(i + 3)}`));
const ALL = ["BASE", ...Array.from({ length: 12 }, (_, i) => `IN${two(i)}`), "M00", ...Array.from({ length: 12 }, (_, i) => `OUT${two(i)}`)];

test("lists name their blocks and leave out the rest", () => {
  const outs = blocksOf("OUTS");
  assert.deepEqual([outs.BASE, outs.OUT06, outs.OUT07, outs.M00], [1, 0, 1, 0]);
  const full = blocksOf(Array.from({ length: 26 }, (_, i) => 0.1 * i).join(","));
  assert.deepEqual([full.BASE, full.IN11, full.M00, full.OUT11].map((factor) => Math.round(10 * factor)), [0, 12, 13, 25]);
  const few = blocksOf("1,1,1,1,1,1,1,1,1,1,1,0.5");
  assert.deepEqual([few.IN04, few.OUT05, few.OUT06, few.IN00], [1, 0.5, 0, 0]);
  assert.deepEqual(blocksOf(" outs "), outs);
  const wide = Array.from({ length: 17 }, () => "1");
  for (const wrong of ["", "1,2", "XYZ", "1,1,1,1,1,1,1,1,1,1,1,NaN", wide.with(3, "11").join(","), wide.with(3, "").join(",")]) {
    assert.equal(blocksOf(wrong), null, wrong);
  }
});

test("steps are counted from one", () => {
  const acts = (start, stop) => {
    const { curve } = saidBy({ start, stop }, 10);
    const steps = Array.from({ length: 10 }, (_, step) => step + 1).filter((step) => factorAt(curve ?? [], (step - 1) / 10) === 1);
    return [steps.at(0) ?? null, steps.at(-1) ?? null, steps.length];
  };
  assert.deepEqual(acts(), [1, 10, 10]);
  assert.deepEqual(acts("4"), [4, 10, 7]);
  assert.deepEqual(acts(undefined, "4"), [1, 3, 3]);
  assert.deepEqual(acts("3", "6"), [3, 5, 3]);
  assert.deepEqual(acts("1", "99"), [1, 10, 10]);
  assert.deepEqual(acts("6", "3"), [null, null, 0]);
  assert.deepEqual(acts("11"), [null, null, 0]);
  for (const wrong of ["0", "-1", "1.5", "x", "", "4294967296"]) {
    const { curve, wrong: [{ problem, remedy }] } = saidBy({ start: wrong }, 10);
    assert.deepEqual([curve, problem], [null, `start: “${wrong}” is no step`]);
    assert.match(remedy, /start=3/);
  }
});

test("a curve is straight between its points", () => {
  const at = (done) => Math.round(1e3 * factorAt([[0.2, 1], [0.6, 0]], done)) / 1e3;
  assert.deepEqual([0, 0.2, 0.3, 0.5, 0.6, 1].map(at), [1, 1, 0.75, 0.25, 0, 0]);
  for (const curve of [[[0.5, 1], [0.4, 1]], [[1.5, 1]], [[0, Number.NaN]], [[0]], [0], "x"]) assert.equal(checked({ curve }), null);
  for (const blocks of [{ IN00: 11 }, { IN12: 1 }, { IN00: "1" }, 3]) assert.equal(checked({ blocks }), null);
  for (const value of [null, undefined, 3, "x"]) assert.equal(checked(value), null);
  assert.deepEqual(checked({ blocks: { IN00: -10 } }), { blocks: { IN00: -10 }, curve: [] });
});

test("the fields' course is a curve, and a curve is one of them where it can be", () => {
  for (const how of /** @type {const} */ (["at-once", "in", "out", "both"])) {
    for (const [from, to] of [[0, 1], [0.1, 0.6], [0, 0.3], [0.45, 1]]) {
      assert.deepEqual(courseOf(curveOf({ how, from, to })), { how, from, to });
    }
  }
  assert.deepEqual(curveOf({ how: "at-once", from: 0, to: 1 }), []);
  assert.equal(factorAt(curveOf({ how: "at-once", from: 0.5, to: 0.5 }), 0.5), 0);
  assert.equal(courseOf([[0, 0.5]]), null);
  for (const how of /** @type {const} */ (["in", "out", "both"])) assert.ok(checked({ curve: curveOf({ how, from: 0.5, to: 0.5 }) }));
});

test("of a spread counts what acts, and equal ones are equal", () => {
  const names = ["OUT03", "BASE", "IN01"];
  assert.deepEqual(acting({ blocks: { M00: 0, IN01: 0.5 }, curve: [] }, names), { blocks: { BASE: 1, IN01: 0.5, OUT03: 1 }, curve: [] });
  assert.equal(acting({ blocks: { M00: 0, IN01: 1 }, curve: [[0.5, 1]] }, names), null);
  assert.equal(acting({ blocks: {}, curve: [[0, 0]] }, ["BASE"]), null, "a curve is of the UNet");
  const text = (spread) => JSON.stringify(acting(spread, names));
  assert.equal(text({ blocks: { OUT03: 0, BASE: 1 }, curve: [] }), text({ blocks: { IN01: 1, OUT03: 0 }, curve: [] }));
});

test("a list says all of an adapter's blocks, with 17 numbers where those do", () => {
  const zero = (names, part) => Object.fromEntries(names.map((name) => [name, part.includes(name) ? 0 : 1]));
  assert.equal(listText(zero(ATTENTION, ["IN01", "M00"])), "1,0,1,1,1,1,1,0,1,1,1,1,1,1,1,1,1");
  assert.equal(listText(zero(ALL, ["M00"])).split(",").length, 26);
  assert.equal(listText(within(blocksOf("OUTD"), ALL)).split(",").length, 17, "what isn't among them is 0");
  for (const names of [ATTENTION, ALL, ["BASE", ...ATTENTION]]) {
    for (const { name } of PRESETS) {
      const blocks = within(blocksOf(name), names);
      if (Object.keys(blocks).length === 0) continue;
      assert.equal(presetOf(blocks), name);
      assert.deepEqual(within(blocksOf(listText(blocks)), names), blocks);
    }
  }
  assert.equal(presetOf({ IN01: 0.5, M00: 1 }), null);
});

test("what a tag says of blocks and steps is read, the last of each", () => {
  const said = (inside) => readTags(`<lora:${inside}>`).map(({ name, at, written, ...rest }) => rest)[0];
  const one = { textEncoder: 0.8, unet: 0.8 };
  assert.deepEqual(said("ink:0.8:lbw=OUTS:start=3:stop=10"), { ...one, lbw: "OUTS", start: "3", stop: "10" });
  assert.deepEqual(said("ink:lbw=1,0,1:0.8"), { ...one, lbw: "1,0,1" });
  assert.deepEqual(said("ink:0.8:step=3-10:start=1"), { ...one, start: "3", stop: "10" });
  assert.deepEqual(said("ink:0.8:step=3:stop=9"), { ...one, stop: "9" });
  assert.deepEqual(said("ink:0.8:lbw=ALL:lbw=NONE"), { ...one, lbw: "NONE" });
  const sum = sumsOf(readTags("<lora:ink:0.5:lbw=INS:start=2> <lora:INK:0.25:lbw=OUTS>"));
  assert.deepEqual(sum, [{ name: "ink", textEncoder: 0.75, unet: 0.75, lbw: "OUTS", start: "2" }]);
  const { blocks, curve, wrong } = saidBy({ lbw: "MINE" }, 20);
  assert.deepEqual([blocks, curve, wrong[0].problem], [null, null, "lbw: “MINE” is no list of blocks"]);
  assert.match(wrong[0].remedy, /^Write 17 numbers .*OUTALL$/);
});

test("a tag that is written says what a tag can, and is read so", () => {
  const spreads = [
    { blocks: within(blocksOf("OUTD"), ALL), curve: [] },
    { blocks: { IN01: -0.35, M00: 1 }, curve: curveOf({ how: "at-once", from: 0.1, to: 0.6 }) },
    { blocks: {}, curve: curveOf({ how: "at-once", from: 0.13, to: 1 }) },
    { blocks: {}, curve: curveOf({ how: "at-once", from: 0, to: 0.5 }) },
    { blocks: {}, curve: curveOf({ how: "at-once", from: 0.5, to: 0.5 }) },
  ];
  for (const steps of [1, 4, 20, 25, 150]) {
    for (const spread of spreads) {
      for (const byName of [false, true]) {
        const [tag] = readTags(writeTag({ name: "ink", unet: 1, textEncoder: 1, spread }, steps, byName));
        const { blocks, curve, wrong } = saidBy(tag, steps);
        assert.deepEqual([within(blocks ?? {}, Object.keys(spread.blocks)), wrong], [spread.blocks, []]);
        assert.ok(isSameIn(curve ?? [], spread.curve, steps), `${steps} ${JSON.stringify(spread)}`);
      }
    }
  }
  assert.equal(wordsFor(spreads[0], 20, true), ":lbw=OUTD");
  assert.equal(wordsFor(spreads[1], 20), ":lbw=1,-0.35,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1:start=3:stop=13");
  assert.equal(wordsFor({ blocks: {}, curve: curveOf({ how: "in", from: 0, to: 1 }) }, 20), "", "no tag says that");
  assert.equal(wordsFor(null, 20), "");
});

test("what is set is said in words", () => {
  const words = (blocks, curve = []) => wordsOf(acting({ blocks, curve }, ["BASE", ...ATTENTION]));
  const only = (isIts) => Object.fromEntries(["BASE", ...ATTENTION].map((name) => [name, Number(isIts.test(name))]));
  const course = (how, from, to) => curveOf({ how, from, to });
  assert.equal(words({}), "");
  assert.equal(words(only(/^OUT/), course("at-once", 0.1, 0.6)), "OUT blocks · steps 10–60 %");
  assert.equal(words(only(/^(IN|M)/)), "IN and middle blocks");
  assert.equal(words(only(/^(IN|B)/)), "IN blocks, text encoder");
  assert.equal(words(only(/^B/)), "text encoder");
  assert.equal(words(only(/^X/)), "no blocks");
  assert.equal(words({ IN04: 0.5, BASE: 0 }), "text encoder 0, IN04 0.5");
  assert.equal(words(blocksOf("OUTS")), "OUTS blocks");
  assert.equal(words({ IN01: 0, IN02: 0.5, M00: 2 }), "3 of 17 blocks changed");
  assert.equal(words({}, course("in", 0, 0.335)), "rising, steps 0–33.5 %");
  assert.equal(words({}, course("out", 0.5, 1)), "falling, steps 50–100 %");
  assert.equal(words({}, course("at-once", 0.5, 0.5)), "no steps");
  assert.equal(words({}, [[0.3, 0.2]]), "a curve over the steps");
});
