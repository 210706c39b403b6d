// Loads sides and lets them run in turns. Everything here only measures; the tables are made elsewhere.

import { dropWeights, makeWeights, Runner, SIDES } from "./sides.js";

/** A first pass that takes longer (seconds) is enough of a warm-up, and one round has to do. */
const SLOW = 60;

/**
 * How long to go on: `most` rounds or `seconds`, whatever comes first, but `least` rounds.
 * @typedef {{least: number, most: number, seconds: number}} Plan
 *
 * @typedef {object} Hooks
 * @property {(line: string) => void} [tell]
 * @property {() => Promise<void>} [ready]   called when the weights are there and nothing else is
 * @property {AbortSignal} [signal]
 * @property {string} [graph]                that the other side shall take
 * @property {string} [gpu]                  a kind of weak.js
 *
 * @typedef {object} Measured
 * @property {import("./sides.js").Side} side
 * @property {number} [load]         seconds: engine and weights
 * @property {number} [first]        seconds of the first pass, which compiles shaders
 * @property {number[]} times        seconds of a pass, round by round
 * @property {number} [difference]   largest, from the first side's output, over the largest value
 * @property {string} [graph]        the other side's graph that ran
 * @property {string} [refused]      the graphs before it, with what was wrong
 * @property {{dispatches: number, submissions: number, uploads: number, binding: number}} [counts] binding: bytes of the largest
 * @property {string} [failed]       why there is nothing more
 */

/** Between turns: threads look for more work for a while before they sleep, on the next side's time. */
const REST_MS = 200;

/** Outputs agree up to this difference. */
const AGREE = 1e-3;

/**
 * @param {import("./cases.js").Case} subject
 * @param {string[]} ids of SIDES
 * @param {Plan} plan
 * @param {Hooks} hooks
 * @returns {Promise<Measured[]>}
 */
export async function measure(subject, ids, plan, { tell = () => {}, ready = async () => {}, signal, graph, gpu } = {}) {
  tell(`making weights (${Math.round(subject.weights / 1e6)} MB)`);
  const weights = await makeWeights(subject);
  await ready();
  /** @type {Measured[]} */
  const entries = ids.map((id) => ({ side: SIDES[id], times: [] }));
  const runners = new Map();
  let reference = null;

  const begin = async (entry, graph) => {
    runners.get(entry)?.end();
    const runner = new Runner(entry.side, gpu);
    runners.set(entry, runner);
    tell(`loading ${entry.side.title}${graph ? `, ${graph}` : ""}`);
    entry.load = await runner.load(subject, weights, graph);
    tell(`first pass of ${entry.side.title}`);
    const { seconds, output } = await runner.run();
    entry.first = seconds;
    reference ??= output;
    entry.difference = difference(output, reference);
  };

  try {
    for (const entry of entries) {
      await tried(entry, async () => {
        if (entry.side.who === "ours") await begin(entry);
        else await beginOther(entry, graph ? [graph] : ways(subject, entry.side), begin);
      });
    }
    const slow = entries.some(({ first }) => first > SLOW);
    const least = slow ? Math.min(plan.least, 1) : plan.least;
    for (const entry of slow || plan.most === 0 ? [] : entries.filter(({ failed }) => !failed)) {
      await tried(entry, async () => { entry.counts = (await runners.get(entry).count()).counts; });
    }
    const start = performance.now();
    const goes = () => !signal?.aborted && entries.some(({ failed }) => !failed);
    for (let round = 1; round <= plan.most && goes(); round++) {
      for (const entry of entries) {
        if (entry.failed) continue;
        await tried(entry, async () => {
          const runner = runners.get(entry);
          await new Promise((resolve) => setTimeout(resolve, REST_MS));
          const { seconds, output, counts } = await (entry.counts ? runner.run() : runner.count());
          entry.counts ??= counts;
          entry.times.push(seconds);
          entry.difference = Math.max(entry.difference, difference(output, reference));
        });
      }
      tell(`round ${round}: ${entries.map(({ times }) => `${(times.at(-1) ?? NaN).toFixed(3)} s`).join(", ")}`);
      if (round >= least && (performance.now() - start) / 1e3 >= plan.seconds) break;
    }
  } finally {
    for (const runner of runners.values()) runner.end();
    await dropWeights(weights);
  }
  return entries;
}

/** The graphs of the other side, the one to prefer first. */
/** @param {import("./cases.js").Case} subject @param {import("./sides.js").Side} side */
function ways({ graphs: [fused, composed] }, { backend }) {
  return backend === "webgpu" ? [fused, `${fused} without subgroups`, composed] : [fused, composed];
}

/** The other side runs the graph that suits it best, unless what comes out is wrong. */
async function beginOther(entry, graphs, begin) {
  const refused = [];
  for (const graph of graphs) {
    entry.graph = graph;
    const last = graph === graphs.at(-1);
    try {
      await begin(entry, graph);
    } catch (error) {
      if (last) throw error;
      entry.difference = error.message;
    }
    if (last || entry.difference <= AGREE) break;
    refused.push(`${graph}: ${entry.difference}`);
  }
  if (refused.length) entry.refused = refused.join(", ");
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

export const SOFTWARE = " (software)";

/** What the browser calls its GPU; null where there is none. */
export async function adapterName() {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return null;
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  const name = [vendor, architecture, device, description].filter(Boolean).join(" ") || "unnamed GPU";
  return isFallbackAdapter ? name + SOFTWARE : name;
}
