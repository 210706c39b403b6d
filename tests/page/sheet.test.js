// A sheet before it is drawn: how its axes are read, its cells, what is refused and in which words, and where all stands.

import assert from "node:assert/strict";
import { test } from "node:test";
import { draw, hasChoices } from "../../web/prompt/choices.js";
import { linesOf } from "../../web/prompt/lists.js";
import { withoutTags } from "../../web/prompt/tags.js";
import { axesOf } from "../../web/sheet/axes.js";
import { footOf, layoutOf, wrapped } from "../../web/sheet/layout.js";
import { costOf, planOf } from "../../web/sheet/plan.js";
import { BadValue, listOf, numbersOf, wholesOf } from "../../web/sheet/values.js";

const settings = {
  prompt: "a fox, by day", negativePrompt: "fog", emphasis: "original", clipSkip: 1, steps: 20, guidance: 4, seed: "7",
  scheduler: "ddim", spacing: "", schedule: "", eta: null, width: 64, height: 64,
};
const card = (name, { isOn = true, parts = [1, 0] } = {}) => {
  const at = (value) => ({ handle: name, name, unet: value * parts[0], textEncoder: value * parts[1], onePart: true });
  return { handle: name, name, isOn, strength: at(0.8), at };
};
const choices = {
  scheduler: [{ id: "ddim", label: "DDIM" }, { id: "dpmpp_2m", label: "DPM++ 2M" }, { id: "tcd", label: "TCD" }],
  schedule: [{ id: "", label: "the model’s own" }, { id: "karras", label: "Karras" }],
  emphasis: [{ id: "original", label: "as A1111: the prompt's mean is kept" }, { id: "none", label: "brackets are text" }],
  spacing: [{ id: "", label: "as the model's scheduler has them" }, { id: "trailing", label: "trailing, for few steps" }],
};
const SCHEDULERS = choices.scheduler.map((one) => ({ ...one, group: "", about: "", takesSchedule: one.id === "dpmpp_2m" }));
/** As web/picture-jobs.js has it, with one list and without cards. */
function drawn(job, isSet) {
  const lists = new Map([["animal", linesOf("fox\ncat\nowl")]]);
  if (!hasChoices(job.written.prompt, lists)) return job;
  const { text } = draw(job.written.prompt, job.settings.seed, lists);
  const rest = text.includes("<lora:soft") && !isSet("soft") ? [card("soft").at(0.5)] : [];
  return { ...job, settings: { ...job.settings, prompt: withoutTags(text, () => true) }, adapters: [...job.adapters, ...rest] };
}
function pageOf({ cards = [], snapshots = null } = {}) {
  const adapters = cards.filter(({ isOn }) => isOn).map(({ strength }) => strength);
  const written = { prompt: "a fox<lora:fox:1>, by day", negativePrompt: "fog" };
  return { job: { model: "m", settings, written, hasChoices: false, adapters }, cards, choices, schedulers: SCHEDULERS, snapshots, drawn };
}
const NOTHING = ["", ""];
/** Of sides [id, text]. */
function plan(x, y, page = pageOf(), z = NOTHING) {
  const axes = axesOf(page);
  const side = ([id, text]) => ({ axis: axes.find((axis) => axis.id === id) ?? null, text });
  return planOf({ x: side(x), y: side(y), z: side(z) }, page);
}

test("numbers are read as A1111 reads them, up to their end and never past it", () => {
  const cases = {
    "0, 0.5, 1": [0, 0.5, 1],
    "0-1 (+0.25)": [0, 0.25, 0.5, 0.75, 1],
    "0-1 [5]": [0, 0.25, 0.5, 0.75, 1],
    "0-1 (+0.3)": [0, 0.3, 0.6, 0.9], // A1111 has 1.2 as well
    "5-1 (-1)": [5, 4, 3, 2, 1], // A1111 ends at 3
    "1-3 (+0.5)": [1, 1.5, 2, 2.5, 3],
    "-1-1 (+0.5)": [-1, -0.5, 0, 0.5, 1],
    "−0.5, .5, 1.": [-0.5, 0.5, 1],
    "0.0-1.0 [6]": [0, 0.2, 0.4, 0.6, 0.8, 1],
    "0-1[1]": [0],
    "0 - 2": [0, 1, 2],
    "0.1-0.1": [0.1],
    " , 2 ,": [2],
    "": [],
  };
  for (const [text, values] of Object.entries(cases)) assert.deepEqual(numbersOf(text), values, text);
});

