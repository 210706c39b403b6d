// The page's keys as a table: what each does is to press or to go to a control that is there anyway, so that a key can
// do nothing that the page doesn't offer.

/**
 * @typedef {object} Shortcut
 * @property {string} says
 * @property {string[]} keys       as they are shown; "Ctrl" is the command key on a Mac
 * @property {string} [key]        of the event; without it the key is heard elsewhere (a field, the browser) and only listed
 * @property {boolean} [command]   with Ctrl, and then while somebody types too
 * @property {string} [press]      the control
 * @property {string} [focus]      the same, to write in it
 */

/** @type {Shortcut[]} */
export const SHORTCUTS = [
  { says: "Draw, as the prompt says", keys: ["Ctrl", "Enter"], key: "Enter", command: true },
  { says: "Stop drawing; close what is open", keys: ["Esc"] },
  { says: "To the prompt", keys: ["P"], key: "p", focus: "#prompt" },
  { says: "To the negative prompt", keys: ["N"], key: "n", focus: "#negative-prompt" },
  { says: "New random seed", keys: ["R"], key: "r", press: "#seed-random" },
  { says: "Keep the seed, or not", keys: ["K"], key: "k", press: "#seed-lock" },
  { says: "Save the picture", keys: ["S"], key: "s", press: "#save" },
  { says: "Generate", keys: ["G"], key: "g", press: "#tab-generate" },
  { says: "Train", keys: ["T"], key: "t", press: "#tab-train" },
  { says: "Library, open or folded", keys: ["L"], key: "l", press: "#library > summary" },
  { says: "Gallery, open or folded", keys: ["A"], key: "a", press: "#gallery > summary" },
  { says: "Settings, open or folded", keys: ["E"], key: "e", press: "#settings > summary" },
  { says: "In a prompt: more or less weight for the word or what is selected, (word:1.1); for a tag, its strength", keys: ["Ctrl", "↑ ↓"] },
  { says: "In a prompt: an earlier one, a later one, with its negative", keys: ["Alt", "↑ ↓"] },
  { says: "In a prompt: take back, and do again, whatever changed it", keys: ["Ctrl", "Z", "Y"] },
  { says: "A picture of the gallery, large: others; larger, smaller; as it fits, 1:1", keys: ["← →", "+", "−", "0", "1"] },
  { says: "There: a star, compare, full screen, delete", keys: ["S", "C", "F", "Del"] },
  { says: "This list", keys: ["?"], key: "?", press: "#keys-open" },
];

/**
 * @param {{key: string, ctrlKey: boolean, metaKey: boolean, altKey: boolean, shiftKey: boolean}} event
 * @param {{typing: boolean, letters: boolean}} now   whether somebody writes; whether letters alone are wanted
 * @returns {?Shortcut}
 */
export function shortcutOf({ key, ctrlKey, metaKey, altKey, shiftKey }, { typing, letters }) {
  if (altKey) return null;
  const command = ctrlKey || metaKey;
  if (!command && (typing || !letters)) return null;
  // "?" needs Shift on one keyboard and not on another
  if (shiftKey && key !== "?") return null;
  const wanted = key.length === 1 ? key.toLowerCase() : key;
  return SHORTCUTS.find((one) => one.key === wanted && Boolean(one.command) === command) ?? null;
}
