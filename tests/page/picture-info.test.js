// What pictures say about themselves, held against what A1111 reads and writes (tests/fixtures/picture-info) and what
// ComfyUI's graphs and prompts mean.

import assert from "node:assert/strict";
import "./played/globals.js";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { readA1111 } from "../../web/picture-info/a1111.js";
import { absoluteWeights, comfyWeights } from "../../web/picture-info/comfy-weights.js";
import { exifTexts } from "../../web/picture-info/exif.js";
import { parseJson } from "../../web/picture-info/found.js";
import { adapterHash, embeddingHash, fileHash } from "../../web/picture-info/hashes.js";
import { quoted, readInfotext, unquoted, writeInfotext } from "../../web/picture-info/infotext.js";
import { fromA1111, labelsOf, nearest } from "../../web/picture-info/names.js";
import { planOf } from "../../web/picture-info/plan.js";
import { chunksOf, crc32, isPng, textsOf, withText } from "../../web/picture-info/png.js";
import { readPicture } from "../../web/picture-info/read.js";
import { KEYWORD, readRecord, writeRecord } from "../../web/picture-info/record.js";
import { tagFor, tagsOf } from "../../web/picture-info/tags.js";
import { embeddingsIn } from "../../web/prompt/embeddings.js";
import { Sums } from "../../web/sums.js";
import { VERSION } from "../../web/version.js";

const root = new URL("../../", import.meta.url);
const fixture = (path) => readFileSync(new URL(`tests/fixtures/${path}`, root));
const json = (path) => JSON.parse(fixture(path).toString());
const { read, write, quote, files } = json("picture-info/infotext.json");
const bytesOf = (file) => new Uint8Array(fixture(`picture-info/${file}`));
const picture = (file) => readPicture(new Blob([bytesOf(file)]));

test("A1111's texts are read as it reads them", () => {
  assert.ok(read.length > 30);
  for (const { name, text, read: expected } of read) {
    const { prompt, negativePrompt, settings, resources } = readInfotext(text);
    const got = { Prompt: prompt, "Negative prompt": negativePrompt, ...Object.fromEntries(settings) };
    // these stand there as JSON without quotes, and A1111 takes them apart at their commas
    const broken = Object.keys(expected).filter((key) => ["Hashes", "lora", "Civitai resources", "Civitai metadata"].includes(key));
    for (const key of broken) delete expected[key];
    assert.deepEqual(got, expected, name);
    assert.equal(Object.keys(resources).length > 0, broken.length > 0, name);
  }
});

test("JSON without quotes is taken out whole", () => {
  const text = (name) => read.find((one) => one.name === name).text;
  assert.deepEqual(readInfotext(text("colons and JSON unquoted")).resources.Hashes, { model: "6ce0161689", "lora:ink-v2": "0123456789" });
  assert.equal(readInfotext(text("a site's resources")).resources["Civitai resources"][0].modelName, "x, y");
  const unclosed = readInfotext("a\nSteps: 1, Seed: 2, Size: 8x8, Hashes: {\"model\": ");
  assert.equal(unclosed.settings.get("Seed"), "2");
});

test("A1111's texts are written as it writes them", () => {
  for (const { name, given, text } of write) {
    const [line, ...before] = text.split("\n").reverse();
    const settings = line.split(/, (?=[A-Z])/).map((part) => {
      const colon = part.indexOf(": ");
      return colon < 0 ? [part, part] : [part.slice(0, colon), unquoted(part.slice(colon + 2))];
    });
    // of lists in quotes the split takes no care
    if (before.length === 0 || line.includes('"')) continue;
    assert.equal(writeInfotext(given.prompt, given.negative, [...settings, ["None", null], ["Undefined", undefined]]), text, name);
  }
  const lists = write.find(({ name }) => name === "networks");
  const settings = [...readInfotext(lists.text).settings].filter(([key]) => !key.startsWith("Size"));
  settings.splice(5, 0, ["Size", "512x512"]);
  assert.equal(writeInfotext(lists.given.prompt, "", settings), lists.text);
});

test("values are in quotes where they have to be, and come back", () => {
  for (const { value, written, read: back } of quote) {
    if (typeof value !== "string") continue;
    // A1111 loses the quotes of what is only quoted
    if (value !== '"quoted"') assert.equal(quoted(value), written);
    assert.equal(unquoted(written), back);
    assert.equal(unquoted(quoted(value)), value);
  }
});

