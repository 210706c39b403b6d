// Numbers to a table: one for the eye, the same as Markdown for the clipboard.

/** @param {number[]} values */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return low + (high - low) * (place - Math.floor(place));
}

/** Seconds, with three digits that mean something. */
export function time(seconds) {
  if (seconds >= 10) return `${seconds.toFixed(1)} s`;
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  return seconds >= 0.1 ? `${(seconds * 1e3).toFixed(0)} ms` : `${(seconds * 1e3).toFixed(1)} ms`;
}

export const HEAD = ["network", "engine", "one step", "middle half", "GFLOP/s", "dispatches", "load", "first step"];

/**
 * @param {import("./cases.js").Case} subject
 * @param {import("./measure.js").Measured} measured
 * @returns {string[]} a row's cells
 */
export function cells(subject, { side, load, first, times, counts, failed }) {
  const title = side.title.replace("Lorakeet, ", "");
  if (failed) return [subject.title, title, `failed: ${failed}`, "", "", "", "", ""];
  if (!times.length) return [subject.title, title, "stopped", "", "", "", "", ""];
  const middle = quantile(times, 0.5);
  return [
    subject.title,
    title,
    time(middle),
    `${time(quantile(times, 0.25))} to ${time(quantile(times, 0.75))}`,
    (subject.flops / middle / 1e9).toPrecision(3),
    side.backend === "webgpu" ? String(counts.dispatches) : "",
    time(load),
    time(first),
  ];
}

/** @param {string[][]} rows */
export function markdown(rows) {
  const line = (row) => `| ${row.join(" | ")} |`;
  return [line(HEAD), `|${HEAD.map((_, i) => (i < 2 ? "---|" : "--:|")).join("")}`, ...rows.map(line)].join("\n");
}
