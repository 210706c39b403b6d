// The npm package as a stranger has it: installed into an empty project from the packed file, compiled against, and used in
// the browser, by its own example and by its functions. Pictures are held against those that diffusers drew.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Chrome } from "../stage/chrome.js";
import { Page } from "../stage/page.js";
import { FolderSite } from "./site.js";

const { LORAKEET_PACKAGE: PACKAGE, LORAKEET_NPM: NPM, LORAKEET_TSC: TSC, LORAKEET_CHROME: CHROME } = process.env;
if (!PACKAGE || !NPM || !TSC || !CHROME) throw new Error("the package is made by cargo xtask package, which runs these tests");

const ROOT = new URL("../../../", import.meta.url);
const here = (path) => fileURLToPath(new URL(path, ROOT));
const EXAMPLE = "node_modules/lorakeet/api/example/index.html";
const REFERENCES = ["ddim.base.0.png", "ddim.ink_0.5.0.png"];
const project = mkdtempSync(join(tmpdir(), "lorakeet-package-"));
const site = new FolderSite(project);
/** @type {Chrome} */
let chrome;
/** @type {Page} */
let page;

before(async () => {
  writeFileSync(join(project, "package.json"), '{ "name": "empty", "private": true, "type": "module" }\n');
  execFileSync(NPM, ["install", "--offline", "--no-audit", "--no-fund", "--silent", PACKAGE], { cwd: project, stdio: "inherit" });
  for (const name of REFERENCES) cpSync(here(`tests/fixtures/demo-model/reference/${name}`), join(project, name));
  cpSync(here("web/demo-model"), join(project, "demo-model"), { recursive: true });
  chrome = new Chrome(CHROME);
  const address = await site.open();
  const { browserContextId } = await chrome.send("Target.createBrowserContext", { disposeOnDetach: true });
  page = new Page(chrome, site, address, browserContextId);
  await page.tab();
});

after(async () => {
  site.close();
  await chrome?.close();
  rmSync(project, { recursive: true, force: true });
});

const says = (words) => page.until(`“${words}”`, (wanted) => document.querySelector("#status").value.includes(wanted), words);

test("it holds the engine, its licences and nothing of the page; its types are what a stranger compiles against", () => {
  const root = join(project, "node_modules/lorakeet");
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name).slice(root.length + 1).replaceAll("\\", "/"));
  for (const path of ["LICENSE-MIT", "LICENSE-APACHE", "web/clip-vocabulary/LICENSE", "README.md", "lorakeet_bg.wasm", "api/index.d.ts", "web/protocol.d.ts"]) {
    assert.ok(files.includes(path), `${path} is not in it: ${files.join(" ")}`);
  }
  const scripts = files.filter((path) => path.endsWith(".js") && !path.includes("/ui/"));
  assert.ok(scripts.length < 40, `the page came along: ${scripts.join(" ")}`);
  for (const path of scripts) {
    const code = readFileSync(join(root, path), "utf8").replaceAll(/^\s*(\/\/|\/?\*).*$/gm, "");
    assert.doesNotMatch(code, /\b(document|window)\./, `${path} asks for a document`);
  }
  assert.doesNotMatch(readFileSync(join(root, "README.md"), "utf8"), /<!--/, "its sizes are told");
  cpSync(here("tests/page/package/use.ts"), join(project, "use.ts"));
  const settings = ["--strict", "--noEmit", "--skipDefaultLibCheck", "--target", "ESNext", "--module", "NodeNext", "--lib", "ESNext,DOM,DOM.Iterable,DOM.AsyncIterable"];
  execFileSync(process.execPath, [TSC, ...settings, "use.ts"], { cwd: project, stdio: "inherit" });
});

