// Loads sides and lets them run in turns. Everything here only measures; the tables are made elsewhere.

import { makeWeights, Runner, SIDES } from "./sides.js";

/**
 * How long to go on: `most` rounds or `seconds`, whatever comes first, but `least` rounds.
 * @typedef {{least: number, most: number, seconds: number}} Plan
 *
 * @typedef {object} Measured
 * @property {import("./sides.js").Side} side
 * @property {number} [load]         seconds: engine and weights
 * @property {number} [first]        seconds of the first pass, which compiles shaders
 * @property {number[]} times        seconds of a pass, round by round
 * @property {number} [difference]   largest, from the first side's output, over the largest value
 * @property {{dispatches: number, submissions: number, uploads: number}} [counts]
 * @property {string} [failed]       why there is nothing more
 */

/**
 * @param {import("./cases.js").Case} subject
 * @param {string[]} ids of SIDES
 * @param {Plan} plan
 * @param {{tell?: (line: string) => void, ready?: () => Promise<void>, signal?: AbortSignal}} [hooks] `ready`
 *   is called when the weights are there and nothing else is
 * @returns {Promise<Measured[]>}
 */
export async function measure(subject, ids, plan, { tell = () => {}, ready = async () => {}, signal } = {}) {
  tell(`making weights (${Math.round(subject.weights / 1e6)} MB)`);
  const weights = await makeWeights(subject);
  await ready();
  const entries = ids.map((id) => ({ side: SIDES[id], times: [] }));
  const runners = new Map();
  let reference = null;
  try {
    for (const entry of entries) {
      await tried(entry, async () => {
        tell(`loading ${entry.side.title}`);
        const runner = new Runner(entry.side);
        runners.set(entry, runner);
        entry.load = await runner.load(subject, weights);
        tell(`first pass of ${entry.side.title}`);
        const { seconds, output } = await runner.run();
        entry.first = seconds;
        reference ??= output;
        entry.difference = difference(output, reference);
        entry.counts = await runner.count();
      });
    }
    // Each has run twice by now: warm.
    const start = performance.now();
    for (let round = 1; round <= plan.most && !signal?.aborted; round++) {
      for (const entry of entries) {
        if (entry.failed) continue;
        await tried(entry, async () => {
          const { seconds, output } = await runners.get(entry).run();
          entry.times.push(seconds);
          entry.difference = Math.max(entry.difference, difference(output, reference));
        });
      }
      tell(`round ${round}: ${entries.map(({ times }) => `${(times.at(-1) ?? NaN).toFixed(3)} s`).join(", ")}`);
      if (round >= plan.least && (performance.now() - start) / 1e3 >= plan.seconds) break;
    }
  } finally {
    for (const runner of runners.values()) runner.end();
  }
  return entries;
}

async function tried(entry, work) {
  try {
    await work();
  } catch (error) {
    entry.failed = error.message;
  }
}

function difference(output, reference) {
  if (output.length !== reference.length) return Infinity;
  let [largest, most] = [0, 0];
  for (let i = 0; i < output.length; i++) {
    const off = Math.abs(output[i] - reference[i]);
    // NaN is larger than anything, which no comparison says.
    if (!(off <= most)) most = Number.isNaN(off) ? Infinity : off;
    largest = Math.max(largest, Math.abs(reference[i]));
  }
  return most / largest;
}

/** What the browser calls its GPU; null where there is none. */
export async function adapterName() {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return null;
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  const name = [vendor, architecture, device, description].filter(Boolean).join(" ") || "unnamed GPU";
  return isFallbackAdapter ? `${name} (software)` : name;
}
