// What was dropped, and which file is which.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { File } from "node:buffer";
import { test } from "node:test";
import { contentOf } from "../../web/content.js";
import { repeatsOf, sortFiles } from "../../web/files.js";
import { Sha256 } from "../../web/library/sha256.js";
import { captionOf, captionsOf, pictureOf } from "../../web/train/captions.js";

/** A .safetensors file with these keys. */
function weights(keys) {
  const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(keys.map((key) => [key, { dtype: "F32", shape: [0], data_offsets: [0, 0] }]))));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  return [length, header];
}

const LORA = ["lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"];
const CHECKPOINT = ["model.diffusion_model.input_blocks.0.0.weight"];
const VAE = ["first_stage_model.decoder.conv_in.weight"];

function dropped(path, content = [""], type = "") {
  return { path, file: new File(content, path.split("/").at(-1), { type }) };
}

const names = (list) => list.map(({ name }) => name);

test("weights are told apart by their keys, whatever they are called", async () => {
  const sorted = await sortFiles([
    dropped("a.safetensors", weights(LORA)), dropped("b.safetensors", weights(CHECKPOINT)), dropped("c.safetensors", weights(VAE)),
    dropped("b.yaml"), dropped("other.yaml"),
  ]);
  assert.deepEqual(names(sorted.adapters), ["a"]);
  assert.deepEqual(names(sorted.models), ["b.safetensors"]);
  // what came beside the only model is the model's
  assert.deepEqual(sorted.models[0].files.map(({ path, part }) => [path, part]), [["b.safetensors", undefined], ["c.safetensors", "vae"], ["b.yaml", "yaml"], ["other.yaml", "yaml"]]);
  assert.deepEqual([sorted.parts, sorted.refused], [[], []]);
});

test("a checkpoint that holds a LoRA's forgotten tensors is a checkpoint; a damaged file is left to the engine", async () => {
  const sorted = await sortFiles([dropped("a.safetensors", weights([...LORA, ...CHECKPOINT])), dropped("b.safetensors", ["{}"])]);
  assert.deepEqual([names(sorted.models), names(sorted.adapters)], [["a.safetensors"], ["b"]]);
});

test("of two models each gets the .yaml of its own name, and both the VAE", async () => {
  const { models } = await sortFiles([
    dropped("a.safetensors", weights(CHECKPOINT)), dropped("b.safetensors", weights(CHECKPOINT)), dropped("b.yml"), dropped("vae.safetensors", weights(VAE)),
  ]);
  assert.deepEqual(models.map(({ files }) => files.map(({ path }) => path)), [["a.safetensors", "vae.safetensors"], ["b.safetensors", "b.yml", "vae.safetensors"]]);
});

test("a diffusers folder keeps its inner paths and leaves out what is no model's file", async () => {
  const { models, pictures } = await sortFiles([
    dropped("my/model/model_index.json"), dropped("my/model/unet/config.json"), dropped("my/model/tokenizer/vocab.json"), dropped("my/model/preview.png"),
  ]);
  assert.equal(models[0].name, "model");
  assert.equal(models[0].hasTokenizer, true);
  assert.deepEqual(models[0].files.map(({ path }) => path), ["model_index.json", "unet/config.json", "tokenizer/vocab.json"]);
  assert.equal(pictures.length, 0);
});

test("PEFT's and diffusers' files of one name have their folder's, and the config beside them", async () => {
  const { adapters } = await sortFiles([
    dropped("cat/adapter_model.safetensors", weights(LORA)), dropped("cat/adapter_config.json", ['{"r": 4}']),
    dropped("dog/pytorch_lora_weights.safetensors", weights(LORA)),
  ]);
  assert.deepEqual(adapters.map(({ name, config }) => [name, config]), [["cat", '{"r": 4}'], ["dog", null]]);
});

