// The page as `cargo xtask bench --race` opens it: the address says what to measure, the program that
// opened it gets the result and tells how much memory the browser's processes take.

import { getCase } from "./cases.js";
import { adapterName, measure } from "./measure.js";

const ALIVE_MS = 10_000;

/** @param {URLSearchParams} query */
export async function raced(query) {
  // A tab that ran out of memory says nothing at all any more.
  setInterval(() => host("alive"), ALIVE_MS);
  try {
    const subject = await getCase(query.get("race"));
    const number = (name) => Number(query.get(name));
    const plan = { least: number("least"), most: number("most"), seconds: number("seconds") };
    const memory = query.has("memory");
    const lines = [["adapter", await adapterName() ?? "none"], ["isolated", crossOriginIsolated]];
    for (const key of ["title", "flops", "bytes", "weights"]) lines.push([key, subject[key]]);
    const entries = await measure(subject, query.get("sides").split(","), plan, {
      tell: (line) => host("say", `${subject.id}: ${line}`),
      graph: query.get("graph") ?? undefined,
      gpu: query.get("gpu") ?? undefined,
      ready: async () => { if (memory) lines.push(["memory-before", await host("memory-start")]); },
    });
    if (memory) lines.push(["memory-peak", await host("memory-peak")]);
    for (const { side, load, first, times, difference, counts, graph, refused, failed } of entries) {
      const facts = { load, first, times: times.join(" "), difference, ...counts, graph, refused, failed };
      for (const [key, value] of Object.entries(facts)) if (value !== undefined) lines.push([`${side.id} ${key}`, String(value)]);
    }
    await host("result", lines.map(([key, value]) => `${key}\t${String(value).replaceAll(/\s+/g, " ")}`).join("\n"));
  } catch (error) {
    await host("result", `failed\t${error.message}`);
  }
}

async function host(action, body = "") {
  const response = await fetch(new URL(`../../host/${action}`, import.meta.url), { method: "POST", body });
  return response.text();
}