test("samplers of A1111 are found, with the schedule that older ones have in their names", () => {
  for (const { name, read: { Sampler: sampler, "Schedule type": type }, sampler: expected } of read) {
    if (!sampler) continue;
    const got = fromA1111(sampler, type);
    const label = labelsOf(got.id).sampler;
    assert.equal(label, expected[0], name);
    if (expected[1] !== "Automatic") assert.equal(got.schedule, expected[1], name);
  }
  const engine = {
    schedulers: ["dpmpp_2m", "dpmpp_2m_karras", "euler", "ddim"].map((id) => ({ id, takesSchedule: ["dpmpp_2m", "euler"].includes(id) })),
    schedules: [{ id: "karras" }, { id: "uniform" }, { id: "sgm_uniform" }],
  };
  const set = (...names) => nearest(fromA1111(...names), engine);
  assert.deepEqual(set("DPM++ 2M"), { id: "dpmpp_2m", schedule: "karras", lacking: null });
  assert.deepEqual(set("DPM++ 2M", "Uniform"), { id: "dpmpp_2m", schedule: "uniform", lacking: null });
  assert.deepEqual(set("Euler SGM Uniform"), { id: "euler", schedule: "sgm_uniform", lacking: null });
  assert.deepEqual(set("DPM++ 2M", "Model default"), { id: "dpmpp_2m", schedule: "", lacking: null });
  assert.deepEqual(nearest(fromA1111("DPM++ 2M"), { ...engine, schedules: [] }), { id: "dpmpp_2m_karras", schedule: "", lacking: null });
  assert.deepEqual(set("DDIM"), { id: "ddim", schedule: "", lacking: null });
  assert.match(set("DDIM", "Karras").lacking, /schedule Karras/);
  assert.match(set("Euler", "Beta").lacking, /schedule Beta/);
  assert.deepEqual(set("Restart"), { id: null, schedule: null, lacking: "sampler Restart" });
  assert.deepEqual(set("DPM++ SDE Karras"), { id: null, schedule: null, lacking: "sampler DPM++ SDE Karras" });
  assert.deepEqual(labelsOf("dpmpp_3m_sde", "sgm_uniform"), { sampler: "DPM++ 3M SDE", schedule: "SGM Uniform" });
});

test("files say the same wherever their text lies", async () => {
  for (const { file, chunks = [], expected } of files) {
    if (!expected || file.includes("stealth")) continue;
    const bytes = bytesOf(file);
    const texts = isPng(bytes) ? await textsOf(bytes) : exifTexts(bytes);
    assert.equal([...texts.values()][0], expected, file);
    const types = isPng(bytes) ? chunksOf(bytes).filter(({ type }) => /Xt$|Xt/.test(type)).map(({ type }) => type) : [];
    assert.deepEqual(types, chunks.map(([type]) => type), file);
    const found = await picture(file);
    const plain = readA1111(expected);
    assert.deepEqual(found, plain, file);
  }
});

test("UTF-16 in EXIF is read in either order of bytes", () => {
  const jpeg = bytesOf("infotext/picture.jpg");
  const text = exifTexts(jpeg).get("UserComment");
  const at = Buffer.from(jpeg).indexOf("UNICODE\0") + 8;
  const turned = jpeg.slice();
  for (let i = at; i + 1 < at + 2 * text.length; i += 2) [turned[i], turned[i + 1]] = [jpeg[i + 1], jpeg[i]];
  assert.match(text, /^桜の木, été\nNegative prompt: ©\nSteps: 20/);
  assert.equal(exifTexts(turned).get("UserComment"), text);
});

test("what is written into a PNG is read back, and its pixels are the same chunks", async () => {
  const bytes = bytesOf("infotext/comfyui.png");
  for (const [text, type] of [["a café, 20\nSteps: 3", "tEXt"], ["桜 – “x” \u0085", "iTXt"], ["", "tEXt"]]) {
    const written = withText(bytes, "parameters", text);
    assert.equal((await textsOf(written)).get("parameters"), text);
    const [first, ...rest] = chunksOf(written);
    assert.deepEqual([first.type, rest[0].type], ["IHDR", type]);
    assert.deepEqual([first, ...rest.slice(1)], chunksOf(bytes));
    const at = 8 + 25;
    const length = new DataView(written.buffer).getUint32(at);
    assert.equal(new DataView(written.buffer).getUint32(at + 8 + length), crc32(written.subarray(at + 4, at + 8 + length)));
  }
  // PNG specification, annex D: of the last chunk of every file
  assert.equal(crc32(new TextEncoder().encode("IEND")), 0xae426082);
});

