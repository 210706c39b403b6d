// Light, dark, or as the system has it. Runs before anything is drawn (blocking="render" in the documents, where browsers
// know it), so that nothing flashes.

import { recall, remember } from "./storage.js";

const KEY = "look";
/** As style.css and dark.css have the ground of the page's head. */
const COLOURS = { light: "#f5f8f4", dark: "#0f1512" };

/** @typedef {"system"|"light"|"dark"} Look */

/** @returns {Look} */
export function look() {
  const kept = recall(KEY);
  return kept in COLOURS ? kept : "system";
}

/** @param {Look} chosen */
export function setLook(chosen) {
  remember(KEY, chosen);
  show(chosen);
}

/** @param {Look} chosen */
function show(chosen) {
  document.documentElement.dataset.look = chosen;
  document.querySelector("#dark").media = { system: "(prefers-color-scheme: dark)", light: "not all", dark: "all" }[chosen];
  for (const meta of /** @type {NodeListOf<HTMLMetaElement>} */ (document.querySelectorAll('meta[name="theme-color"]'))) {
    meta.content = COLOURS[chosen] ?? COLOURS[meta.media.includes("dark") ? "dark" : "light"];
  }
}

show(look());
// another tab has chosen
addEventListener("storage", ({ key }) => { if (!key || key.endsWith(`.${KEY}`)) show(look()); });