test("whole numbers keep every digit; ranges count down too; [n] is cut to whole", () => {
  const cases = {
    "1-5": [1, 2, 3, 4, 5], "1-5 (+2)": [1, 3, 5], "10-5 (-3)": [10, 7], "1-10 [5]": [1, 3, 5, 7, 10],
    "3-1": [3, 2, 1], "+2, 8": [2, 8], "4-4": [4],
  };
  for (const [text, values] of Object.entries(cases)) assert.deepEqual(wholesOf(text).map(Number), values, text);
  assert.deepEqual(wholesOf("9007199254740993-9007199254740995").map(String), ["9007199254740993", "9007199254740994", "9007199254740995"]);
});

test("what is no value is told by name", () => {
  const wrong = {
    "1, two": /“two” is no number and no range/, "0-1 (+0)": /goes nowhere/, "0-1 (-0.1)": /steps away from its end/,
    "0-1000000000": /more than a million values, and at most 100/, "0-200": /201 values/, "0-1 [0]": /no value at all/, "1-2-3": /“1-2-3” is no number/,
    "0-50, 0-60": /these are 112 values/, "0-1 (+1e-9)": /no number/,
  };
  for (const [text, words] of Object.entries(wrong)) assert.throws(() => numbersOf(text), words, text);
  assert.throws(() => wholesOf("1.5"), /“1.5” has a fraction/);
  assert.throws(() => wholesOf("1-3 (+0.5)"), /has a fraction/);
});

test("words are parted by commas, but not inside quotation marks", () => {
  assert.deepEqual(listOf('fox, "cat, dog" , owl,'), ["fox", "cat, dog", "owl"]);
  assert.deepEqual(listOf('"she said ""no"", twice"'), ['she said "no", twice']);
  assert.deepEqual(listOf('5" nails'), ['5" nails']);
  assert.throws(() => listOf('fox, "cat'), /a quotation mark is open/);
});

test("strength by seed: strength 0 is the picture without the adapter, and each cell has its own settings", () => {
  const { cells, x, y } = plan(["strength", "0, 0.5"], ["seed", "7-8"], pageOf({ cards: [card("ink")] }));
  assert.deepEqual([x.title, y.title], ["Strength of ink", "Seed"]);
  assert.deepEqual(x.values.map(({ label, gauge }) => [label, gauge]), [["0, base", 0], ["0.5", 0.5]]);
  const strengths = ({ adapters }) => adapters.map(({ unet, textEncoder }) => [unet, textEncoder]);
  assert.deepEqual(cells.map(({ column, row, job }) => [column, row, strengths(job), job.settings.seed]), [
    [0, 0, [], "7"], [1, 0, [[0.5, 0]], "7"], [0, 1, [], "8"], [1, 1, [[0.5, 0]], "8"],
  ]);
  assert.equal(new Set(cells.map(({ key }) => key)).size, 4);
});

test("strength by adapter takes each alone, whichever of the two is across; of one of several the others stay", () => {
  const cards = [card("ink"), card("soft", { isOn: false, parts: [1, 1] })];
  const adapters = ({ cells }) => cells.map(({ job }) => job.adapters.map(({ name, unet }) => `${name} ${unet}`).join(" + "));
  assert.deepEqual(adapters(plan(["strength", "0, 1"], ["adapter", "ink, SOFT, none"], pageOf({ cards }))), ["", "ink 1", "", "soft 1", "", ""]);
  assert.deepEqual(adapters(plan(["adapter", "ink, soft"], ["strength", "1"], pageOf({ cards }))), ["ink 1", "soft 1"]);
  const words = { handle: "mood", name: "mood", unet: 0, textEncoder: 1, onePart: true, words: true };
  const page = pageOf({ cards });
  page.job.adapters.unshift(words);
  assert.deepEqual(adapters(plan(["adapter", "soft, none"], NOTHING, page)), ["mood 0 + soft 0.8", "mood 0"], "the words of an embedding stay");
  assert.deepEqual(adapters(plan(["strength soft", "0, 1"], NOTHING, pageOf({ cards }))), ["ink 0.8", "ink 0.8 + soft 1"]);
});

