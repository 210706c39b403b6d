// On the table of a run's states: every event in every state, against a chart of its own, and walks
// of random events, on which nothing may be trained that nobody wants, and every state has a way back to none.

import { EVENTS, NONE, isBusy, isPausing, loopOf, next } from "../../../web/train/machine.js";

export default async () => {
  const wrong = [];
  // what each event leads to; where it isn't named it means nothing
  const CHART = {
    none: { prepare: "preparing", opened: "paused", openedFinished: "finished" },
    preparing: { prepared: "running", left: "none" },
    running: { pause: "running", halted: "paused", end: "running", goToTheEnd: "running", finished: "finished", stopped: "paused", rewound: "running", failed: "error", left: "none" },
    paused: { go: "running", end: "paused", goToTheEnd: "running", finished: "finished", measure: "measuring", rewound: "running", failed: "error", left: "none" },
    measuring: { pause: "measuring", halted: "paused", measured: "paused", rewound: "running", failed: "error", left: "none" },
    finished: { go: "running", measure: "measuring", rewound: "running", failed: "error", left: "none" },
    error: { go: "running", end: "error", goToTheEnd: "running", finished: "finished", rewound: "running", failed: "error", left: "none" },
  };
  let looked = 0;
  for (const [at, ways] of Object.entries(CHART)) {
    for (const event of Object.keys(EVENTS)) {
      const state = { ...NONE, at, wanted: isBusy({ at }) && at !== "preparing", rest: "paused" };
      const after = next(state, event);
      looked += 1;
      if (ways[event] === undefined ? after !== state : after.at !== ways[event]) wrong.push(`${event} in ${at} leads to ${after.at}`);
    }
  }

  const pick = (list, n) => list[Math.abs(Math.imul(n, 2654435761) >> 8) % list.length];
  let state = NONE;
  for (let i = 1; i <= 20_000; i += 1) {
    const before = state;
    const event = pick(Object.keys(EVENTS), i);
    state = next(state, event);
    const told = `${event} in ${JSON.stringify(before)} leads to ${JSON.stringify(state)}`;
    if (state.wanted && !["running", "measuring"].includes(state.at)) wrong.push(`${told}: it is wanted and can't be`);
    if (loopOf(state) && isPausing(state)) wrong.push(`${told}: it goes on and rests`);
    if (event === "pause" && loopOf(state)) wrong.push(`${told}: it goes on although it is to rest`);
    if (!["paused", "finished"].includes(state.rest)) wrong.push(`${told}: it rests in no state`);
    if (state.at !== "none" && next(state, "left").at !== "none") wrong.push(`${told}: no way back`);
    if (state.at === "finished" && state.ending) wrong.push(`${told}: it is over and ends`);
    if (wrong.length > 20) break;
  }
  return { looked, wrong };
};