test("damaged files say nothing, and break nothing", async () => {
  for (const { file } of files) {
    const bytes = bytesOf(file);
    for (let length = 0; length < bytes.length; length += 7) await readPicture(new Blob([bytes.subarray(0, length)]));
    for (let at = 8; at < bytes.length; at += 3) {
      const wrong = bytes.slice();
      wrong[at] ^= 0xff;
      await readPicture(new Blob([wrong]));
    }
  }
  assert.equal(await readPicture(new Blob(["no picture"])), null);
  assert.equal(await picture("infotext/stealth.png"), null);
});

test("ComfyUI's graphs say what their nearest sampler was asked", async () => {
  for (const { file, expected_read: expected } of files.filter(({ file: name }) => name.includes("comfyui"))) {
    const found = await picture(file);
    const { seed, steps, guidance, sampler, prompt, negativePrompt, model, adapters, clipSkip, width, height, notes } = found;
    assert.deepEqual(
      {
        seed, steps, cfg: guidance, sampler: sampler.label, positive: prompt, negative: negativePrompt, size: [width, height],
        loras: adapters.map(({ name, unet, textEncoder }) => ({ name, unet, textEncoder })),
      },
      {
        seed: String(expected.seed), steps: expected.steps, cfg: expected.cfg, sampler: expected.sampler, positive: expected.positive,
        negative: expected.negative, size: expected.size, loras: expected.loras.map(({ file: name, unet, text }) => ({ name: name.replace(".safetensors", ""), unet, textEncoder: text })),
      }, file);
    assert.equal(model.name, expected.model.replace(/\.\w+$/, ""), file);
    assert.equal(clipSkip, expected.clip_skip ?? 1, file);
    assert.equal(found.emphasis, "comfy_ui");
    assert.equal(notes.length > 0, expected.kind === "picture to picture", file);
  }
});

test("ComfyUI's weights are absolute, and are written so for our reader", () => {
  const { cases } = json("prompts/prompts.json");
  let compared = 0;
  for (const { id, prompt, comfy } of cases) {
    if (!comfy?.parsed) continue;
    const close = (list) => list.filter(([text]) => text).map(([text, weight]) => [text, Number(weight.toFixed(9))]);
    assert.deepEqual(close(comfyWeights(prompt)), close(comfy.parsed), id);
    compared += 1;
  }
  assert.ok(compared > 60, `${compared}`);
  assert.equal(absoluteWeights("a (b (big:1.5) c:1.2) [d]"), "a (b :1.2)(big:1.5)( c:1.2) \\[d\\]");
  assert.equal(absoluteWeights("plain"), "plain");
});

test("a graph whose sampler can't be read gives its text; no graph gives nothing", async () => {
  const png = bytesOf("infotext/latin.png");
  const length = new DataView(png.buffer, png.byteOffset).getUint32(33);
  const bare = new Uint8Array(Buffer.concat([png.subarray(0, 33), png.subarray(33 + 12 + length)]));
  const graph = { 1: { class_type: "CLIPTextEncode", inputs: { text: "a (b:1.2)", clip: ["9", 0] } }, 2: { class_type: "SaveImage", inputs: { images: ["3", 0] } } };
  const of = (keyword, text) => readPicture(new Blob([withText(bare, keyword, text)]));
  assert.equal((await of("prompt", JSON.stringify(graph))).prompt, "a (b:1.2)");
  assert.equal((await of("workflow", JSON.stringify({ nodes: [{ type: "CLIPTextEncode", widgets_values: ["a tree"] }] }))).prompt, "a tree");
  assert.equal(await of("prompt", "{}"), null);
  assert.equal(await of("prompt", "no JSON"), null);
  // nodes in a circle, and links to nothing
  const circle = { 1: { class_type: "KSampler", inputs: { sampler_name: "euler", steps: ["1", 0], model: ["1", 0], positive: ["1", 0], latent_image: ["1", 0] } } };
  assert.equal((await of("prompt", JSON.stringify(circle))).sampler.id, "euler");
  assert.deepEqual(parseJson('{"seed": 18446744073709551615, "x": NaN, "s": "NaN 12345678901234567890"}'), { seed: "18446744073709551615", x: null, s: "NaN 12345678901234567890" });
});

