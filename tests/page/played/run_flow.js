// On a run from its start to its end: the real trainer, store and worker's loop, on a disk in memory
// and with an engine that only counts. Each way through the states that a person can take.

import { Trainer } from "../../../web/train/trainer.js";
import { Runs } from "../../../web/runs.js";
import { trainActions } from "../../../web/worker-train.js";
import { Action } from "../../../web/protocol.js";
import { memory, locks } from "./run_disk.js";

export default async () => {
  const STEPS = 30;
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  const files = new Map();
  const disk = memory(files);
  const held = new Set();

  // ---- an engine that counts -----------------------------------------------------------------------

  let now = { step: 0 };
  let broken = false;
  let [prepared, pulled] = [0, 0];
  const unpack = (bytes) => { now = bytes ? JSON.parse(new TextDecoder().decode(bytes)) : { step: 0 }; };
  const counting = {
    trainBegin() { prepared = 0; now = { step: 0 }; },
    trainPrepare: async () => { await wait(5); prepared += 1; return prepared < 5 ? { done: prepared, total: 5, what: "latents" } : { kind: "ready", summary: {} }; },
    trainMeasure: async () => ({ secondsPerStep: 0.01, peakBytes: 1 }),
    trainDataset: () => new Uint8Array(8),
    trainState: () => new TextEncoder().encode(JSON.stringify(now)),
    trainRestore: (state) => { unpack(state); return now.step; },
    trainResume: (config, dataset, state) => unpack(state),
    trainPull: async () => {
      await wait(1);
      if (broken) throw new Error("the engine is gone");
      now.step += 1;
      const { step } = now;
      const due = { snapshot: step % 5 === 0, preview: false };
      return { step, loss: 1, seconds: 0.001, finished: step >= STEPS, due, thumbnail: null, stopped: null };
    },
    trainDue: (finished) => ({ evaluation: finished }),
    trainEvaluate() {},
    trainEvaluationPull: async () => ({ kind: "evaluation", step: now.step, best: true }),
    trainLeaveOneOut() {},
    trainLeaveOneOutPull: async () => {
      await wait(1);
      pulled += 1;
      return pulled % 20 ? { kind: "progress", picture: "a", done: 0, pictures: 2, fraction: 0.5 } : { kind: "leaveOneOut", pictures: [] };
    },
    trainEnd() {},
    trainDrew() {},
  };
  const aborted = new Set();
  const actions = trainActions({
    engine: () => counting, drawn: async () => ({}), own: (bytes) => bytes.slice(), gap: () => wait(0),
    throttle: () => () => {}, isAborted: (id) => aborted.has(id),
  });
  let last = 0;
  const call = async (action, order, { signal, onProgress } = {}) => {
    const id = last += 1;
    if (signal?.aborted) aborted.add(id);
    signal?.addEventListener("abort", () => aborted.add(id));
    return structuredClone(await actions[action]({ ...structuredClone(order), id }, (told) => onProgress?.(structuredClone(told))));
  };
  const engine = {
    trainPrepare: (config, pictures, options) => call(Action.trainPrepare, { config, pictures }, options),
    trainResume: (config, dataset, state, owed) => call(Action.trainResume, { config, dataset, state, owed }),
    trainRun: (order, options) => call(Action.trainRun, order, options),
    trainLeaveOneOut: async (options) => (await call(Action.trainLeaveOneOut, {}, options)).found,
    trainState: () => call(Action.trainState, {}),
    trainRestore: (state, owed) => call(Action.trainRestore, { state, owed }),
    trainEnd: () => call(Action.trainEnd, {}),
  };

  // ---- what a person does --------------------------------------------------------------------------

  const wrong = [];
  const expect = (is, what) => { if (!is) wrong.push(`${what}: ${trainer.state} at step ${trainer.step}`); };
  const runs = new Runs(disk, null, { locks: locks(held) });
  const trainer = new Trainer(engine, runs);
  const troubles = [];
  for (const type of ["trouble", "lost", "stopped", "unmeasured"]) trainer.addEventListener(type, () => troubles.push(type));
  const until = async (is, what) => {
    for (let i = 0; i < 3000 && !is(); i += 1) await wait(2);
    expect(is(), `it never came to ${what}`);
  };
  const state = (name) => until(() => trainer.state === name, name);
  const step = (number) => until(() => trainer.step >= number, `step ${number}`);
  const order = { config: { steps: STEPS, previews: "off", previewEvery: 0, holdOut: 0 }, title: "run", model: { key: "m", title: "m" }, preview: null };
  const set = { decoded: async () => [], items: ["a", "b"].map((name) => ({ name, caption: "", role: "train", file: new Blob([name]) })) };
  const marks = () => trainer.record.snapshots.map((mark) => mark.step).join();

  await trainer.start(set, order);
  await step(7);
  await trainer.pause();
  expect(trainer.state === "paused" && trainer.run.keptStep === trainer.step, "a pause is kept");
  await trainer.go();
  await step(12);
  await trainer.interlude(() => {});
  await step(13);
  await trainer.rewind(5);
  await state("finished");
  expect(trainer.step === STEPS && trainer.log.steps.length === STEPS && marks() === "0,5,10,15,20,25,30", `rewound it ends whole (${marks()})`);

  await trainer.leaveOneOut();
  await wait(5);
  await trainer.pause();
  expect(trainer.state === "finished" && !trainer.record.leaveOneOut, "leaving out is paused");
  await trainer.leaveOneOut();
  await until(() => trainer.record.leaveOneOut, "what was left out");
  await state("finished");

  const { id } = trainer.record;
  await trainer.suspend();
  expect(trainer.state === "none" && held.size === 0, "put away, nobody holds it");
  await trainer.open(id);
  expect(trainer.state === "finished" && trainer.log.steps.length === STEPS, "opened as it was");
  await trainer.rewind(10);
  await step(12);
  broken = true;
  await state("error");
  broken = false;
  expect(trainer.run.keptStep >= 10, "what is kept when the engine fails");
  await trainer.go();
  await state("finished");

  await trainer.rewind(0);
  await step(3);
  await trainer.stop();
  await state("finished");
  expect(trainer.step < STEPS, "stopped early");
  await trainer.go();
  await until(() => trainer.state === "finished" && trainer.step === STEPS, "the end after all");
  await trainer.suspend();

  const starting = trainer.start(set, order);
  await state("preparing");
  trainer.stop();
  await starting;
  expect(trainer.state === "none" && (await runs.list()).length === 1 && held.size === 0, "cancelled, there is no second run");
  expect(troubles.length === 0, `told of ${troubles}`);
  return { wrong };
};