test("strength by step of a run: each step alone, and 0 is without", () => {
  const page = pageOf({ cards: [card("ink")], snapshots: { id: "r", title: "night", steps: [10, 20] } });
  const { cells, y } = plan(["strength", "0.5, 1"], ["snapshot", "0, 10-20 (+10)"], page);
  assert.deepEqual(y.values.map(({ label }) => label), ["0, base", "10", "20"]);
  assert.deepEqual(cells.map(({ job }) => job.adapters.map(({ name, unet, step }) => [name, unet, step])), [
    [], [], [["night, step 10", 0.5, 10]], [["night, step 10", 1, 10]], [["night, step 20", 0.5, 20]], [["night, step 20", 1, 20]],
  ]);
  assert.throws(() => plan(["snapshot", "15"], NOTHING, page), /Across, Step of night: night has no snapshot of step 15: it has 10, 20/);
  assert.throws(() => plan(["snapshot", "10"], ["adapter", "ink"], pageOf({ cards: [card("ink"), card("soft")], snapshots: page.snapshots })), /both say which adapter/);
});

test("each cell draws from the prompt's choices by its own seed; words are replaced in them, and an axis of strengths goes before their tags", () => {
  const page = pageOf({ cards: [card("soft", { isOn: false })] });
  page.job.written.prompt = "a __animal__{ <lora:soft:0.5>| <lora:soft:0.5>}";
  const seeds = plan(["seed", "1-12"], NOTHING, page).cells;
  assert.deepEqual(new Set(seeds.map(({ job }) => job.settings.prompt.trim())), new Set(["a fox", "a cat", "a owl"]));
  assert.deepEqual(seeds.map(({ job }) => job.settings.prompt), plan(["seed", "1-12"], NOTHING, page).cells.map(({ job }) => job.settings.prompt), "and the same again");
  assert.ok(seeds.every(({ job }) => job.adapters.length === 1));
  const strengths = plan(["strength soft", "0, 1"], NOTHING, { ...page, cards: [card("soft"), card("ink", { isOn: false })] }).cells;
  assert.deepEqual(strengths.map(({ job }) => job.adapters.map(({ unet }) => unet)), [[], [1]]);
  const words = plan(["replace", "__animal__, dog, {hen|hen}"], NOTHING, page).cells.map(({ job }) => job.settings.prompt.trim());
  assert.deepEqual(words.slice(1), ["a dog", "a hen"]);
});