test("its example loads a model, attaches an adapter and draws diffusers' pictures, side by side", async () => {
  await page.go(EXAMPLE);
  await says("Give it a model");
  await page.drop(here("web/demo-model/model"));
  await says("is loaded");
  await page.drop(here("web/demo-model/lora/ink.kohya.safetensors"));
  await says("84 of 84 modules");
  await page.set("#strength", "0.5");
  await page.run(() => document.querySelector("#form button").click());
  await page.until("both pictures", () => document.querySelector("[slot=right]").width === 128 && document.querySelector("#status").value.startsWith("Drawn"));
  for (const [side, name] of [["left", REFERENCES[0]], ["right", REFERENCES[1]]]) {
    // three levels of 255 at the worst pixel: sums in another order, then 20 steps and rounding
    const worst = await page.run(async (slot, address) => {
      const bitmap = await createImageBitmap(await (await fetch(`/${address}`)).blob(), { colorSpaceConversion: "none" });
      const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
      context.drawImage(bitmap, 0, 0);
      const wanted = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
      const canvas = document.querySelector(`[slot=${slot}]`);
      const drawn = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return wanted.length === drawn.length ? wanted.reduce((most, level, i) => Math.max(most, Math.abs(level - drawn[i])), 0) : Infinity;
    }, side, name);
    assert.ok(worst <= 3, `${name}: ${worst}`);
  }
  const position = () => page.run(() => Math.round(document.querySelector("lorakeet-two-up").position));
  const { x, y } = await page.run(() => {
    const { left, top, width, height } = document.querySelector("lorakeet-two-up").getBoundingClientRect();
    return { x: left + width / 4, y: top + height / 2 };
  });
  for (const type of ["mousePressed", "mouseReleased"]) await page.devtools("Input.dispatchMouseEvent", { type, x, y, button: "left", clickCount: 1 });
  assert.equal(await position(), 25);
  await page.press("PageUp");
  assert.equal(await position(), 35);
  const spoken = await page.run(() => {
    const divider = document.querySelector("lorakeet-two-up").shadowRoot.activeElement;
    return ["role", "aria-label", "aria-valuenow"].map((name) => divider.getAttribute(name));
  });
  assert.deepEqual(spoken, ["slider", "Compare: without on the left, with on the right", "35"]);
  assert.deepEqual(page.errors, []);
});

/** Run in the page: opens an engine with the demo model as `window.lorakeet`. */
async function opened() {
  const paths = ["model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.fp16.safetensors", "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json", "tokenizer/tokenizer_config.json", "tokenizer/vocab.json", "unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors",
    "vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors"];
  const read = async (path) => (await fetch(`/demo-model/${path}`)).blob();
  const { Lorakeet } = await import("lorakeet");
  const lorakeet = await Lorakeet.open({ backend: "cpu" });
  const files = await Promise.all(paths.map(async (path) => ({ path, blob: await read(`model/${path}`) })));
  await lorakeet.loadModel(files);
  Object.assign(window, {
    lorakeet, files,
    ink: new File([await read("lora/ink.kohya.safetensors")], "ink.safetensors"),
    sum: ({ data }) => data.reduce((sum, level, i) => (sum * 31 + level + i) % 2147483647, 7),
    failure: (work) => work().then(() => "nothing", ({ name, message }) => `${name}: ${message}`),
  });
  return { threads: lorakeet.device.threads, processors: navigator.hardwareConcurrency };
}

test("what is wrong is said; what is stopped stops; a worker that is gone comes back with all that it had", async () => {
  await page.go(EXAMPLE);
  const { threads, processors } = await page.run(opened);
  assert.equal(threads, Math.min(8, processors), "it is cross-origin isolated");
  const wrong = await page.run(async () => {
    const { lorakeet, ink, failure } = window;
    return [
      await failure(async () => lorakeet.draw({ promt: "fox" })),
      await failure(async () => lorakeet.draw({ prompt: "fox", steps: 0 })),
      await failure(async () => lorakeet.loadModel(ink)),
      await failure(() => lorakeet.attach(new File(["not tensors"], "notes.safetensors"))),
    ];
  });
  for (const [i, words] of ["TypeError: promt: there is no such setting", "steps", "ink: It is an adapter: attach it to a model", "notes"].entries()) assert.ok(wrong[i].includes(words), wrong[i]);

  const found = await page.run(async () => {
    const { lorakeet, ink, sum, failure } = window;
    const settings = { prompt: "fox", steps: 3, guidance: 4, seed: 5 };
    const bare = sum(await lorakeet.draw(settings));
    const adapter = await lorakeet.attach(ink);
    const drawn = sum(await lorakeet.draw(settings));
    const abort = new AbortController();
    const stopped = lorakeet.draw({ ...settings, steps: 500 }, { signal: abort.signal });
    const waiting = lorakeet.draw(settings);
    const seen = [];
    const stop = await failure(async () => {
      for await (const { phase, preview } of stopped) {
        seen.push(phase);
        if (preview) abort.abort();
      }
    });
    const after = sum(await waiting);
    const told = [];
    for (const type of ["crash", "recovered"]) lorakeet.addEventListener(type, () => told.push(type));
    const crash = await failure(async () => {
      for await (const { phase } of lorakeet.draw({ ...settings, steps: 500 })) if (phase === "denoise") lorakeet.restart();
    });
    const again = sum(await lorakeet.draw(settings));
    adapter.strength = 0;
    const none = sum(await lorakeet.draw(settings));
    await adapter.detach();
    const start = await lorakeet.draw(settings);
    const from = await lorakeet.draw({ ...settings, start: { picture: start, strength: 0.4 } });
    const others = { last: sum(start), from: [from.width, sum(from) === bare], left: lorakeet.adapters.length };
    return { bare, drawn, after, again, none, stop, crash, told, seen, ...others };
  });
  assert.notEqual(found.drawn, found.bare, "an adapter changes the picture");
  assert.deepEqual([found.after, found.again], [found.drawn, found.drawn], "the same picture after a stop, and after the worker was replaced");
  assert.deepEqual([found.none, found.last], [found.bare, found.bare], "strength 0 is the model alone, and so is the model without it");
  assert.ok(found.stop.startsWith("AbortError"), found.stop);
  assert.ok(found.crash.startsWith("EngineCrash"), found.crash);
  assert.ok(found.seen.includes("denoise"), found.seen.join());
  assert.deepEqual(found.told, ["crash", "recovered"]);
  assert.deepEqual(found.from, [128, false]);
  assert.equal(found.left, 0);
});

