// Tags of adapters in prompts, as A1111 reads them: the vectors that src/prompt/tags.rs is held to as well.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { isNamed, readTags, replaceTag, sumsOf, withoutTags, writeTag } from "../../web/prompt/tags.js";

const { cases } = JSON.parse(readFileSync(new URL("../fixtures/prompts/extra-networks.json", import.meta.url), "utf8"));

test("tags are read as A1111 reads them", () => {
  let tags = 0;
  for (const { prompt, lora } of cases) {
    if (prompt.includes("<lyco")) continue; // an extension’s, which mean the same
    const read = readTags(prompt).map(({ name, textEncoder, unet }) => ({ name, textEncoder, unet }));
    const wanted = (lora ?? []).map((tag) => ({ name: tag.name, textEncoder: tag.text_encoder, unet: tag.unet }));
    assert.deepEqual(read, wanted, prompt);
    tags += read.length;
  }
  assert.ok(tags > 20, `only ${tags} tags`);
});

test("what is no number is no tag, and a comment has none", () => {
  for (const prompt of ["<lora:ink:>", "<lora:ink:a>", "<lora:ink:0x10>", "<lora:ink:inf>", "<lora:ink: >", "a # <lora:ink:1>", "<style:ink:1>", "<lora:>", "<lora:ink:1"]) {
    assert.deepEqual(readTags(prompt), [], prompt);
  }
  assert.equal(readTags("# of mine\n<lora:ink:1>").length, 1);
});

test("a tag that is written is read as it was meant, and the rest of the prompt stays", () => {
  for (const [textEncoder, unet] of [[1, 1], [-0.5, -0.5], [0.8, 0.25], [0, 1]]) {
    const prompt = `a cat, ${writeTag({ name: "my ink", textEncoder, unet })}, b`;
    const [tag] = readTags(prompt);
    assert.deepEqual([tag.name, tag.textEncoder, tag.unet], ["my ink", textEncoder, unet]);
    assert.equal(replaceTag(prompt, tag, "<here>"), "a cat, <here>, b");
  }
  assert.equal(writeTag({ name: "ink", textEncoder: 0.8, unet: 0.8 }), "<lora:ink:0.8>");
});

test("an adapter that is named twice acts with both strengths", () => {
  const sums = (prompt) => sumsOf(readTags(prompt)).map(({ name, textEncoder, unet }) => [name, textEncoder, unet]);
  assert.deepEqual(sums("<lora:ink:0.1> a <lora:soft:1> b <lora:INK:0.2:0.5>"), [["ink", 0.3, 0.6], ["soft", 1, 1]]);
  assert.deepEqual(sums("<lora:ink:1><lora:ink:-1>"), [["ink", 0, 0]]);
});

test("tags that are meant are taken out, their blanks stay", () => {
  const prompt = "a cat, <lora:ink:0.8>, <lora:soft:0.4> on a mat<lyco:ink:1>";
  assert.equal(withoutTags(prompt, ({ name }) => isNamed(name, "INK")), "a cat, , <lora:soft:0.4> on a mat");
  assert.equal(withoutTags(prompt, () => true), "a cat, ,  on a mat");
});