test("InvokeAI's and NovelAI's pictures", async () => {
  const invoke = await picture("infotext/invokeai.png");
  assert.deepEqual(
    ["prompt", "negativePrompt", "seed", "steps", "guidance", "clipSkip", "sampler", "width", "height"].map((key) => invoke[key]),
    ["a lighthouse at dusk", "people", "42", 30, 7.5, 1, { label: "dpmpp_2m_k", id: "dpmpp_2m", schedule: "Karras" }, 512, 768]);
  assert.deepEqual(invoke.adapters, [{ name: "ink-v2", hash: null, unet: 0.75, textEncoder: 0.75 }]);
  const novel = await picture("infotext/novelai.png");
  const theirs = readA1111(files.find(({ file }) => file.includes("novelai")).a1111_reads);
  const keys = ["prompt", "negativePrompt", "seed", "steps", "guidance", "clipSkip", "sampler", "width", "height"];
  for (const key of keys) assert.deepEqual(novel[key], theirs[key], key);
});

test("tags of adapters are read as A1111 reads them", () => {
  for (const { prompt, lora = [] } of json("prompts/extra-networks.json").cases) {
    if (prompt.includes("<lyco:")) continue; // an extension's, which older pictures have
    const got = tagsOf(prompt).map(({ name, textEncoder, unet }) => ({ name, textEncoder, unet }));
    assert.deepEqual(got, lora.map(({ name, text_encoder: textEncoder, unet }) => ({ name, textEncoder, unet })), prompt);
  }
  assert.equal(tagFor({ name: "a:b, c", unet: 0.5, textEncoder: 0.5 }), "<lora:ab c:0.5>");
  assert.equal(tagFor({ name: "a", unet: 0.5, textEncoder: 1 }), "<lora:a:1:0.5>");
  assert.equal(tagFor({ name: "a", unet: 0.5, textEncoder: 0, onePart: true }), "<lora:a:0.5>");
});

test("embeddings are found in prompts as A1111 finds them, and their hashes are those of their files", async () => {
  const { a1111, a1111_files: known } = json("prompts/textual-inversion/cases.json");
  const names = Object.keys(known).filter((name) => known[name].shorthash);
  let found = 0;
  for (const { prompt, "TI hashes": wanted } of a1111) {
    const used = (wanted ?? "").split(", ").filter(Boolean).map((entry) => entry.split(": ")[0]);
    assert.deepEqual([...embeddingsIn(prompt, names)].toSorted(), used.toSorted(), prompt);
    found += used.length;
  }
  assert.ok(found > 15, `only ${found}`);
  for (const name of ["style", "one", "UPPER"]) {
    const file = fixture(`prompts/textual-inversion/${name}.safetensors`);
    assert.equal(await embeddingHash(new Blob([file])), known[name].shorthash, name);
  }
});

test("an embedding that a prompt uses is named with its hash, and comes back; one that isn't used is not", () => {
  const words = (name, hash) => ({ ...adapter(name, 0, 1, hash), words: [name] });
  const record = {
    settings: { ...SETTINGS, prompt: "a style cat", negativePrompt: "(neg-one:1.2)" }, model: MODEL,
    adapters: [adapter("ink", 1, 1, "0123456789ab"), words("style", "1e87f3db2af8"), words("neg-one", "0a1b2c3d4e5f"), words("mood", "ffffffffffff")],
  };
  const text = writeRecord(record);
  assert.ok(text.includes('Lora hashes: "ink: 0123456789ab", TI hashes: "style: 1e87f3db2af8, neg-one: 0a1b2c3d4e5f", '), text);
  assert.deepEqual(readRecord(text).adapters.map(({ name, hash }) => [name, hash]), [["ink", "0123456789ab"], ["style", "1e87f3db2af8"], ["neg-one", "0a1b2c3d4e5f"], ["mood", null]]);
  const theirs = readA1111(text);
  assert.deepEqual(theirs.adapters.filter((one) => one.words).map(({ name, hash }) => [name, hash]), [["style", "1e87f3db2af8"], ["neg-one", "0a1b2c3d4e5f"]]);
  const cards = [{ handle: "1", name: "ink", hash: null }, { handle: "2", name: "renamed", hash: "1e87f3db2af8" }];
  const page = { takes: () => true, schedulers: [], schedules: [], scheduler: "", adapters: cards, model: null, draws: () => null, hasStart: () => false, starts: false };
  const { strengths, lacking, restored } = planOf(theirs, page);
  assert.deepEqual(strengths.map(({ handle, textEncoder }) => [handle, textEncoder]), [["1", 1], ["2", 1]]);
  assert.ok(restored.includes("renamed") && lacking.includes("embedding neg-one (0a1b2c3d4e5f)"), lacking.join());
});

