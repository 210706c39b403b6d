// A1111's text about a picture: prompt, negative prompt, and a last line of settings. Read and written as its
// modules/infotext_utils.py and processing.py do.

const NEGATIVE = "Negative prompt:";
/** A setting: a key of two signs at least, and a value in quotes or up to the next comma. */
const SETTING = /\s*([\p{L}\p{N}_][\p{L}\p{N}_ \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)/gu;
/** So many make the last line one of settings. */
const FEWEST = 3;
/** Sites write these as JSON without quotes, which has commas of its own. */
const UNQUOTED = /(?:^|, )(Hashes|Civitai resources|Civitai metadata): (?=[{[])/g;

/**
 * @typedef {object} Infotext
 * @property {string} prompt
 * @property {string} negativePrompt
 * @property {Map<string, string>} settings   a size is under its key with -1 and -2
 * @property {Record<string, any>} resources  what sites write as JSON: Hashes, Civitai resources
 */

/** @param {string} text @returns {Infotext} */
export function readInfotext(text) {
  const lines = text.trim().split("\n");
  const { line, resources } = withoutJson(lines.at(-1) ?? "");
  let found = [...line.matchAll(SETTING)];
  if (found.length < FEWEST) found = [];
  else lines.pop();
  const settings = new Map();
  for (const [, key, value] of found) {
    if (value === "") continue;
    const size = /^(\d+)x(\d+)$/.exec(unquoted(value));
    if (size) settings.set(`${key}-1`, size[1]).set(`${key}-2`, size[2]);
    else settings.set(key, unquoted(value));
  }
  return { ...prompts(lines), settings, resources: found.length > 0 ? resources : {} };
}

function prompts(lines) {
  const parts = ["", ""];
  let at = 0;
  for (let line of lines) {
    line = line.trim();
    if (line.startsWith(NEGATIVE)) {
      at = 1;
      line = line.slice(NEGATIVE.length).trim();
    }
    parts[at] += (parts[at] ? "\n" : "") + line;
  }
  return { prompt: parts[0], negativePrompt: parts[1] };
}

/** Takes the values out that are JSON and have no quotes around them. */
function withoutJson(line) {
  /** @type {Record<string, any>} */
  const resources = {};
  for (const { index, 0: { length }, 1: key } of [...line.matchAll(UNQUOTED)].reverse()) {
    const end = endOfJson(line, index + length);
    try {
      resources[key] = JSON.parse(line.slice(index + length, end));
    } catch {
      continue; // as A1111 reads it, then
    }
    line = line.slice(0, index) + line.slice(end);
  }
  return { line, resources };
}

/** Where the value that begins here has closed all its brackets. */
function endOfJson(text, start) {
  let depth = 0;
  let quoted = false;
  for (let at = start; at < text.length; at += 1) {
    const sign = text[at];
    if (quoted && sign === "\\") at += 1;
    else if (sign === '"') quoted = !quoted;
    else if (!quoted && "{[".includes(sign)) depth += 1;
    else if (!quoted && "}]".includes(sign)) depth -= 1;
    if (depth === 0) return at + 1;
  }
  return text.length;
}

/** @param {string} value as it stands */
export function unquoted(value) {
  if (value.length < 2 || !value.startsWith('"') || !value.endsWith('"')) return value;
  try {
    return String(JSON.parse(value));
  } catch {
    return value;
  }
}

/** A value that would be read as something else has quotes. @param {string|number} value */
export function quoted(value) {
  const text = String(value);
  return /[,:\n]/.test(text) || /^".*"$/s.test(text) ? JSON.stringify(text) : text;
}

/**
 * @param {string} prompt @param {string} negativePrompt
 * @param {[string, string|number|null|undefined][]} settings   null: left out
 */
export function writeInfotext(prompt, negativePrompt, settings) {
  const known = settings.filter(([, value]) => value !== null && value !== undefined);
  const line = known.map(([key, value]) => (key === value ? key : `${key}: ${quoted(value)}`)).join(", ");
  return [prompt, negativePrompt && `${NEGATIVE} ${negativePrompt}`, line].filter((part, i) => i === 0 || part).join("\n").trim();
}
