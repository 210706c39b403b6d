// Words put into a prompt at the cursor: once, parted by commas from what stands there, and never into a tag or a word.

const TAG = /<[^<>]*>/g;

/** @param {string} text @param {string} words */
export function has(text, words) {
  return text.toLowerCase().includes(words.trim().toLowerCase());
}

/**
 * @param {string} text
 * @param {string} words
 * @param {number} at   where the cursor is
 * @returns {?import("./prompt-weights.js").Edit} null: they are there
 */
export function inserted(text, words, at) {
  const put = words.trim();
  if (!put || has(text, put)) return null;
  const place = seam(text, at);
  const [before, after] = [text.slice(0, place), text.slice(place)];
  const left = /(^|[(,[{|]\s*|\n)$/.test(before) ? "" : /\s$/.test(before) && /[,(]\s*$/.test(before.trimEnd()) ? "" : ", ";
  const start = place - (left ? before.length - before.trimEnd().length : 0);
  const right = /^\s*($|[,)\]}|:\n])/.test(after) ? "" : ", ";
  const end = place + (right ? after.length - after.trimStart().length : 0);
  const space = /,$/.test(before) && !left ? " " : "";
  const all = `${left}${space}${put}${right}`;
  const cursor = start + left.length + space.length + put.length;
  return { start, end, text: all, selection: [cursor, cursor] };
}

/** The end of the word or the tag that the cursor is in. */
function seam(text, at) {
  for (const { index, 0: tag } of text.matchAll(TAG)) if (index < at && at < index + tag.length) return index + tag.length;
  let place = at;
  if (place === 0 || /[\s,([{|<]/.test(text[place - 1])) return place;
  while (place < text.length && /[^\s,()[\]{}|<>:]/.test(text[place])) place++;
  return place;
}