test("hashes of files are those that A1111 writes", async () => {
  const [large, short, lora] = json("picture-info/infotext.json").hashes;
  const bytes = Uint8Array.from({ length: 1114117 }, (_, i) => i * 31 % 251);
  assert.equal(await fileHash(new Blob([bytes])), large.AutoV2);
  assert.equal(await fileHash(new Blob([bytes.subarray(0, 100)])), short.AutoV2);
  const file = bytesOf("infotext/lora.safetensors");
  assert.equal(await adapterHash(new Blob([file])), lora["in Lora hashes"]);
  // the header's own word for it comes first, and other words in it change nothing
  const header = (metadata) => {
    const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
    const old = JSON.parse(Buffer.from(file.subarray(8, 8 + length)).toString());
    const text = Buffer.from(JSON.stringify({ ...old, __metadata__: metadata }));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(text.length));
    return new Blob([size, text, file.subarray(8 + length)]);
  };
  assert.equal(await adapterHash(header({ note: "later" })), lora["in Lora hashes"]);
  assert.equal(await adapterHash(header({ sshs_model_hash: "abcdefabcdef0123" })), "abcdefabcdef");
});

test("a file whose sum is known already isn't read again", async () => {
  const sums = new Sums();
  const unreadable = Object.assign(new Blob(["x"]), { slice: () => { throw new Error("it was read"); } });
  const other = new Blob(["y"]);
  const sum = createHash("sha256").update("x").digest("hex");
  for (const file of [unreadable, other]) sums.know(file, sum);
  assert.equal(sums.known(unreadable), null);
  assert.equal(await sums.take("file", unreadable), sum.slice(0, 10));
  assert.equal(sums.known(unreadable), sum.slice(0, 10));
  assert.equal(await sums.take("embedding", other), sum.slice(0, 12));
});

// ---- ours -----------------------------------------------------------------------------------------

const SETTINGS = {
  prompt: "a cat", negativePrompt: "", emphasis: "original", clipSkip: 1, steps: 20, guidance: 7.5, seed: "1234", scheduler: "dpmpp_2m_karras", spacing: "", schedule: "", eta: null,
  width: 512, height: 768,
};
const MODEL = { title: "v1-5-pruned-emaonly", hash: "6ce0161689", vae: null, options: {} };
const adapter = (name, unet = 1, textEncoder = unet, hash = null) => ({ handle: name, name, unet, textEncoder, hash, onePart: false });

test("our pictures say what A1111 reads, in its words and its order", () => {
  const text = writeRecord({
    settings: { ...SETTINGS, prompt: "a (cat:1.2) # mine", negativePrompt: "dog", emphasis: "no_norm", clipSkip: 2 },
    adapters: [adapter("ink-v2", 0.8, 0.5, "0123456789ab"), adapter("line, art", 1)],
    model: { ...MODEL, vae: { name: "vae-ft.safetensors", hash: "735e4c3a44" } },
  });
  const [prompt, negative, line] = text.split("\n");
  assert.equal(prompt, "a (cat:1.2) <lora:ink-v2:0.5:0.8> <lora:line art:1>");
  assert.equal(negative, "Negative prompt: dog");
  assert.ok(line.startsWith("Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 1234, Size: 512x768, Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, VAE hash: 735e4c3a44, VAE: vae-ft.safetensors, Clip skip: 2, RNG: CPU, Lora hashes: \"ink-v2: 0123456789ab\", Emphasis: No norm, Lorakeet: "), line);
  assert.ok(line.endsWith(`, Version: Lorakeet ${VERSION}`), line);
  // what isn't known is left out
  const bare = writeRecord({ settings: SETTINGS, adapters: [], model: { title: "Emoji", hash: null, vae: null, options: {} } });
  assert.doesNotMatch(bare, /hash|Clip skip|Emphasis:|VAE|Negative/);
  assert.match(readFileSync(new URL("Cargo.toml", root), "utf8"), new RegExp(`^version = "${VERSION}"`, "m"));
});

