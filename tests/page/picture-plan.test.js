// What of a picture's settings is taken over, and what is said of the rest.

import assert from "node:assert/strict";
import { test } from "node:test";
import { readA1111 } from "../../web/picture-info/a1111.js";
import { found } from "../../web/picture-info/found.js";
import { missing, planOf } from "../../web/picture-info/plan.js";

const SCHEDULERS = [["ddim", "DDIM", false], ["euler_a", "Euler ancestral", true], ["dpmpp_2m", "DPM++ 2M", true], ["dpmpp_2m_karras", "DPM++ 2M Karras", false]]
  .map(([id, label, takesSchedule]) => ({ id, label, takesSchedule }));
const SCHEDULES = [{ id: "karras", label: "Karras" }, { id: "uniform", label: "Uniform" }];
const page = (more = {}) => ({
  takes: (name, value) => Number(value) <= ({ steps: 150, "hires-scale": 4 }[name] ?? Infinity) || !Number(value),
  schedulers: SCHEDULERS, schedules: SCHEDULES, scheduler: "ddim", adapters: [], model: { title: "Emoji Diffusion", hash: null, options: {} },
  hasStart: () => false, starts: false, ...more,
});
const text = (prompt, settings) => `${prompt}\nNegative prompt: fog\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 5, Size: 512x640${settings}`;
const plan = (prompt, settings, more) => planOf(readA1111(text(prompt, settings)), page(more));

test("what the page has is set, defaults that a text leaves out among it", () => {
  const { settings, restored, lacking, strengths } = plan("a (cat:1.2)", ", RNG: CPU");
  assert.deepEqual(settings, {
    prompt: "a (cat:1.2)", negativePrompt: "fog", seed: "5", rng: "cpu", variationStrength: 0, steps: 20, guidance: 7, scheduler: "dpmpp_2m", schedule: "karras",
    clipSkip: 1, emphasis: "original", spacing: "", width: 512, height: 640, hires: null,
  });
  assert.deepEqual(restored, ["prompt", "negative prompt", "seed 5", "20 steps", "guidance 7", "DPM++ 2M", "Karras", "512×640"]);
  assert.deepEqual([lacking, strengths], [[], []]);
});

test("what it can't set stays as it is, and is told by name", () => {
  const wish = readA1111("a\nSteps: 900, Sampler: Restart, CFG scale: 7, Seed: 5, Size: 8x8, Clip skip: 2, ENSD: 31337, Hires resize: 10x20, Hires upscaler: Latent, Model: other, Model hash: 0123456789");
  const { settings, lacking } = planOf(wish, page());
  assert.equal(settings.clipSkip, 2);
  assert.ok(!("steps" in settings) && !("scheduler" in settings));
  assert.deepEqual(lacking, [
    "sampler Restart (DDIM stays)", "steps 900, which can’t be set here", "model other (0123456789); Emoji Diffusion is loaded", "ENSD: 31337",
    "Hires resize: 10x20", "Hires upscaler: Latent", "it names no source of its noise, which is taken for an NVIDIA card’s",
  ]);
  const long = Array.from({ length: 30 }, (_, i) => `, Key ${i}: ${"x".repeat(i * 10)}`).join("");
  const many = plan("a", `, RNG: CPU${long}`).lacking;
  assert.deepEqual([many.length, many[0], many[8]], [9, "Key 1: xxxxxxxxxx", "21 more"]);
  assert.ok(many.every((line) => line.length <= 80));
});

test("adapters are known by their bytes, then by their names; those that aren't here keep their tags", () => {
  const prompt = "ink <lora:ink-v2:0.8:0.5> and <lora:gone:1> <lora:Soft:30>";
  const hashes = ', RNG: CPU, Lora hashes: "ink-v2: 0123456789ab, gone: ffffffffffff, Soft: aaaaaaaaaaaa"';
  const adapters = [{ handle: "1", name: "renamed", hash: "0123456789ab" }, { handle: "2", name: "soft", hash: "bbbbbbbbbbbb" }, { handle: "3", name: "ink-v2", hash: null }];
  const { settings, strengths, restored, lacking } = plan(prompt, hashes, { adapters });
  assert.equal(settings.prompt, "ink and <lora:gone:1>");
  assert.deepEqual(strengths, [{ handle: "1", unet: 0.5, textEncoder: 0.8 }, { handle: "2", unet: 10, textEncoder: 10 }]);
  assert.deepEqual(restored.slice(-2), ["renamed 0.5 / 0.8", "soft 30"]);
  assert.deepEqual(lacking, [
    "adapter Soft with the hash aaaaaaaaaaaa (the one here has bbbbbbbbbbbb)", "strength 30 of soft (the most is 10)", "adapter gone (ffffffffffff)",
  ]);
  assert.deepEqual(missing(readA1111(text(prompt, hashes)), adapters).map(({ name }) => name), ["gone"]);
});

