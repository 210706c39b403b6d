// What is told of a run: log, times, words. (Its states and its files: played.test.js.)

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { ADVANCED, BASIC, setAt, valueAt } from "../../web/train/fields.js";
import { RunLog, findings, number, percent } from "../../web/train/log.js";
import { Pace } from "../../web/train/pace.js";
import { measuringSeconds, previewSeconds, stateBytes, trained } from "../../web/train/time.js";
import { barOf, buttonsOf, estimateWords, roomNotes } from "../../web/train/words.js";
import { Tries } from "../../web/tries.js";

const step = (at, loss = 1, more = {}) => ({ step: at, loss, learningRate: 1e-4, gradientNorm: 1, skippedNow: false, seconds: 2, ...more });

function logOf(count) {
  const log = new RunLog();
  for (let at = 1; at <= count; at += 1) log.addStep(step(at, at));
  return log;
}

test("the smoothed loss begins as a mean, and a loss that is no number leaves it as it is", () => {
  const log = new RunLog();
  for (const [at, loss] of [4, 2, Number.NaN, 3].entries()) log.addStep(step(at + 1, loss));
  assert.deepEqual(log.steps.map(({ loss }) => loss), [4, 2, null, 3]);
  // (4 + 2) / 2; the third step counts among those that were seen
  assert.deepEqual(log.steps.map(({ smooth }) => smooth), [4, 3, 3, 3]);
  const first = new RunLog();
  first.addStep(step(1, Number.NaN));
  first.addStep(step(2, 5));
  assert.deepEqual(first.steps.map(({ smooth }) => smooth), [null, 5]);
});

test("a step that is done anew takes the place of the one before, and of all after it", () => {
  const log = logOf(5);
  log.addEvaluation({ step: 5, best: true });
  log.addStep(step(3, 9));
  assert.deepEqual(log.steps.map(({ step: at, loss }) => [at, loss]), [[1, 1], [2, 2], [3, 9]]);
  log.truncate(3);
  assert.equal(log.best, null);
});

test("a log is read back as it was, up to the step that the run goes on from", () => {
  const log = logOf(30);
  log.addEvaluation({ step: 10, best: true });
  log.addEvaluation({ step: 20, best: false });
  const whole = RunLog.parse(log.toText(), 30);
  assert.deepEqual([whole.steps, whole.evaluations], [log.steps, log.evaluations]);
  const part = RunLog.parse(log.toText(), 12);
  assert.deepEqual([part.steps.length, part.evaluations.length, part.best], [12, 1, 10]);
  assert.deepEqual(RunLog.parse(null, 0).steps, []);
});

test("seconds per step are the middle one of the last twenty that took any", () => {
  const log = new RunLog();
  assert.equal(log.secondsPerStep, null);
  for (let at = 1; at <= 30; at += 1) log.addStep(step(at, 1, { seconds: at <= 10 ? 100 : at === 30 ? 0 : at - 10 }));
  assert.equal(log.secondsPerStep, 10);
});

test("findings warn of what a person must look at", () => {
  const evaluation = { train: { ratio: 0.8 }, heldOut: null, drift: 1.2, copying: { name: "cat", similarity: 0.95 }, diversity: 0.4, draws: 4, of: 16 };
  const texts = findings(evaluation);
  assert.deepEqual(texts.filter(({ warn }) => warn).map(({ text }) => text.slice(0, 14)), ["Other prompts ", "What it draws ", "Variety over s"]);
  assert.match(texts[1].text, /No picture is held out/);
  assert.match(texts.at(-1).text, /4 of 16 timesteps/);
  assert.deepEqual([percent(0.0451), percent(0.451), number(0), number(1234.5), number(0.000123), number(123456)], ["4.5 %", "45 %", "0", "1230", "1.2e−4", "1.2e5"]);
});

const CONFIG = {
  steps: 100, batch: 2, accumulation: 1, resolution: 512, leaveOneOut: false, holdOut: 1, previews: "few", previewEvery: 10,
  snapshotEvery: 50, optimizer: { name: "adamW" },
};