test("nothing is left out in silence where nothing could be used", async () => {
  const refused = async (...paths) => (await sortFiles(paths.map((path) => dropped(path)))).refused.map(({ name, problem }) => `${name}: ${problem}`);
  assert.match((await refused("a.ckpt"))[0], /^a\.ckpt: .*run code/);
  assert.match((await refused("a.pdf"))[0], /^a\.pdf: Lorakeet reads/);
  assert.match((await refused("x/adapter_config.json", "x/README.md"))[0], /holds no weights/);
  assert.match((await refused("folder/a.md", "folder/b.md"))[0], /^folder: There is no \.safetensors file/);
  assert.match((await sortFiles([{ path: "cloud.safetensors", file: null }])).refused[0].problem, /can't be read/);
  assert.deepEqual(await refused(), []);
});

test("pictures by their names or their types; files that systems leave behind are nobody's", async () => {
  const { pictures, texts, refused } = await sortFiles([
    dropped("10_cat/1.JPG"), dropped("10_cat/1.caption"), dropped("10_cat/2", [""], "image/png"), dropped("10_cat/.DS_Store"), dropped("Thumbs.db"),
  ]);
  assert.deepEqual([names(pictures), names(texts), names(refused)], [["1.JPG", "2"], ["1.caption"], []]);
  assert.equal(repeatsOf(pictures), "10_cat");
  assert.equal(repeatsOf([{ path: "10/1.png" }, { path: "cat/1.png" }, { path: "1.png" }]), "");
});

test("captions in the encodings that editors leave", async () => {
  const words = "ein Käfer, grün";
  const utf16 = (mark, little) => {
    const bytes = new DataView(new ArrayBuffer(2 * words.length));
    for (let i = 0; i < words.length; i += 1) bytes.setUint16(2 * i, words.charCodeAt(i), little);
    return [new Uint8Array(mark), bytes.buffer];
  };
  const latin = Uint8Array.from(words, (letter) => letter.charCodeAt(0));
  const ways = {
    "UTF-8": [words], "UTF-8 with a mark": ["\ufeff", words, "\r\n"], "windows-1252": [latin],
    "UTF-16, little": utf16([0xff, 0xfe], true), "UTF-16, big": utf16([0xfe, 0xff], false),
    "UTF-16 without a mark, little": utf16([], true), "UTF-16 without a mark, big": utf16([], false),
  };
  for (const [way, content] of Object.entries(ways)) assert.equal(await captionOf(new Blob(content)), words, way);
  assert.equal(await captionOf(new Blob([])), "");
  assert.equal(await captionOf(new Blob([Uint8Array.of(0x89, 0x50, 0, 0, 7)])), null);
  // not read at all
  assert.equal(await captionOf({ size: 3e9, arrayBuffer: () => assert.fail("it was read") }), null);
});

test("a caption is the picture's beside it, whatever the tool calls it", async () => {
  assert.deepEqual(["a.txt", "a.caption", "a.png.txt", "sub.1/a.v2.txt", "sub.1/a"].map(pictureOf), ["a", "a", "a", "sub.1/a.v2", "sub.1/a"]);
  const { captions, unreadable } = await captionsOf([
    { name: "1.txt", path: "x/1.txt", file: new Blob(["one"]) }, { name: "1.txt", path: "y/1.txt", file: new Blob(["two"]) },
    { name: "2.txt", path: "y/2.txt", file: new Blob([Uint8Array.of(9, 0, 0, 9, 9)]) },
  ]);
  assert.deepEqual([...captions], [["x/1", "one"], ["y/1", "two"]]);
  assert.deepEqual(unreadable, ["y/2.txt"]);
});

test("equal bytes have equal content, beyond one piece too; SHA-256 fed in any pieces is node's", async () => {
  const bytes = Uint8Array.from({ length: (8 << 20) + 5 }, (_, i) => (i * 7) ^ (i >> 9));
  const content = await contentOf(new Blob([bytes]));
  const hash = (part) => createHash("sha256").update(part).digest("hex");
  assert.equal(content, `${hash(bytes.subarray(0, 8 << 20))} ${hash(bytes.subarray(8 << 20))}`);
  bytes[8 << 20] ^= 1;
  assert.notEqual(await contentOf(new Blob([bytes])), content);

  const some = bytes.subarray(0, 1000);
  for (const piece of [1, 55, 56, 63, 64, 65, 999]) {
    const sum = new Sha256();
    for (let at = 0; at < some.length; at += piece) sum.update(some.subarray(at, at + piece));
    assert.equal(sum.hex(), hash(some), `pieces of ${piece}`);
  }
});
