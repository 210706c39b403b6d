// ComfyUI's weights of words, rewritten as A1111's: a number within brackets is the weight there, whatever stands
// around (comfy/sd1_clip.py); with A1111 it multiplies.

const HIDDEN = { open: "\u0001", close: "\u0002" };

/** @param {string} prompt @returns {[string, number][]} texts and their weights */
export function comfyWeights(prompt) {
  const hidden = prompt.replaceAll("\\)", HIDDEN.close).replaceAll("\\(", HIDDEN.open);
  return weigh(hidden, 1).map(([text, weight]) => [text.replaceAll(HIDDEN.close, ")").replaceAll(HIDDEN.open, "("), weight]);
}

/** @returns {[string, number][]} */
function weigh(text, weight) {
  return pieces(text).flatMap((piece) => {
    if (piece.length < 2 || !piece.startsWith("(") || !piece.endsWith(")")) return /** @type {[string, number][]} */ ([[piece, weight]]);
    const inside = piece.slice(1, -1);
    const colon = inside.lastIndexOf(":");
    const number = colon > 0 ? inside.slice(colon + 1).trim() : "";
    const isNumber = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(number);
    return isNumber ? weigh(inside.slice(0, colon), Number(number)) : weigh(inside, weight * 1.1);
  });
}

/** Cut at brackets that stand in no others. */
function pieces(text) {
  const found = [];
  let piece = "";
  let depth = 0;
  for (const sign of text) {
    if (sign === "(" && depth === 0) {
      if (piece) found.push(piece);
      piece = sign;
    } else if (sign === ")" && depth === 1) {
      found.push(piece + sign);
      piece = "";
    } else {
      piece += sign;
    }
    if (sign === "(") depth += 1;
    else if (sign === ")") depth -= 1;
  }
  if (piece) found.push(piece);
  return found;
}

/** The same weights for a reader of A1111's. Square brackets and lone backslashes are text here. @param {string} prompt */
export function absoluteWeights(prompt) {
  if (!/[()[\]\\]/.test(prompt)) return prompt;
  return comfyWeights(prompt).map(([text, weight]) => {
    const plain = text.replace(/[\\()[\]]/g, "\\$&");
    return weight === 1 ? plain : `(${plain}:${Number(weight.toFixed(4))})`;
  }).join("");
}
