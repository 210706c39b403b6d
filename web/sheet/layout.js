// Where everything stands on a sheet: labels, gauges, pictures, and the line below that says what they have in common. Pure.

import { wordsOf } from "../spread.js";

const LINES = 3;

/**
 * @typedef {(text: string, font: number) => number} Measure   how wide a text is
 * @typedef {{x: number, y: number, lines: string[], gauge?: number}} Label   the middle of its first line; of rows the right end
 *
 * @typedef {{title: string, values: {label: string, gauge?: number}[]}} Titled   an axis
 *
 * @typedef {object} Layout
 * @property {number} width
 * @property {number} height
 * @property {number} font        pixels
 * @property {number} line        height of one
 * @property {{x: number, y: number, text: string}[]} titles
 * @property {{x: number, y: number, lines: string[]}[]} headings   of blocks
 * @property {Label[]} columns
 * @property {Label[]} rows
 * @property {{x: number, y: number}[]} cells      row by row, block by block
 * @property {{x: number, y: number, lines: string[], font: number}} foot
 */

/**
 * At most so many lines, none wider than that.
 * @param {string} text @param {number} width @param {number} font @param {Measure} measure
 */
export function wrapped(text, width, font, measure, most = LINES) {
  const fits = (words) => measure(words, font) <= width;
  const lines = [];
  let line = "";
  for (const word of text.split(/\s+/).filter(Boolean)) {
    if (line && !fits(`${line} ${word}`)) {
      lines.push(line);
      line = "";
    }
    line = line ? `${line} ${word}` : word;
    // a word that is wider than a line goes on in the next
    while (!fits(line) && line.length > 1) {
      let length = line.length - 1;
      while (length > 1 && !fits(line.slice(0, length))) length -= 1;
      lines.push(line.slice(0, length));
      line = line.slice(length);
    }
  }
  if (line) lines.push(line);
  if (lines.length <= most) return lines;
  let last = lines[most - 1];
  while (last.length > 0 && !fits(`${last}…`)) last = last.slice(0, -1);
  return [...lines.slice(0, most - 1), `${last}…`];
}

const ALONE = { title: "", values: [{ label: "" }] };

/**
 * @param {{x: Titled, y: Titled, z?: Titled}} plan   each value of z has a block with all of x and y, below the one before
 * @param {{width: number, height: number}} cell
 * @param {string} foot
 * @param {Measure} measure
 * @returns {Layout}
 */
export function layoutOf({ x, y, z = ALONE }, cell, foot, measure) {
  const font = Math.min(40, Math.max(12, Math.round((cell.width + cell.height) / 25)));
  const line = Math.round(1.3 * font);
  const gap = Math.max(4, Math.round(font / 3));
  const edge = 2 * gap;
  const across = x.values.map(({ label }) => wrapped(label, cell.width, font, measure));
  const down = y.values.map(({ label }) => wrapped(label, 0.75 * cell.width, font, measure));
  const widest = Math.max(0, ...down.flat().map((words) => measure(words, font)));
  const hasGauge = ({ values }) => values.some(({ gauge }) => gauge !== undefined);
  const left = edge + (y.title ? Math.max(Math.ceil(widest), hasGauge(y) ? 3 * font : 0) + edge : 0);
  const titles = [x.title && `${x.title} →`, y.title && `${y.title} ↓`].filter(Boolean).join("    ");
  const tall = Math.max(...across.map((lines) => lines.length)) * line + (hasGauge(x) ? line / 2 : 0);
  const width = Math.max(left + x.values.length * (cell.width + gap) - gap + edge, Math.ceil(measure(titles, font)) + 2 * edge);
  const headings = z.title ? z.values.map(({ label }) => wrapped(`${z.title} ${label}`, width - 2 * edge, font, measure)) : [];
  const headed = Math.max(0, ...headings.map((lines) => lines.length)) * line;
  // of a block: its heading, what stands above its pictures, and they
  const above = headed + (x.title ? tall : 0) + gap;
  const block = Math.ceil(above + y.values.length * (cell.height + gap) + (z.title ? gap : 0));
  const first = edge + line;
  const blockTop = (at) => first + at * block;
  const rowTop = (row, at) => Math.ceil(blockTop(at) + above) + row * (cell.height + gap);
  const place = (column, row, at) => ({ x: left + column * (cell.width + gap), y: rowTop(row, at) });
  const each = (make) => z.values.flatMap((_, at) => make(at));
  const small = Math.max(11, Math.round(0.72 * font));
  const footLines = wrapped(foot, width - 2 * edge, small, measure, 4);
  const footTop = blockTop(z.values.length) + gap;
  const middle = (row, at) => place(0, row, at).y + cell.height / 2 - (down[row].length - 1) * line / 2;
  return {
    width,
    height: Math.ceil(footTop + footLines.length * 1.3 * small + edge - gap),
    font,
    line,
    titles: [{ x: edge, y: edge + line / 2, text: titles }],
    headings: headings.map((lines, at) => ({ x: edge, y: blockTop(at) + line / 2, lines })),
    columns: each((at) => (x.title ? x.values : []).map(({ gauge }, i) => (
      { x: place(i, 0, at).x + cell.width / 2, y: blockTop(at) + headed + line / 2, lines: across[i], gauge }
    ))),
    rows: each((at) => (y.title ? y.values : []).map(({ gauge }, i) => ({ x: left - edge, y: middle(i, at), lines: down[i], gauge }))),
    cells: each((at) => y.values.flatMap((_, row) => x.values.map((__, column) => place(column, row, at)))),
    foot: { x: edge, y: footTop + 0.65 * small, lines: footLines, font: small },
  };
}

/**
 * What all pictures have in common, in a line: what the axes change is not said.
 * @param {import("./plan.js").Plan} plan
 * @param {string[]} changed ids of the axes
 * @param {(id: string) => string} nameOf   of a scheduler or a schedule
 */
export function footOf({ job }, changed, nameOf) {
  const { prompt, negativePrompt, steps, guidance, scheduler, schedule, seed, width, height, clipSkip, hires } = job.settings;
  const isFixed = (id) => !changed.some((one) => one === id || one.startsWith(`${id} `));
  const adapters = job.adapters.map(({ name, unet, textEncoder, spread }) => `${name} ${unet || textEncoder}${spread ? ` (${wordsOf(spread)})` : ""}`).join(", ");
  return [
    prompt || "no prompt",
    negativePrompt && `not: ${negativePrompt}`,
    isFixed("strength") && isFixed("adapter") && adapters,
    isFixed("steps") && `${steps} steps`,
    isFixed("guidance") && `guidance ${guidance}`,
    isFixed("scheduler") && nameOf(scheduler),
    isFixed("schedule") && schedule && nameOf(schedule),
    isFixed("seed") && `seed ${seed}`,
    clipSkip > 1 && isFixed("clipSkip") && `clip skip ${clipSkip}`,
    `${width}×${height}`,
    hires && hiresText(hires, isFixed),
  ].filter(Boolean).join(" · ");
}

/** @param {import("../protocol.js").Hires} hires @param {(id: string) => boolean} isFixed */
function hiresText({ scale, strength, steps }, isFixed) {
  return [
    `upscaled ${scale}×`,
    isFixed("hires.strength") && `at strength ${strength}`,
    steps > 0 && isFixed("hires.steps") && `in ${steps} steps`,
  ].filter(Boolean).join(" ");
}