test("an adapter that is named twice acts with both strengths", () => {
  const adapters = [{ handle: "1", name: "ink", hash: null }];
  assert.deepEqual(plan("<lora:ink:0.3> <lora:ink:0.4:0>", ", RNG: CPU", { adapters }).strengths, [{ handle: "1", unet: 0.3, textEncoder: 0.7 }]);
});

test("how a strength is spread is taken over, and told", () => {
  const adapters = [{ handle: "1", name: "ink", hash: null }, { handle: "2", name: "soft", hash: null }];
  const { strengths, restored, lacking } = plan("<lora:ink:0.3:lbw=OUTALL> <lora:ink:0.4:start=5> <lora:soft:1:lbw=MINE>", ", RNG: CPU", { adapters });
  assert.deepEqual([strengths[0].unet, strengths[0].spread.curve, strengths[1].spread], [0.7, [[0.2, 0], [0.2, 1]], undefined]);
  assert.deepEqual(["IN01", "OUT03"].map((name) => strengths[0].spread.blocks[name]), [0, 1]);
  assert.deepEqual(restored.slice(-3), ["ink 0.3 (OUTALL blocks)", "ink 0.4 (steps 20–100 %)", "soft 1"]);
  assert.deepEqual(lacking, ["lbw: “MINE” is no list of blocks, so soft acts everywhere the same"]);
});

test("a picture whose prompt had choices gives them back where they come to the same words, and else the words", () => {
  const adapters = [{ handle: "1", name: "ink", hash: null }, { handle: "2", name: "soft", hash: null }];
  const wish = found("Lorakeet", {
    prompt: "a red cat  x", negativePrompt: "fog", seed: "5", steps: 20, template: { prompt: "a {red|blue} cat {<lora:ink:0.5>|b} x", negativePrompt: "{fog|rain}" },
    adapters: [{ name: "ink", hash: null, unet: 0.5, textEncoder: 0.5, drawn: true }, { name: "soft", hash: null, unet: 1, textEncoder: 1 }],
  });
  const with_ = (texts) => planOf(wish, page({ adapters, draws: (template, seed) => (seed === "5" && template === wish.template ? texts : null) }));
  const again = with_({ prompt: "a red cat <lora:ink:0.5> x", negativePrompt: "fog" });
  assert.deepEqual([again.settings.prompt, again.settings.negativePrompt], [wish.template.prompt, wish.template.negativePrompt]);
  assert.deepEqual([again.strengths, again.lacking], [[{ handle: "2", unet: 1, textEncoder: 1 }], []]);
  assert.ok(again.restored.includes("prompt with its choices"));
  for (const texts of [{ prompt: "a blue cat  x", negativePrompt: "fog" }, { prompt: "a red cat  x", negativePrompt: "rain" }]) {
    const other = with_(texts);
    assert.deepEqual([other.settings.prompt, other.settings.negativePrompt], ["a red cat  x", "fog"]);
    assert.deepEqual(other.strengths.map(({ handle, unet }) => [handle, unet]), [["1", 0.5], ["2", 1]]);
    assert.match(other.lacking[0], /its choices, since lists/);
  }
});

test("a text alone changes nothing but the prompt", () => {
  const { settings, strengths } = planOf(found("A1111", { prompt: "a cat" }), page());
  assert.deepEqual([settings, strengths], [{ prompt: "a cat" }, null]);
});

