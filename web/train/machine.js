// The states of a run, and what leads from one to another. Pure: what is done about it is trainer.js' matter.

/**
 * @typedef {"none"|"preparing"|"running"|"paused"|"measuring"|"finished"|"error"} At measuring: each picture is left out in turn
 *
 * @typedef {object} State
 * @property {At} at
 * @property {boolean} wanted            it is to be training, or measuring, whenever nothing else needs the engine
 * @property {boolean} ending            it is to end at the step in hand
 * @property {"paused"|"finished"} rest  where measuring goes back to
 *
 * @typedef {{from: At[], to: (state: State) => Partial<State>}} Way
 */

/** No run in hand. @type {State} */
export const NONE = Object.freeze({ at: "none", wanted: false, ending: false, rest: "finished" });

/** By event: in which states it means something, and what becomes of the state there. */
export const EVENTS = Object.freeze(/** @satisfies {Record<string, Way>} */ ({
  prepare: { from: ["none"], to: () => ({ at: "preparing" }) },
  prepared: { from: ["preparing"], to: () => ({ at: "running", wanted: true }) },
  opened: { from: ["none"], to: () => ({ at: "paused" }) },
  openedFinished: { from: ["none"], to: () => ({ at: "finished" }) },
  go: { from: ["paused", "error", "finished"], to: ({ at, ending }) => ({ at: "running", wanted: true, ending: ending && at !== "finished" }) },
  /** Somebody wants it to rest; it does when the step in hand is done. */
  pause: { from: ["running", "measuring"], to: () => ({ wanted: false }) },
  halted: { from: ["running", "measuring"], to: ({ at, rest }) => ({ at: at === "measuring" ? rest : "paused", wanted: false }) },
  /** Somebody wants it to end. */
  end: { from: ["running", "paused", "error"], to: () => ({ ending: true }) },
  goToTheEnd: { from: ["running", "paused", "error"], to: () => ({ at: "running", wanted: true, ending: true }) },
  finished: { from: ["running", "paused", "error"], to: () => ({ at: "finished", wanted: false, ending: false }) },
  measure: { from: ["paused", "finished"], to: ({ at }) => ({ at: "measuring", wanted: true, rest: /** @type {State["rest"]} */ (at) }) },
  measured: { from: ["measuring"], to: ({ rest }) => ({ at: rest, wanted: false }) },
  /** What it computes is no number any more. */
  stopped: { from: ["running"], to: () => ({ at: "paused", wanted: false, ending: false }) },
  rewound: { from: ["running", "paused", "finished", "measuring", "error"], to: () => ({ at: "running", wanted: true, ending: false }) },
  failed: { from: ["running", "measuring", "paused", "finished", "error"], to: () => ({ at: "error", wanted: false }) },
  left: { from: ["preparing", "running", "paused", "measuring", "finished", "error"], to: () => NONE },
}));

/** @param {State} state @param {keyof typeof EVENTS} event @returns {State} the same one where the event means nothing */
export function next(state, event) {
  const { from, to } = /** @type {Way} */ (EVENTS[event]);
  return from.includes(state.at) ? Object.freeze({ ...state, ...to(state) }) : state;
}

/** Whether the engine has no time for anything else. @param {State} state */
export function isBusy({ at }) {
  return at === "preparing" || at === "running" || at === "measuring";
}

/** What is to be going on when nothing else needs the engine. @param {State} state @returns {?("train"|"measure")} */
export function loopOf({ at, wanted }) {
  if (!wanted) return null;
  return at === "running" ? "train" : at === "measuring" ? "measure" : null;
}

/** Whether it rests after the step in hand. @param {State} state */
export function isPausing({ at, wanted }) {
  return (at === "running" || at === "measuring") && !wanted;
}
