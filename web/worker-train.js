// The worker's actions on a training run. The engine does one thing a pull; the loops here decide what
// comes next and look after every pull whether the page wants them to stop.

import { Action, abortError } from "./protocol.js";

/** The run's state goes to the page at least this often: more than that is not lost with the tab. */
const SAVE_MS = 10_000;

export function trainActions({ engine, drawn, own, gap, throttle, isAborted }) {
  /** What the present step asked for and a pause left undone. */
  let owed = {};
  let at = 0;

  const pixels = (picture) => picture && { ...picture, rgba: own(picture.rgba) };

  /**
   * @returns {Promise<?import("./protocol.js").Evaluation & {start?: import("./protocol.js").Evaluation}>}
   *   null when the run is to pause: it begins anew then
   */
  async function evaluate(id, report) {
    const tick = throttle(report);
    engine().trainEvaluate();
    for (;;) {
      const event = await engine().trainEvaluationPull();
      if (event.kind === "evaluation") {
        const { kind, ...evaluation } = event;
        return evaluation;
      }
      tick({ evaluating: event.fraction });
      await gap();
      if (isAborted(id)) return null;
    }
  }

  /** What is still to be done at this step, for whoever goes on from its state. */
  function unpaid({ snapshot = false, evaluation = false, preview = false, unmeasured = null, kept = false } = owed) {
    return snapshot || evaluation || preview || unmeasured ? { snapshot, evaluation, preview, unmeasured, kept } : null;
  }

  /** A state of before the evaluation owes it: the state counts the evaluations that went before. */
  function send(report, kind) {
    const bytes = own(engine().trainState());
    const rest = kind === "snapshot" ? { ...owed, snapshot: false, kept: true } : owed;
    report({ [kind]: { step: at, bytes, owed: unpaid(rest) } }, [bytes.buffer]);
  }

  async function drawPreview(id, settings, report) {
    const tick = throttle(report);
    const started = performance.now();
    engine().trainPicture(null, 1, settings);
    const { width, height, rgba } = await drawn(id, ({ fraction }) => tick({ drawing: fraction }));
    engine().trainDrew((performance.now() - started) / 1000, true);
    report({ preview: { step: at, settings, width, height, rgba } }, [rgba.buffer]);
  }

  /** Does what is due at this step. @returns {Promise<boolean>} whether all of it was done */
  async function payOwed(id, preview, report) {
    if (owed.snapshot) {
      send(report, "snapshot");
      owed.snapshot = false;
      owed.kept = true;
    }
    if (owed.preview && preview) {
      try {
        await drawPreview(id, preview, report);
      } catch (error) {
        if (error.name === "AbortError") return false;
        throw error;
      }
    }
    owed.preview = false;
    if (owed.unmeasured) {
      report({ unmeasured: owed.unmeasured });
      owed.unmeasured = null;
    }
    if (owed.evaluation) {
      const evaluation = await evaluate(id, report);
      if (!evaluation) return false;
      owed.evaluation = false;
      const { start, ...found } = evaluation;
      if (start) report({ evaluation: start });
      report({ evaluation: found });
      if (evaluation.best && !owed.kept) send(report, "snapshot");
    }
    return true;
  }

  /** Each picture left out in turn. @returns {Promise<?import("./protocol.js").LeaveOneOut>} null when it was stopped: it goes on there */
  async function leaveOneOut(id, report) {
    const tick = throttle(report);
    engine().trainLeaveOneOut();
    for (;;) {
      if (isAborted(id)) return null;
      const { kind, ...event } = await engine().trainLeaveOneOutPull();
      if (kind === "leaveOneOut") return event;
      tick(event);
      await gap();
    }
  }

  return {
    [Action.trainPreset]: ({ name }) => engine().trainPreset(name),
    [Action.trainInspect]: ({ pictures }) => engine().trainInspect(pictures),
    [Action.trainEstimate]: ({ config, counts }) => engine().trainEstimate(config, counts),

    async [Action.trainPrepare]({ id, config, pictures }, report) {
      const tick = throttle(report);
      engine().trainBegin(config, pictures);
      for (;;) {
        const event = await engine().trainPrepare();
        if (event.kind === "ready") {
          report({ done: 1, total: 1, what: "a step or two, to see how long one takes" });
          const measured = await engine().trainMeasure();
          owed = { snapshot: true };
          return { summary: event.summary, measured, dataset: own(engine().trainDataset()) };
        }
        const { done, total, what } = event;
        tick({ done, total, what });
        await gap();
        if (isAborted(id)) throw abortError();
      }
    },

    [Action.trainResume]({ config, dataset, state, owed: left }) {
      owed = state ? { ...left } : { snapshot: true };
      return engine().trainResume(config, dataset, state ?? null);
    },

    async [Action.trainRun]({ id, preview, pictureSeconds, step: from, end }, report) {
      at = from;
      if (pictureSeconds > 0) engine().trainDrew(pictureSeconds, false);
      if (!end) owed.finished = false; // one that was stopped goes on after all
      if (end && !owed.finished) owed = { finished: true, snapshot: true, preview: true, ...engine().trainDue(true) };
      let saved = performance.now();
      for (;;) {
        if (isAborted(id) || !await payOwed(id, preview, report)) return { outcome: "paused", step: at };
        if (owed.finished) return { outcome: "finished", step: at };
        const { due, thumbnail, ...step } = await engine().trainPull();
        const picture = pixels(thumbnail ?? null);
        report({ step: { ...step, thumbnail: picture } }, picture ? [picture.rgba.buffer] : []);
        if (step.stopped) return { outcome: "stopped", reason: step.stopped, step: step.step };
        at = step.step;
        const { finished } = step;
        owed = { finished, snapshot: due.snapshot || finished, preview: due.preview, ...engine().trainDue(finished) };
        const old = performance.now() - saved > SAVE_MS;
        if (old && !owed.snapshot) send(report, "saved");
        if (old || owed.snapshot) saved = performance.now();
        await gap();
      }
    },

    async [Action.trainLeaveOneOut]({ id }, report) {
      return { found: await leaveOneOut(id, report) };
    },

    [Action.trainState]: () => ({ bytes: own(engine().trainState()), owed: unpaid() }),

    [Action.trainRestore]({ state, owed: left }) {
      owed = { ...left };
      return engine().trainRestore(state);
    },

    async [Action.trainPicture]({ id, state, strength, settings }, report) {
      const started = performance.now();
      engine().trainPicture(state, strength, settings);
      const picture = await drawn(id, throttle(report));
      engine().trainDrew((performance.now() - started) / 1000, false);
      return picture;
    },

    [Action.trainExport]({ state, format, half, title, thumbnail }) {
      const { files } = engine().trainExport({ state, format, half, title, thumbnail });
      return { files: files.map(({ name, bytes }) => ({ name, bytes: own(bytes) })) };
    },

    [Action.trainEnd]: () => engine().trainEnd(),
  };
}