test("a tag that stands in the prompt gets the strength that acted, in its place", () => {
  const record = { settings: { ...SETTINGS, prompt: "<lora:ink:0.3> a cat <lora:other:1>" }, adapters: [adapter("ink", 0.8)], model: MODEL };
  const text = writeRecord(record);
  assert.equal(text.split("\n")[0], "<lora:ink:0.8> a cat <lora:other:1>");
  assert.equal(readRecord(text).prompt, record.settings.prompt);
});

test("a strength that is spread is told to A1111 as far as its tags can say it, and to us exactly", () => {
  const record = (spread, prompt = "a cat") => ({ settings: { ...SETTINGS, prompt }, adapters: [{ ...adapter("ink", 0.8), spread }, adapter("soft")], model: MODEL });
  const names = ["BASE", "IN01", "IN02", "M00", "OUT03"];
  const outs = Object.fromEntries(names.map((name) => [name, Number(name === "OUT03")]));
  const inside = { blocks: outs, curve: [[0.1, 0], [0.1, 1], [0.6, 1], [0.6, 0]] };
  const text = writeRecord(record(inside));
  assert.equal(text.split("\n")[0], "a cat <lora:ink:0.8:lbw=0,0,0,1,1,1,1,0,1,1,1,1,1,1,1,1,1:start=3:stop=13> <lora:soft:1>");
  const [read] = readA1111(text).adapters;
  assert.deepEqual([read.spread.curve, names.map((name) => read.spread.blocks[name])], [inside.curve, [0, 0, 0, 0, 1]]);
  // of a block that lists of 17 don't name
  const wide = writeRecord(record({ blocks: { IN00: 0.5, M00: 1 }, curve: [] })).split("\n")[0];
  assert.equal(wide, `a cat <lora:ink:0.8:lbw=1,0.5${",1".repeat(24)}> <lora:soft:1>`);
  const fading = { blocks: {}, curve: [[0.25, 0], [1, 1]] };
  assert.equal(writeRecord(record(fading)).split("\n")[0], "a cat <lora:ink:0.8> <lora:soft:1>");
  for (const spread of [inside, fading, { blocks: { IN00: 1 / 3, M00: 1 }, curve: [[0, 1], [1 / 7, 0.2], [1, -3]] }]) {
    for (const prompt of ["a cat", "<lora:ink:0.2:lbw=XYZ:start=0> a cat"]) {
      const found = readRecord(writeRecord(record(spread, prompt)));
      assert.deepEqual([found.prompt, found.adapters.map((one) => one.spread), found.notes], [prompt, [spread, undefined], []]);
    }
  }
  const changed = readRecord(writeRecord(record(inside)).replaceAll("0.6,", "7,"));
  assert.equal(changed.adapters[0].spread, undefined);
  const unread = readA1111("a <lora:ink:1:lbw=MINE:start=3>\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 5, RNG: CPU");
  assert.deepEqual([unread.adapters[0].spread, unread.notes], [{ blocks: {}, curve: [[0.1, 0], [0.1, 1]] }, ["lbw: “MINE” is no list of blocks, so ink acts everywhere the same"]]);
});

test("a picture whose prompt had choices says what was drawn, to everybody, and to us what it was drawn from", () => {
  const template = { prompt: "a {red|blue} cat, {2$$__x__} \"{<lora:ink:0.5>|}\"", negativePrompt: "{fog|rain}\nSteps: 1" };
  const record = { settings: { ...SETTINGS, prompt: "a red cat" }, adapters: [{ ...adapter("ink", 0.5), drawn: true }, adapter("soft")], template, model: MODEL };
  const text = writeRecord(record);
  assert.equal(text.split("\n")[0], "a red cat <lora:ink:0.5> <lora:soft:1>");
  assert.equal(readA1111(text).prompt, "a red cat <lora:ink:0.5> <lora:soft:1>");
  const found = readRecord(text);
  assert.deepEqual([found.template, found.prompt, found.rest], [template, "a red cat", []]);
  assert.deepEqual(found.adapters.map(({ name, drawn }) => [name, drawn ?? false]), [["ink", true], ["soft", false]]);
  assert.equal(readRecord(writeRecord({ ...record, template: null })).template, null);
});

