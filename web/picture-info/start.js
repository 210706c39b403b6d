// What a picture started from, in A1111's keys and in ours. The pictures themselves are in no text: ours has what they are
// called as long as they are in memory.

import { numberOr } from "./found.js";

/** A1111's words for what a masked part starts from. */
const CONTENTS = { original: "original", fill: "fill", noise: "latent noise", nothing: "latent nothing" };
const [BLUR, AREA, PADDING, CONTENT, MODE] = ["Mask blur", "Inpaint area", "Masked area padding", "Masked content", "Mask mode"];
const STRENGTH = "Denoising strength";
const RESIZES = ["stretch", "crop", "fill"];

/** What isn't said, as A1111 has it. */
export const INPAINT = Object.freeze({ blur: 4, content: "original", area: "whole", padding: 32, inverted: false });

/** @param {?import("../protocol.js").Start|undefined} start @returns {[string, string|number|null][]} for A1111's line, null: left out */
export function startKeys(start) {
  const inpaint = start?.inpaint;
  const isMasked = inpaint?.area === "masked";
  return [
    [STRENGTH, start?.strength ?? null],
    [BLUR, inpaint?.blur ?? null],
    [AREA, isMasked ? "Only masked" : null],
    [PADDING, isMasked ? inpaint.padding : null],
    [CONTENT, inpaint && inpaint.content !== "original" ? CONTENTS[inpaint.content] : null],
    [MODE, inpaint?.inverted ? "Inpaint not masked" : null],
  ];
}

/**
 * @param {Map<string, string>} settings   of A1111's line
 * @returns {{start: ?import("../protocol.js").Start, used: string[]}} picture and mask are unnamed; used: the keys that say it
 */
export function startOf(settings) {
  const strength = inside(settings.get(STRENGTH), 0, 1);
  // of a picture that was made larger, it is the second pass's
  const isOfSecond = ["Hires upscale", "Hires upscaler", "Hires resize-1"].some((key) => settings.has(key));
  if (strength === null || isOfSecond) return { start: null, used: [] };
  const keys = [BLUR, AREA, PADDING, CONTENT, MODE];
  const content = Object.entries(CONTENTS).find(([, word]) => word === settings.get(CONTENT));
  const inpaint = keys.some((key) => settings.has(key)) ? inpaintOf({
    blur: numberOr(settings.get(BLUR)),
    content: content?.[0],
    area: settings.get(AREA) === "Only masked" ? "masked" : "whole",
    padding: numberOr(settings.get(PADDING)),
    inverted: settings.get(MODE) === "Inpaint not masked",
  }) : null;
  return { start: { picture: "", mask: "", strength, exactSteps: false, resize: "stretch", inpaint }, used: [STRENGTH, ...keys] };
}

/**
 * What our own key says.
 * @param {any} own @param {?import("../protocol.js").Start} plain   what A1111's keys say
 * @returns {?import("../protocol.js").Start}
 */
export function ownStart(own, plain) {
  const strength = inside(own?.strength, 0, 1);
  if (!own || typeof own !== "object" || strength === null) return plain;
  const name = (text) => (/^[0-9a-f]{16}$/.test(text) ? text : "");
  return {
    picture: name(own.picture), mask: name(own.mask), strength, exactSteps: own.exactSteps === true,
    resize: RESIZES.includes(own.resize) ? own.resize : "stretch",
    inpaint: own.inpaint && typeof own.inpaint === "object" ? inpaintOf(own.inpaint) : null,
  };
}

/** @returns {import("../protocol.js").Inpaint} */
function inpaintOf({ blur, content, area, padding, inverted }) {
  return {
    blur: inside(blur, 0, 64) ?? INPAINT.blur,
    content: Object.hasOwn(CONTENTS, content ?? "") ? content : INPAINT.content,
    area: area === "masked" ? "masked" : "whole",
    padding: inside(padding, 0, 512) ?? INPAINT.padding,
    inverted: inverted === true,
  };
}

/** @returns {?number} null: it is no number, or none that can be set */
function inside(value, least, most) {
  const number = numberOr(value);
  return number !== null && number >= least && number <= most ? number : null;
}
