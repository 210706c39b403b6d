// What the Train tab says: of a run, in words. Pure, so that each can be asked for each state.

import { about, counted, duration, millions, size } from "../format.js";
import { number } from "./log.js";
import { measuringSeconds, stateBytes } from "./time.js";

/**
 * @typedef {object} Bar
 * @property {string} status
 * @property {string} [announced]   what a screen reader is told instead; steps are too many to be told
 * @property {string} detail
 * @property {boolean} [problem]    the detail is what has to be mended first
 * @property {number} [progress]    absent: it comes by itself
 *
 * @typedef {object} Before         what there is before a run
 * @property {boolean} model
 * @property {boolean} loading
 * @property {number} pictures      to train on
 * @property {string} summary       of them
 * @property {{words: string, problem: string}} estimate   problem: the kind of error in the way; empty: none is
 */

/**
 * The line in the bar.
 * @param {import("./trainer.js").Trainer} trainer
 * @param {Before} [before] where there is no run
 * @param {string} [aside] what goes on beside the steps
 * @returns {?Bar} null: what is going on tells of itself
 */
export function barOf(trainer, before, aside = "") {
  const { state, step, steps, record, log } = trainer;
  const at = `step ${step} of ${steps}`;
  switch (state) {
    case "none":
      return barBefore(before);
    case "running":
      return {
        status: `${trainer.ending ? "Finishing at" : trainer.pausing ? "Pausing after" : "Training:"} ${at}`,
        announced: trainer.pausing ? "Pausing" : `Training: ${Math.floor(10 * step / steps) * 10} %`,
        detail: runningDetail(trainer, aside),
        progress: step / steps,
      };
    case "paused":
      return { status: `Paused at ${at}`, detail: aside || "Draw with it below, or on the Generate tab.", progress: step / steps };
    case "error":
      return { status: `Interrupted at ${at}`, detail: aside || `Kept up to step ${record?.step ?? 0}.`, progress: step / steps };
    case "measuring":
      return { status: "Leaving each picture out in turn", detail: aside || (trainer.pausing ? "Stopping…" : "") };
    case "finished": {
      const seconds = log.steps.reduce((sum, one) => sum + one.seconds, 0);
      return {
        status: step < steps ? `Stopped at ${at}` : `Finished: ${counted(steps, "step")} in ${duration(1000 * seconds, 0)}`,
        detail: aside || [memoryWords(record), "Choose a step on the timeline: use it, or export it."].filter(Boolean).join(" "),
        progress: 1,
      };
    }
    default:
      return null;
  }
}

/** @param {Before} before @returns {Bar} */
function barBefore({ model, loading, pictures, summary, estimate }) {
  const wrong = estimate.problem === "memory" ? "There is not enough memory for this run" : "A setting is not right";
  const ready = estimate.problem ? wrong : `Ready to train on ${summary}`;
  const status = !model ? (loading ? "Waiting for the model…" : "Load a model first") : pictures === 0 ? "Add pictures to begin" : ready;
  return { status, detail: pictures > 0 ? estimate.words : "", problem: Boolean(estimate.problem), progress: 0 };
}

function runningDetail({ log, secondsLeft }, aside) {
  const last = log.steps.at(-1);
  return [
    last?.smooth != null && `loss ${number(last.smooth)}`,
    aside,
    secondsLeft > 0 && !aside && `about ${about(secondsLeft)} left`,
  ].filter(Boolean).join(" · ");
}

/** What the run was told to take, and what it took. */
function memoryWords({ summary, peakBytes }) {
  if (!summary?.bytes) return "";
  return `Memory: ${size(summary.bytes)} predicted, ${peakBytes ? `${size(peakBytes)} at most` : "the peak is not told by this device"}.`;
}

/**
 * Which buttons the bar has.
 * @param {?import("./trainer.js").Trainer} trainer
 * @param {{usable: boolean, startable: boolean}} may usable: there is an engine with a model
 */
export function buttonsOf(trainer, { usable, startable }) {
  const { state = "none", step = 0, steps = 0, pausing, ending, busy = false } = trainer ?? {};
  const open = state === "none";
  const goesOn = state === "paused" || state === "error" || (state === "finished" && step < steps);
  const stops = { measuring: "Stop measuring", preparing: "Cancel", running: ending ? "Stop at once" : "Stop", paused: "Stop" };
  return {
    start: open ? "Start training" : goesOn ? "Continue" : null,
    continues: !open,
    startable: open ? startable : usable,
    pause: state === "running" && !pausing,
    stop: stops[state] ?? null,
    fresh: ["paused", "finished", "error"].includes(state),
    busy,
  };
}

/** What the Generate tab says while a run has the engine. */
export function noticeOf(state) {
  if (state === "preparing") return "A training run is being prepared. Pause it to draw as soon as that is done.";
  if (state === "measuring") return "A run's pictures are left out in turn. Pause that to draw; it goes on from where it was when you ask again.";
  return "A training run has the engine. Pause it to draw; it goes on from where it was.";
}

/** What goes on, for the tab's title. */
export function shareOf({ state, step, steps }) {
  return state === "running" ? `${Math.floor(100 * step / steps)} %` : "";
}

/**
 * What a run with these settings will be and take.
 * @param {import("../protocol.js").Estimate} estimate
 * @param {?import("./pace.js").Times} times null: none was timed yet
 */
export function estimateWords({ modules, parameters, bytes, checkpointed, measuring, learningRate }, config, times) {
  const { training, previews, leavingOut, sample } = times ?? {};
  const measured = training ? measuringSeconds(measuring, sample, training) : 0;
  const parts = [previews && `previews ${about(previews)}`, measured && `measuring ${about(measured)}`].filter(Boolean);
  return [
    `${millions(parameters)} parameters in ${counted(modules, "layer")}`,
    `needs about ${size(bytes)}${checkpointed ? ", blocks are run twice to save memory" : ""}`,
    `keeps up to ${size(stateBytes(config, parameters))} on disk`,
    learningRate && `learning rate ${number(learningRate)}`,
    training && `about ${about(training + previews + measured)}${parts.length ? `, ${parts.join(" and ")} of it` : ""}`,
    leavingOut && `then ${about(leavingOut)} to leave each picture out`,
  ].filter(Boolean).join(" · ");
}

/**
 * A sentence, where what the run will keep has no room.
 * @param {import("../protocol.js").Estimate} estimate
 * @param {import("../protocol.js").TrainConfig} config
 * @param {?{usage: number, quota: number}} room what the browser gives and what is taken of it; null: not told
 * @returns {string[]}
 */
export function roomNotes({ parameters }, config, room) {
  const free = room ? Math.max(0, room.quota - room.usage) : Infinity;
  const bytes = stateBytes(config, parameters);
  if (bytes <= free) return [];
  return [`Its snapshots take ${size(bytes)}, and this browser has room for ${size(free)}: delete old runs, or take snapshots less often.`];
}
