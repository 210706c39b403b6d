// Keys: heard anywhere on the page, and listed in a dialog.

import { SHORTCUTS, shortcutOf } from "../shortcuts.js";
import { recall, remember } from "../storage.js";

const LETTERS = "keys.letters";
/** Fields that letters belong to. */
const WRITTEN = "textarea, select, [contenteditable], input:not([type=checkbox], [type=radio], [type=range], [type=button], [type=submit])";

/** Events: "draw". */
export class Shortcuts extends EventTarget {
  #dialog = document.querySelector("#keys");
  #letters = document.querySelector("#keys-letters");

  constructor() {
    super();
    document.querySelector("#keys-table").replaceChildren(...SHORTCUTS.map(row));
    document.querySelector("#keys-open").addEventListener("click", () => {
      document.querySelector("#about").close();
      this.#dialog.showModal();
    });
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close());
    this.#letters.checked = recall(LETTERS, true);
    this.#letters.addEventListener("change", () => remember(LETTERS, this.#letters.checked));
    document.addEventListener("keydown", (event) => this.#heard(event));
  }

  /** @param {KeyboardEvent} event */
  #heard(event) {
    const { target, defaultPrevented, isComposing, repeat } = event;
    if (defaultPrevented || isComposing || repeat || document.querySelector("dialog[open]")) return;
    const typing = target instanceof Element && Boolean(target.closest(WRITTEN));
    const shortcut = shortcutOf(event, { typing, letters: this.#letters.checked });
    if (!shortcut) return;
    if (shortcut.command) {
      if (document.body.dataset.view !== "generate") return;
      event.preventDefault();
      this.dispatchEvent(new CustomEvent("draw"));
    } else if (reach(document.querySelector(shortcut.press ?? shortcut.focus), Boolean(shortcut.focus))) event.preventDefault();
  }
}

/** @param {?HTMLElement} control @returns {boolean} whether it could be used */
function reach(control, isField) {
  if (!control || control.matches(":disabled") || control.closest("[hidden]")) return false;
  // what changes is to be seen
  const fold = control.parentElement.closest("details");
  if (fold && !control.matches("summary")) fold.open = true;
  if (isField) control.focus();
  else control.click();
  return true;
}

function row({ keys, says }) {
  const line = document.createElement("tr");
  const left = Object.assign(document.createElement("th"), { scope: "row" });
  const right = document.createElement("td");
  const caps = keys.map((key) => Object.assign(document.createElement("kbd"), { textContent: key === "Ctrl" && isMac() ? "⌘" : key }));
  left.append(...caps.flatMap((cap, at) => (at > 0 ? [" ", cap] : [cap])));
  right.textContent = says;
  line.append(left, right);
  return line;
}

function isMac() {
  return /mac/i.test(navigator.userAgentData?.platform ?? navigator.platform);
}