test("what is drawn and measured keeps to its share of the time, as the engine does", () => {
  // 11 previews of 10 s; a quarter of 200 s, and the first and the last
  assert.equal(previewSeconds(CONFIG, 200, 10), 70);
  assert.equal(previewSeconds(CONFIG, 2000, 10), 110);
  assert.equal(previewSeconds({ ...CONFIG, previews: "snapshots" }, 200, 10), 30);
  assert.equal(previewSeconds({ ...CONFIG, previews: "off" }, 200, 10), 0);
  // a forward pass is a third of a step's sample
  assert.equal(measuringSeconds({ samples: 60, first: 6 }, 3, 1000), 60);
  assert.equal(measuringSeconds({ samples: 6000, first: 6 }, 3, 1000), 250);
  assert.equal(measuringSeconds({ samples: 60, first: 60 }, 3, 10), 0);
  assert.equal(trained({ train: 8, heldOut: 0 }, CONFIG), 7);
  assert.equal(trained({ train: 8, heldOut: 2 }, CONFIG), 8);
  assert.equal(trained({ train: 1, heldOut: 0 }, { holdOut: 3 }), 0);
});

test("what a run keeps: every snapshot and two more, each with what the optimiser keeps", () => {
  assert.equal(stateBytes(CONFIG, 1000), 5 * 1000 * 4 * 3);
  assert.equal(stateBytes({ ...CONFIG, snapshotEvery: 0, optimizer: { name: "prodigy" } }, 1000), 4 * 1000 * 4 * 5);
  assert.deepEqual(roomNotes({ parameters: 1e6 }, CONFIG, { usage: 0, quota: 6e7 }), []);
  assert.deepEqual(roomNotes({ parameters: 1e6 }, CONFIG, null), []);
  assert.match(roomNotes({ parameters: 1e6 }, CONFIG, { usage: 9e7, quota: 1e8 })[0], /take 60 MB, .* room for 10 MB/);
});

beforeEach(() => {
  const kept = new Map();
  globalThis.localStorage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
});

test("a run's time follows from an earlier one of the same model here, at any resolution", () => {
  const model = (backend) => new Pace({ id: "m", backend, report: { native: { width: 512, height: 512 } } });
  const preview = { steps: 10, guidance: 4 };
  assert.equal(model("cpu").times(CONFIG, { train: 8, heldOut: 0 }, preview), null);
  model("cpu").note(4, { config: CONFIG, pictureSeconds: 0, preview });
  const times = model("cpu").times({ ...CONFIG, resolution: null, leaveOneOut: true }, { train: 8, heldOut: 0 }, preview);
  assert.deepEqual([times.sample, times.training, times.leavingOut], [2, 400, 2800]);
  assert.equal(model("cpu").times({ ...CONFIG, resolution: 256 }, { train: 8, heldOut: 0 }, preview).training, 100);
  assert.equal(model("webgpu").times(CONFIG, { train: 8, heldOut: 0 }, preview), null);
  // a picture that was timed is better than a guess: 10 steps of 4 s
  model("cpu").note(4, { config: CONFIG, pictureSeconds: 40, preview });
  assert.equal(model("cpu").times({ ...CONFIG, previews: "snapshots" }, { train: 8, heldOut: 0 }, preview).previews, 3 * 40);
  model("cpu").note(Number.NaN, { config: CONFIG, pictureSeconds: 40, preview });
  assert.equal(model("cpu").times(CONFIG, { train: 8, heldOut: 0 }, preview).training, 400);
});

test("storage that is off or holds rubbish is no reason to stop", () => {
  globalThis.localStorage = { getItem: () => "{", setItem: () => { throw new DOMException("full", "QuotaExceededError"); } };
  const pace = new Pace({ id: "m", backend: "cpu", report: { native: { width: 512, height: 512 } } });
  pace.note(4, { config: CONFIG, pictureSeconds: 0, preview: { steps: 1, guidance: 1 } });
  assert.equal(pace.times(CONFIG, { train: 1, heldOut: 0 }, { steps: 1, guidance: 1 }), null);
});

