// Which embeddings a prompt uses, as A1111 finds them (textual_inversion.py, find_embedding_at_position): by the pieces that
// CLIP's tokenizer cuts words into, the longest name first.

const PIECE = /'(?:s|t|re|ve|m|ll|d)(?!\p{L})|\p{L}+|\p{N}|[^\s\p{L}\p{N}]/gu;
const pieces = (/** @type {string} */ text) => text.toLowerCase().match(PIECE) ?? [];

/** @param {string} prompt @param {string[]} names @returns {Set<string>} */
export function embeddingsIn(prompt, names) {
  const words = pieces(prompt);
  const sought = names.map((name) => ({ name, parts: pieces(name) })).filter(({ parts }) => parts.length > 0)
    .toSorted((a, b) => b.parts.length - a.parts.length);
  /** @type {Set<string>} */
  const found = new Set();
  for (let at = 0; at < words.length;) {
    const hit = sought.find(({ parts }) => parts.every((part, i) => words[at + i] === part));
    if (hit) found.add(hit.name);
    at += hit?.parts.length ?? 1;
  }
  return found;
}