test("our pictures say everything that the page sets, to the last sign", () => {
  // what A1111's form would change: its own words, blanks, comments, quotes, tags
  const texts = ["", "a cat", "two\nlines", "  blanks  \n  inside ", "Negative prompt: x", "a\nSteps: 1, Seed: 2, Size: 8x8", "a # comment\nb", "\"quoted\", and: more", "桜 😀 \\( [a:b:0.5]", "<lora:ink:0.5> and <lora:none:2>", "#", "a\r\nb"];
  const adapters = [[], [adapter("ink", 0.55)], [adapter("ink", -2, 0.05, "0571cfe42be5"), adapter("a, b: <c>", 0, 1)]];
  let tried = 0;
  for (const prompt of texts) {
    for (const negativePrompt of texts) {
      for (const [i, some] of adapters.entries()) {
        const more = i === 1 ? { emphasis: "comfy_ui", spacing: "trailing", scheduler: "tcd", eta: 0.35, guidance: 1.1, seed: "9223372036854775807", clipSkip: 12 } : {};
        const levels = i === 2 ? { scheduler: "dpmpp_2m", schedule: "align_your_steps" } : {};
        const settings = { ...SETTINGS, prompt, negativePrompt, ...more, ...levels };
        const model = { ...MODEL, title: i ? "a, model: \"x\"" : MODEL.title, options: i ? { prediction: "v_prediction" } : {} };
        const found = readRecord(writeRecord({ settings, adapters: some, model }));
        for (const [key, value] of Object.entries(settings)) assert.deepEqual(found[key], value, `${key} of ${JSON.stringify(settings)}`);
        assert.deepEqual(found.adapters, some.map(({ name, unet, textEncoder, hash }) => ({ name, unet, textEncoder, hash })));
        const { title: name, hash, options } = model;
        assert.deepEqual([found.model, found.options, found.rest, found.notes], [{ name, hash }, options, [], []]);
        tried += 1;
      }
    }
  }
  assert.ok(tried > 400);
  assert.equal(KEYWORD, "parameters");
});

test("what a picture started from is written in A1111's keys, and comes back to the last digit", () => {
  const inpaint = { blur: 6, content: "nothing", area: "masked", padding: 40, inverted: true };
  const start = { picture: "0123456789abcdef", mask: "fedcba9876543210", strength: 0.35, exactSteps: true, resize: "crop", inpaint };
  const write = (one) => writeRecord({ settings: { ...SETTINGS, start: one }, adapters: [], model: MODEL });
  const keys = "Denoising strength: 0.35, RNG: CPU, Mask blur: 6, Inpaint area: Only masked, Masked area padding: 40, Masked content: latent nothing, Mask mode: Inpaint not masked";
  assert.ok(write(start).includes(keys), write(start));
  const plain = { blur: 4, content: "original", area: "whole", padding: 32, inverted: false };
  for (const one of [start, { ...start, mask: "", inpaint: null }, { ...start, inpaint: plain }, null]) {
    const found = readRecord(write(one));
    assert.deepEqual([found.start, found.rest], [one, []]);
  }
  // a program that knows A1111's keys alone, and a text that somebody has changed
  assert.deepEqual(readA1111(write(start)).start, { ...start, picture: "", mask: "", exactSteps: false, resize: "stretch" });
  const changed = write(start).replaceAll("0.35", "7").replace("fedcba9876543210", "<b>");
  assert.equal(readRecord(changed).start, null);
});

test("a second pass is written in A1111's keys, and comes back", () => {
  for (const upscaler of ["latent", "latent-nearest", "lanczos"]) {
    for (const steps of [0, 12]) {
      const hires = { scale: 1.5, upscaler, strength: 0.45, steps };
      const text = writeRecord({ settings: { ...SETTINGS, hires }, adapters: [], model: MODEL });
      assert.match(text, /Denoising strength: 0.45, RNG: CPU, Hires upscale: 1.5, (Hires steps: 12, )?Hires upscaler: L/);
      const found = readRecord(text);
      assert.deepEqual([found.hires, found.start, found.rest], [hires, null, []]);
    }
  }
});
