// On the worker's loop of a training run with an engine that only counts: a run is cut off at every
// message that keeps a state, and goes on from it with what was owed then. Every snapshot, preview and evaluation of
// the undisturbed run must come, at its step, and a state that goes on must have counted the evaluations before it.

import { trainActions } from "../../../web/worker-train.js";
import { Action } from "../../../web/protocol.js";

export default async () => {
  const STEPS = 8;
  const DUE = {
    2: { snapshot: true, evaluation: true },
    3: { preview: true },
    4: { evaluation: true, preview: true },
    6: { snapshot: true, preview: true, evaluation: true },
  };

  /** A state is its step and the steps of the evaluations so far. */
  const engine = () => {
    let now = { step: 0, evaluated: [] };
    const pack = () => new TextEncoder().encode(JSON.stringify(now));
    const unpack = (bytes) => { now = JSON.parse(new TextDecoder().decode(bytes)); };
    return {
      get now() { return now; },
      trainState: pack,
      trainRestore: (state) => { unpack(state); return now.step; },
      trainResume: (config, dataset, state) => { if (state) unpack(state); },
      trainPull: async () => {
        now.step += 1;
        const finished = now.step === STEPS;
        const { snapshot = false, preview = finished } = DUE[now.step] ?? {};
        return { step: now.step, finished, due: { snapshot, preview }, thumbnail: null, stopped: null };
      },
      trainDue: (finished) => ({ evaluation: finished || Boolean(DUE[now.step]?.evaluation) }),
      trainEvaluate() {},
      trainEvaluationPull: async () => {
        now.evaluated.push(now.step);
        return { kind: "evaluation", step: now.step, after: [...now.evaluated], best: true };
      },
      trainPicture() {},
      trainDrew() {},
    };
  };

  const actions = (fake, stop) => trainActions({
    engine: () => fake, drawn: async () => ({ width: 1, height: 1, rgba: new Uint8ClampedArray(4) }), own: (bytes) => bytes.slice(),
    gap: async () => {}, throttle: () => () => {}, isAborted: () => stop.now,
  });

  /** Plays a run from a kept state on, up to the `cut`-th state that is kept. */
  const play = async (from, cut) => {
    const fake = engine();
    const stop = { now: false };
    const seen = [];
    const kept = [];
    const run = actions(fake, stop);
    await run[Action.trainResume]({ config: {}, dataset: null, state: from?.bytes ?? null, owed: from?.owed ?? null });
    const report = (told) => {
      if (stop.now) return; // the tab is gone
      const { snapshot, preview, evaluation } = told;
      if (snapshot) seen.push(`snapshot ${snapshot.step}`);
      if (preview) seen.push(`preview ${preview.step}`);
      if (evaluation) seen.push(`evaluation ${evaluation.step} after ${evaluation.after}`);
      const state = told.snapshot ?? told.saved;
      if (state) kept.push({ step: state.step, bytes: state.bytes, owed: structuredClone(state.owed) });
      if (kept.length === cut) stop.now = true;
    };
    const step = from ? from.step : 0;
    await run[Action.trainRun]({ id: 1, preview: { seed: "0" }, pictureSeconds: 0, step, end: step >= STEPS }, report);
    return { seen, kept };
  };

  // a minute goes by at every look at the clock, so that every step is kept
  const clock = performance.now;
  let minutes = 0;
  performance.now = () => (minutes += 1) * 60_000;
  const whole = await play(null, Infinity);
  const wrong = [];
  let cuts = 0;
  for (let cut = 1; cut <= whole.kept.length; cut += 1) {
    const before = await play(null, cut);
    const after = await play(before.kept.at(-1), Infinity);
    cuts += 1;
    for (const word of whole.seen) if (!before.seen.includes(word) && !after.seen.includes(word)) wrong.push(`cut at ${before.seen.at(-1)}: ${word} never comes`);
    for (const word of after.seen) if (!whole.seen.includes(word)) wrong.push(`cut at ${before.seen.at(-1)}: ${word} comes besides`);
    if (new TextDecoder().decode(after.kept.at(-1).bytes) !== new TextDecoder().decode(whole.kept.at(-1).bytes)) wrong.push(`cut at ${before.seen.at(-1)}: it ends otherwise`);
  }
  performance.now = clock;
  return { cuts, wrong, seen: whole.seen };
};