test("the model is known by its hash, else by its name; how it was loaded is told where it differs", () => {
  const wish = (more) => found("Lorakeet", { model: { name: "a", hash: "0123456789" }, options: {}, ...more });
  const of = (one, model) => planOf(one, page({ model })).lacking;
  assert.deepEqual(of(wish(), { title: "b", hash: "0123456789", options: {} }), []);
  assert.deepEqual(of(wish(), { title: "A", hash: null, options: {} }), []);
  assert.deepEqual(of(wish(), { title: "a", hash: "ffffffffff", options: {} }), ["model a (0123456789); a is loaded"]);
  assert.deepEqual(of(wish({ options: { prediction: "v_prediction" } }), { title: "a", hash: null, options: {} }), ["the model’s options prediction v_prediction (now: none)"]);
  assert.deepEqual(of(wish(), null), []);
});

test("a start picture is set where it is in memory; else its strength is, and what is lacking is told", () => {
  const keys = ", RNG: CPU, Denoising strength: 0.4, Mask blur: 8, Inpaint area: Only masked, Masked area padding: 16, Masked content: latent noise";
  const inpaint = { blur: 8, content: "noise", area: "masked", padding: 16, inverted: false };
  const foreign = plan("a", keys);
  assert.deepEqual(foreign.start, { picture: "", mask: "", strength: 0.4, exactSteps: false, resize: "stretch", inpaint });
  assert.ok(foreign.restored.includes("strength 0.4"));
  assert.deepEqual(foreign.lacking, ["the picture that it started from and its mask, which no text holds: put it in again"]);
  const own = { ...readA1111(text("a", ", RNG: CPU")), start: { ...foreign.start, picture: "0123456789abcdef", inpaint: null } };
  const here = planOf(own, page({ hasStart: ({ picture }) => picture === "0123456789abcdef" }));
  assert.deepEqual([here.start, here.lacking], [own.start, []]);
  assert.ok(here.restored.includes("start picture, strength 0.4"));
  assert.match(planOf(own, page({ starts: true })).lacking[0], /the one that is here stays/);
  // one from noise alone says so where a start picture goes for it; a prompt alone says nothing
  assert.equal(plan("a", ", RNG: CPU").start, null);
  assert.ok(plan("a", ", RNG: CPU", { starts: true }).restored.includes("from noise alone"));
  assert.ok(!("start" in planOf(found("A1111", { prompt: "a" }), page({ starts: true }))));
  // the strength of a second pass is none of a start picture's
  const hires = plan("a", ", RNG: CPU, Denoising strength: 0.7, Hires upscale: 2, Hires upscaler: 4x-UltraSharp");
  assert.deepEqual([hires.start, hires.settings.hires, hires.lacking], [null, null, ["Denoising strength: 0.7", "Hires upscale: 2", "Hires upscaler: 4x-UltraSharp"]]);
});

test("a second pass is taken over where it can be set", () => {
  const of = (keys) => plan("a", `, RNG: CPU, ${keys}`);
  const whole = of("Denoising strength: 0.5, Hires upscale: 1.5, Hires steps: 8, Hires upscaler: Lanczos");
  assert.deepEqual(whole.settings.hires, { scale: 1.5, upscaler: "lanczos", strength: 0.5, steps: 8 });
  assert.deepEqual([whole.restored.at(-1), whole.lacking, whole.start], ["upscale 1.5×", [], null]);
  // what A1111 leaves out is its own
  assert.deepEqual(of("Hires upscale: 2").settings.hires, { scale: 2, upscaler: "latent", strength: 0.7, steps: 0 });
  // a size is one by hundredths, if it is one
  assert.equal(of("Hires resize: 1024x1280, Hires upscaler: Latent").settings.hires.scale, 2);
  assert.equal(of("Hires resize: 0x1000").settings.hires.scale, 1.57);
  const cut = of("Denoising strength: 0.5, Hires resize: 1024x1024");
  assert.deepEqual([cut.settings.hires, cut.lacking], [null, ["Denoising strength: 0.5", "Hires resize: 1024x1024"]]);
  assert.equal(of("Hires upscale: 3.5").settings.hires, null, "more pixels a side than are drawn");
  const large = of("Denoising strength: 0.5, Hires upscale: 8, Hires upscaler: Latent");
  assert.deepEqual([large.settings.hires, large.lacking], [null, ["upscale 8× at strength 0.5, which can’t be set here"]]);
});