test("any two settings, and words of the prompt: the first value is what is replaced", () => {
  const of = (x, y, pick) => plan(x, y).cells.map(({ job }) => pick(job.settings));
  assert.deepEqual(of(["steps", "8"], ["guidance", "1-2 (+0.5)"], ({ steps, guidance }) => [steps, guidance]), [[8, 1], [8, 1.5], [8, 2]]);
  assert.deepEqual(of(["scheduler", "ddim, DPM++ 2m"], ["clipSkip", "2"], ({ scheduler, clipSkip }) => [scheduler, clipSkip]), [["ddim", 2], ["dpmpp_2m", 2]]);
  assert.deepEqual(of(["spacing", '"trailing, for few steps"'], ["emphasis", "none"], ({ spacing, emphasis }) => [spacing, emphasis]), [["trailing", "none"]]);
  const levels = ({ scheduler, schedule, spacing, eta }) => [scheduler, schedule, spacing, eta];
  assert.deepEqual(of(["schedule", "Karras"], ["scheduler", "DPM++ 2M"], levels), [["dpmpp_2m", "karras", "", null]]);
  const lit = { ...pageOf(), job: { ...pageOf().job, settings: { ...settings, scheduler: "dpmpp_2m", schedule: "karras" } } };
  assert.deepEqual(plan(["scheduler", "ddim"], ["spacing", "trailing"], lit).cells.map(({ job }) => levels(job.settings)), [["ddim", "", "trailing", null]]);
  assert.deepEqual(plan(["spacing", "trailing"], NOTHING, lit).cells.map(({ job }) => levels(job.settings)), [["dpmpp_2m", "", "trailing", null]]);
  assert.deepEqual(of(["replace", "fox, red $& cat"], NOTHING, ({ prompt }) => prompt), ["a fox, by day", "a red $& cat, by day"]);
  assert.equal(plan(["replace", "fox, cat"], NOTHING).cells[1].job.written.prompt, "a cat<lora:fox:1>, by day", "tags stay");
  assert.deepEqual(of(["replace", "fog, rain"], NOTHING, ({ negativePrompt }) => negativePrompt), ["fog", "rain"]);
  const [random, same] = of(["seed", "-1"], ["steps", "1-2"], ({ seed }) => seed);
  assert.match(random, /^\d+$/);
  assert.equal(same, random, "a random seed is drawn once for the sheet");
});

test("a third axis has blocks below one another, each with all of the other two", () => {
  const made = plan(["steps", "8, 12"], ["seed", "1-2"], pageOf(), ["guidance", "2, 3, 4"]);
  assert.deepEqual(made.z.values.map(({ label }) => label), ["2", "3", "4"]);
  assert.deepEqual(made.cells.map(({ column, row, block }) => `${block}${row}${column}`), ["000", "001", "010", "011", "100", "101", "110", "111", "200", "201", "210", "211"]);
  const settingsOf = ({ job: { settings: { steps, seed, guidance } } }) => [steps, seed, guidance];
  assert.deepEqual(made.cells.slice(4, 8).map(settingsOf), [[8, "1", 3], [12, "1", 3], [8, "2", 3], [12, "2", 3]]);
  assert.equal(new Set(made.cells.map(({ key }) => key)).size, 12);
  assert.equal(costOf(made, () => false, { seconds: 2, job: made.job }), "12 pictures, about 12 s");
  assert.throws(() => plan(["steps", "8"], ["seed", "1"], pageOf(), ["steps", "9"]), { message: "Across and blocks are both Steps: choose another one for one of them." });
  assert.throws(() => plan(["steps", "8"], ["seed", "1"], pageOf(), ["guidance", "0.5"]), /Blocks, Guidance: 0\.5 is out of range/);
  const large = { ...pageOf(), job: { ...pageOf().job, settings: { ...settings, width: 1024, height: 1024 } } };
  assert.throws(() => plan(["seed", "1-4"], ["steps", "1-4"], large, ["guidance", "1-5"]), /4 × 4 × 5 pictures of 1024×1024 are 84 megapixels/);
});

test("what is wrong with an axis is said by its name, before anything is drawn", () => {
  const wrong = [
    [["steps", "8, 200"], NOTHING, /^Across, Steps: 200 is out of range: it goes from 1 to 150\.$/],
    [["seed", "1"], ["guidance", "0.5"], /^Down, Guidance: 0\.5 is out of range/],
    [["steps", ""], NOTHING, /^Across, Steps: there is no value\..*such as 8, 12, 20\.$/],
    [["scheduler", "heun"], NOTHING, /^Across, Scheduler: “heun” is none of DDIM, DPM\+\+ 2M, TCD\.$/],
    [["schedule", "karras"], NOTHING, /DDIM has its own noise levels/],
    [["replace", "owl, cat"], NOTHING, /“owl” is neither in the prompt nor/],
    [["seed", "1"], ["seed", "2"], /^Across and down are both Seed/],
    [NOTHING, NOTHING, /^Choose what changes/],
    [["seed", "-5"], NOTHING, /-5 is no seed/],
  ];
  for (const [x, y, message] of wrong) assert.throws(() => plan(x, y), { message });
  const large = { ...pageOf(), job: { ...pageOf().job, settings: { ...settings, width: 1024, height: 1024 } } };
  assert.throws(() => plan(["seed", "0-9"], ["steps", "1-10"], large), /10 × 10 pictures of 1024×1024 are 105 megapixels, and a sheet holds 64/);
  assert.throws(() => plan(["strength", "1, 3"], NOTHING, pageOf({ cards: [card("ink")] })), /Strength of ink: 3 is out of range: it goes from -2 to 2/);
  assert.throws(() => plan(["strength", "1"], NOTHING, pageOf({ cards: [card("ink", { isOn: false })] })), /no adapter is on/);
});