const trainer = (state, more = {}) => ({
  state, step: 3, steps: 10, record: { step: 2 }, log: logOf(3), pausing: false, ending: false, secondsLeft: 0, ...more,
});

test("the bar says where a run is, and each state has the buttons that mean something in it", () => {
  const before = { model: true, loading: false, pictures: 0, summary: "", estimate: { words: "", problem: "" } };
  assert.equal(barOf(trainer("none"), before).status, "Add pictures to begin");
  assert.equal(barOf(trainer("none"), { ...before, model: false, loading: true }).status, "Waiting for the model…");
  const wrong = (problem) => barOf(trainer("none"), { ...before, pictures: 2, estimate: { words: "Use less", problem } });
  assert.deepEqual([wrong("setting"), wrong("memory")].map(({ status, problem }) => [status, problem]), [
    ["A setting is not right", true],
    ["There is not enough memory for this run", true],
  ]);
  assert.equal(barOf(trainer("running"), before).status, "Training: step 3 of 10");
  assert.equal(barOf(trainer("running", { pausing: true }), before).announced, "Pausing");
  assert.equal(barOf(trainer("error"), before).detail, "Kept up to step 2.");
  assert.equal(barOf(trainer("finished"), before).status, "Stopped at step 3 of 10");
  assert.match(barOf(trainer("finished", { step: 10 }), before).status, /^Finished: 10 steps in 6 s$/);

  const may = { usable: true, startable: false };
  const buttons = (state, more) => buttonsOf(trainer(state, more), may);
  assert.deepEqual(buttonsOf(null, may), { start: "Start training", continues: false, startable: false, pause: false, stop: null, fresh: false, busy: false });
  assert.deepEqual(["running", "paused", "measuring", "preparing", "finished", "error"].map((state) => buttons(state).stop), ["Stop", "Stop", "Stop measuring", "Cancel", null, null]);
  assert.deepEqual(["running", "paused", "error", "finished"].map((state) => buttons(state).start), [null, "Continue", "Continue", "Continue"]);
  assert.equal(buttons("finished", { step: 10 }).start, null);
  assert.equal(buttons("running", { pausing: true }).pause, false);
  assert.equal(buttons("running", { ending: true }).stop, "Stop at once");
});

test("an estimate names only what is known", () => {
  const measuring = { samples: 30, first: 3 };
  const estimate = { modules: 16, parameters: 797_184, bytes: 1.25e9, checkpointed: true, measuring, learningRate: null };
  assert.equal(estimateWords(estimate, CONFIG, null), "797 k parameters in 16 layers · needs about 1.3 GB, blocks are run twice to save memory · keeps up to 48 MB on disk");
  const timed = estimateWords({ ...estimate, learningRate: 1e-4 }, CONFIG, { sample: 1, training: 200, previews: 40, leavingOut: 0 });
  assert.match(timed, /learning rate 1\.0e−4 · about 4 min, previews 40 s and measuring 10 s of it$/);
});

test("every field of the form leads somewhere, once", () => {
  const paths = [...BASIC, ...ADVANCED.flatMap(({ fields }) => fields)].map(({ path }) => path);
  assert.equal(new Set(paths).size, paths.length);
  const config = { a: { b: 1 }, c: 2 };
  setAt(config, "a.b", 5);
  setAt(config, "c", undefined);
  assert.deepEqual([config, valueAt(config, "a.b"), valueAt(config, "x.y")], [{ a: { b: 5 } }, 5, undefined]);
});

test("so many tries in a while, and one more when the first of them is long ago", () => {
  const tries = new Tries(2, 1000);
  assert.deepEqual([0, 10, 20, 999, 1000, 1005, 1011].map((now) => tries.take(now)), [true, true, false, false, true, false, true]);
});
