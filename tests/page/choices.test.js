// Choices in prompts: every text that sd-dynamic-prompts makes of a template comes with some seed, and none but those.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { draw, hasChoices, outside } from "../../web/prompt/choices.js";
import { Dice } from "../../web/prompt/dice.js";
import { linesNamed, linesOf, nameOfList } from "../../web/prompt/lists.js";

const { cases } = JSON.parse(readFileSync(new URL("../fixtures/prompts/dynamic-prompts.json", import.meta.url), "utf8"));
const listsOf = (wildcards) => new Map(Object.entries(wildcards).map(([name, lines]) => [name, linesOf([].concat(lines).join("\n"))]));
const texts = (template, lists, count = 400) => Array.from({ length: count }, (_, seed) => draw(template, seed, lists).text);

test("what is drawn is what sd-dynamic-prompts draws, and all of it comes", () => {
  let compared = 0;
  for (const { template, wildcards, all } of cases) {
    // a backslash makes braces text, as on ComfyUI's page; and the library has no lower bound of one where none is written
    if (template.includes("\\") || template === "{-1$$a|b}") continue;
    // comments go later, with all others
    const plain = (text) => text.replace(/ *#[^\n]*/, "").replace(/ *\n/, "\n");
    const drawn = new Set(texts(template, listsOf(wildcards)).map(plain));
    assert.deepEqual([...drawn].toSorted(), all.map(plain).toSorted(), template);
    compared += 1;
  }
  assert.ok(compared > 25, `only ${compared} templates`);
  assert.deepEqual(new Set(texts("{-2$$a|b}", new Map())), new Set(["a", "b", "a,b", "b,a"]));
});

test("the numbers are SplitMix64's, and so a seed gives the same text in every browser", () => {
  const dice = new Dice("1234567");
  assert.deepEqual([dice.next(), dice.next(), dice.next()], [6457827717110365317n, 3203168211198807973n, 9817491932198370423n]);
  const template = "a {red|green|{2$$ and $$blue|grey|white}} __animal__, {0.2::day|night}";
  const lists = listsOf({ animal: ["fox", "cat", "# none", "", "owl"] });
  assert.deepEqual(["0", "1", "2", "9999999999999999999"].map((seed) => draw(template, seed, lists).text), [
    "a grey and blue owl, day", "a green owl, night", "a green owl, night", "a red owl, night",
  ]);
  assert.equal(new Set(texts("{a|b|c|d}{a|b|c|d}{a|b|c|d}", lists, 2000)).size, 64);
  const pairs = Array.from({ length: 100 }, (_, seed) => [draw("{a|b}", seed, lists).text, draw("{a|b}", seed, lists, 1n).text]);
  assert.equal(new Set(pairs.map(String)).size, 4, "the negative prompt draws for itself");
});

test("weights say how often, and what weighs nothing comes only alone", () => {
  const lists = listsOf({ kind: ["3::often", "seldom"] });
  const often = (template, word) => texts(template, lists, 4000).filter((text) => text === word).length / 4000;
  for (const [template, word, share] of [["{0.5::a|1.5::b}", "b", 0.75], ["{a|b|c}", "c", 1 / 3], ["__kind__", "often", 0.75], ["{0::a|b}", "b", 1], ["{0::a|0::b}", "a", 0.5]]) {
    assert.ok(Math.abs(often(template, word) - share) < 0.03, `${template}: ${often(template, word)}`);
  }
  assert.equal(draw("{2$$0::a|b}", 1, lists).text, "b,a");
});

test("what is no choice stays as it stands", () => {
  const lists = listsOf({ colour: ["red"] });
  for (const text of [
    "", "a cat", "[cat|dog]", "[a:b:0.5]", "(a:1.2)", "a } b | c", "\\{a|b\\}", "snake_case and __init", "____", "a # {x|y} __colour__\nb", "$$", "1::2", "<lora:ink:1>",
    "{a|b", "{".repeat(3000), "{a|".repeat(1300), "__missing__", "__two words__",
  ]) {
    assert.equal(draw(text, 5, lists).text, text);
    assert.equal(hasChoices(text, lists), false, text);
  }
  assert.deepEqual([draw("{a|b", 1, lists).open, draw("{a|b}", 1, lists).open], [true, false]);
  assert.deepEqual(draw("__missing__ __two words__ <lora:my__style__v2:1> __colour__", 1, lists).unknown, ["missing"]);
  assert.equal(draw("{\\||a} {a\\}}", 3, lists).text.at(-1), "}");
});

test("lists that name each other end, and are named", () => {
  const lists = listsOf({ a: ["x __b__"], b: ["__a__"], wide: ["__wide__ __wide__"] });
  const circle = draw("__a__", 1, lists);
  assert.ok(circle.endless.length === 1 && circle.text.startsWith("x x x"), circle.text);
  assert.ok(draw("__wide__", 1, lists).text.length < 100_000);
});

test("what stands outside of choices keeps its place", () => {
  const lists = listsOf({ style: ["<lora:ink:1>"] });
  const template = "{<lora:ink:1>|b} <lora:soft:0.5> __style__ __none__ <lora:{a|b}:1>";
  const text = outside(template, lists);
  assert.equal(text, `${">".repeat(16)} <lora:soft:0.5> ${">".repeat(9)} __none__ <lora:${">".repeat(5)}:1>`);
  assert.equal(text.length, template.length);
});

test("lists are found by path, by star and by their last name, and are called what their files are", () => {
  const lists = listsOf({ "animal/cat": ["tabby"], "animal/dog": ["pug"], cat: ["lynx"], Colour: ["red"] });
  const words = (name) => linesNamed(name, lists).map(({ nodes }) => nodes.join(""));
  assert.deepEqual(["cat", "animal/cat", "animal/*", "dog", "colour", "*", "mouse", "d.g"].map(words), [["lynx"], ["tabby"], ["tabby", "pug"], ["pug"], ["red"], ["red", "tabby", "pug", "lynx"], [], []]);
  assert.deepEqual(["colour.txt", "wildcards/animal/cat.txt", "animal/cat.TXT", "x/wildcards/a__b.txt", "_a (2).txt"].map(nameOfList), ["colour", "animal/cat", "animal/cat", "a_b", "a 2"]);
  assert.deepEqual(linesOf("\uFEFF# x\r\n\r\n  red  # dark\r{a|b}\n0.5::blue").map(({ weight, nodes }) => [weight, nodes.length]), [[1, 1], [1, 1], [0.5, 1]]);
});