test("what it takes is told: how many, how many are there, how long after the picture drawn last", () => {
  const sheet = plan(["steps", "10, 20, 40"], ["seed", "1, 1"]);
  const last = { seconds: 2, job: sheet.job };
  assert.equal(costOf(sheet, () => false, last), "6 pictures, about 7 s");
  assert.equal(costOf(sheet, ({ settings: { steps } }) => steps === 40, last), "6 pictures, 1 of them is in memory, about 3 s");
  assert.equal(costOf(sheet, () => true, last), "6 pictures, all in memory: there is nothing to draw");
  assert.match(costOf(sheet, () => false, null), /how long isn’t known/);
});

/** Each letter is as wide as half of its height. */
const measure = (text, font) => text.length * font / 2;

test("nothing on a sheet lies over anything else, whatever its size and its labels", () => {
  const value = (label, gauge) => ({ label, gauge });
  for (const cell of [{ width: 64, height: 64 }, { width: 512, height: 768 }, { width: 1024, height: 256 }]) {
    for (const [columns, rows, blocks] of [[1, 1, 1], [3, 1, 1], [1, 4, 3], [5, 7, 1], [2, 2, 4], [3, 1, 2]]) {
      const x = { title: "Strength of a-name-without-a-blank", values: Array.from({ length: columns }, (_, i) => value(`a long label number ${i}`.repeat(i + 1), i / 2)) };
      const y = { title: rows > 1 ? "Seed" : "", values: Array.from({ length: rows }, (_, i) => value(rows > 1 ? String(9 ** (i + 10)) : "")) };
      const z = { title: blocks > 1 ? "Steps of something" : "", values: Array.from({ length: blocks }, (_, i) => value(blocks > 1 ? `block ${i} `.repeat(3 * i) : "")) };
      const { width, height, font, line, cells, columns: tops, rows: sides, headings, foot } = layoutOf({ x, y, z }, cell, "a fox · 20 steps ".repeat(20), measure);
      assert.equal(cells.length, columns * rows * blocks);
      assert.equal(headings.length, blocks > 1 ? blocks : 0);
      const inBlock = columns * rows;
      const firstOf = (block) => cells[block * inBlock];
      for (const [block, { lines, y: at }] of headings.entries()) {
        assert.ok(lines.every((words) => measure(words, font) <= width));
        const { lines: labels, y: label } = tops[block * columns];
        assert.ok(labels.length > 0 && at + (lines.length - 0.5) * line <= label - line / 2, "a heading ends above its block's labels");
        if (block > 0) assert.ok(cells[block * inBlock - 1].y + cell.height <= at - line / 2, "and begins below the block before");
      }
      for (const [i, one] of cells.entries()) {
        assert.ok(Number.isInteger(one.x) && Number.isInteger(one.y), "a picture lies on whole pixels");
        assert.ok(one.x >= 0 && one.x + cell.width <= width && one.y + cell.height <= foot.y - foot.font / 2);
        const isBeside = (other) => Math.abs(one.x - other.x) >= cell.width || Math.abs(one.y - other.y) >= cell.height;
        assert.ok(cells.slice(i + 1).every(isBeside));
      }
      for (const [i, { lines, y: at }] of tops.entries()) {
        assert.ok(lines.every((words) => measure(words, font) <= cell.width));
        assert.ok(at + (lines.length - 0.5) * line <= firstOf(Math.floor(i / columns)).y, "labels end above the pictures");
      }
      for (const { lines, x: at } of sides) assert.ok(at <= cells[0].x && lines.every((words) => at - measure(words, font) >= 0));
      assert.ok(foot.y + (foot.lines.length - 0.5) * 1.3 * foot.font <= height);
    }
  }
});