test("it trains an adapter, goes on from where it was, and what it exports draws", async () => {
  const found = await page.run(async () => {
    const { lorakeet, sum } = window;
    const settings = { prompt: "fox", steps: 3, guidance: 4, seed: 5 };
    const image = async (name) => (await fetch(`/demo-model/training-set/${name}.png`)).blob();
    const pictures = [{ image: await image("house"), caption: "a house" }, { image: await lorakeet.draw(settings), caption: "a fox" }];
    const never = { evaluateEvery: 0, previewEvery: 0, snapshotEvery: 0 };
    const training = await lorakeet.train(pictures, { steps: 3, batch: 1, rank: 4, ...never });
    const steps = [];
    const pause = new AbortController();
    const first = training.run({ signal: pause.signal });
    for await (const { step } of first) {
      if (!step) continue;
      steps.push(step.step);
      pause.abort();
    }
    const { outcome } = await first;
    const saved = await training.save();
    await training.end();
    const resumed = await lorakeet.resumeTraining(saved);
    for await (const { step } of resumed.run()) if (step) steps.push(step.step);
    const trained = sum(await resumed.draw(settings));
    const files = await resumed.export({ title: "house", half: false });
    await resumed.end();
    const bare = sum(await lorakeet.draw(settings));
    const adapter = await lorakeet.attach(files);
    const attached = sum(await lorakeet.draw(settings));
    const exported = { names: files.map(({ name }) => name), kind: adapter.report.kind };
    const result = { steps, outcome, at: saved.step, trained, attached, bare, ...exported };
    lorakeet.close();
    return { ...result, closed: await window.failure(() => lorakeet.memory()) };
  });
  assert.deepEqual([found.steps, found.outcome, found.at], [[1, 2, 3], "paused", 1]);
  assert.notEqual(found.trained, found.bare);
  assert.equal(found.attached, found.trained, "the exported file draws as the run did");
  assert.deepEqual([found.names, found.kind], [["house.safetensors"], "LoRA"]);
  assert.ok(found.closed.includes("closed"), found.closed);
});

test("a worker without a document uses it too", async () => {
  const width = await page.run(async () => {
    const script = `
      import { Lorakeet } from ${JSON.stringify(new URL("/node_modules/lorakeet/api/index.js", location.href).href)};
      self.addEventListener("message", async ({ data }) => {
        try {
          const lorakeet = await Lorakeet.open({ backend: "cpu", threads: 1 });
          await lorakeet.loadModel(data);
          postMessage((await lorakeet.draw({ prompt: "fox", steps: 1 })).width);
        } catch (error) {
          postMessage(error.message);
        }
      });
      postMessage("ready");`;
    const worker = new Worker(URL.createObjectURL(new Blob([script], { type: "text/javascript" })), { type: "module" });
    const answer = () => new Promise((resolve, reject) => {
      worker.addEventListener("message", ({ data }) => resolve(data), { once: true });
      worker.addEventListener("error", ({ message }) => reject(new Error(message)), { once: true });
    });
    await answer();
    worker.postMessage(window.files);
    const found = await answer();
    worker.terminate();
    return found;
  });
  assert.equal(width, 128);
});