test("a text is wrapped at blanks, within words that are too long, and ends in an ellipsis", () => {
  assert.deepEqual(wrapped("one two three", 4, 1, measure), ["one two", "three"]);
  assert.deepEqual(wrapped("abcdefghij", 2, 1, measure), ["abcd", "efgh", "ij"]);
  assert.deepEqual(wrapped("a b c d e f g h", 1, 1, measure, 2), ["a", "b…"]);
  assert.deepEqual(wrapped("", 4, 1, measure), []);
});

test("the line below says what all have in common, and nothing that an axis changes", () => {
  const sheet = plan(["strength", "0, 1"], ["seed", "1, 2"], pageOf({ cards: [card("ink")] }));
  assert.equal(footOf(sheet, ["strength", "seed"], () => "DDIM"), "a fox, by day · not: fog · 20 steps · guidance 4 · DDIM · 64×64");
  assert.equal(footOf(sheet, ["steps", ""], () => "DDIM"), "a fox, by day · not: fog · ink 0.8 · guidance 4 · DDIM · seed 7 · 64×64");
  const lit = { ...sheet, job: { ...sheet.job, settings: { ...sheet.job.settings, schedule: "karras" } } };
  assert.match(footOf(lit, ["steps", ""], (id) => id.toUpperCase()), / · DDIM · KARRAS · seed 7/);
});

test("the strength of a start picture is an axis where there is one, and takes its share of the steps", () => {
  const { job, ...page } = pageOf();
  assert.throws(() => plan(["start", "0.5"], NOTHING), BadValue);
  const start = { picture: "a", mask: "", strength: 0.75, exactSteps: false, resize: "stretch", inpaint: null };
  const withStart = { ...page, job: { ...job, settings: { ...settings, start } } };
  const sheet = plan(["start", "0-1 [3]"], NOTHING, withStart);
  assert.deepEqual(sheet.cells.map((cell) => cell.job.settings.start), [0, 0.5, 1].map((strength) => ({ ...start, strength })));
  assert.throws(() => plan(["start", "1.5"], NOTHING, withStart), /Across, Strength of the start picture: 1.5 is out of range: it goes from 0 to 1/);
  // 1, 11 and 20 of 20 steps
  assert.match(costOf(sheet, () => false, { seconds: 20, job }), /about 32 s/);
});

test("a second pass has axes while there is one, its size counts, and the foot says what stays", () => {
  assert.ok(!axesOf(pageOf()).some(({ id }) => id.startsWith("hires")));
  const page = pageOf();
  page.job = { ...page.job, settings: { ...settings, hires: { scale: 2, upscaler: "latent", strength: 0.7, steps: 0 } } };
  const made = plan(["hires.strength", "0.4, 0.6"], ["hires.steps", "5, 10"], page);
  const seconds = made.cells.map(({ job }) => [job.settings.hires.strength, job.settings.hires.steps, job.settings.hires.scale]);
  assert.deepEqual(seconds, [[0.4, 5, 2], [0.6, 5, 2], [0.4, 10, 2], [0.6, 10, 2]]);
  assert.equal(new Set(made.cells.map(({ key }) => key)).size, 4);
  const foot = (changed) => footOf(made, changed, (id) => id);
  assert.match(foot(["hires.strength", "hires.steps"]), / · 64×64 · upscaled 2×$/);
  assert.match(foot(["seed"]), / · upscaled 2× at strength 0.7$/);
  assert.throws(() => plan(["hires.strength", "1.5"], NOTHING, page), BadValue);
  const hires = { ...page.job.settings.hires, scale: 4 };
  const large = { ...page, job: { ...page.job, settings: { ...settings, width: 512, height: 512, hires } } };
  assert.throws(() => plan(["seed", "1-16"], NOTHING, large), /16 × 1 pictures of 2048×2048 are 67 megapixels/);
});
