// A field for a prompt: undo that knows of every change, weights of words by keys, and words put in at the cursor.

import { inserted } from "../prompt-words.js";
import { weigh } from "../prompt-weights.js";
import { TextHistory } from "../text-history.js";

/** Typing that is undone together; a paste is a change by itself. */
const TYPING = ["insertText", "deleteContentBackward", "deleteContentForward", "insertCompositionText"];

/** Events: "earlier" {by}: another prompt of the history is wished, 1 is older. */
export class PromptField extends EventTarget {
  #area;
  #history;

  /** @param {HTMLTextAreaElement} area */
  constructor(area) {
    super();
    this.#area = area;
    this.#history = new TextHistory(area.value);
    area.addEventListener("input", (event) => {
      const { inputType = "" } = /** @type {InputEvent} */ (event);
      this.#note(TYPING.includes(inputType) ? inputType : "");
    });
    // the browser's own menu
    area.addEventListener("beforeinput", (event) => {
      const back = { historyUndo: () => this.undo(), historyRedo: () => this.redo() }[event.inputType];
      if (!back) return;
      event.preventDefault();
      back();
    });
    area.addEventListener("keydown", (event) => {
      const act = event.isComposing ? null : this.#deed(event);
      if (!act) return;
      event.preventDefault();
      act();
    });
  }

  get value() {
    return this.#area.value;
  }

  /** The page sets it, as it would any field; undo brings back what was there. */
  set value(text) {
    if (text === this.#area.value) return;
    this.#area.value = text;
    this.#note();
  }

  /** Words at the cursor, unless they are there. @returns {boolean} whether they were put in */
  insert(words) {
    return this.#edit(inserted(this.#area.value, words, this.#area.selectionEnd));
  }

  /** The same at the end. */
  append(words) {
    return this.#edit(inserted(this.#area.value, words, this.#area.value.length));
  }

  undo() { this.#restore(this.#history.undo()); }

  redo() { this.#restore(this.#history.redo()); }

  /** @returns {?() => void} what a key does here */
  #deed({ key, ctrlKey, metaKey, altKey, shiftKey }) {
    const upDown = { ArrowUp: 1, ArrowDown: -1 }[key];
    const command = (ctrlKey || metaKey) && !altKey;
    if (command && !shiftKey && upDown) return () => this.#weigh(upDown);
    if (altKey && !ctrlKey && !metaKey && !shiftKey && upDown) return () => this.#emit("earlier", { by: upDown });
    if (command && key.toLowerCase() === "z") return () => (shiftKey ? this.redo() : this.undo());
    if (command && !shiftKey && key.toLowerCase() === "y") return () => this.redo();
    return null;
  }

  #weigh(sign) {
    const { value, selectionStart, selectionEnd } = this.#area;
    this.#edit(weigh(value, selectionStart, selectionEnd, sign));
  }

  /** @param {?import("../prompt-weights.js").Edit} edit */
  #edit(edit) {
    if (!edit) return false;
    const { value } = this.#area;
    this.#set(value.slice(0, edit.start) + edit.text + value.slice(edit.end), edit.selection);
    return true;
  }

  #restore(state) {
    if (state) this.#set(state.text, state.selection);
  }

  /** As if a person had typed it. */
  #set(text, [start, end]) {
    this.#area.value = text;
    this.#area.setSelectionRange(start, end);
    for (const type of ["input", "change"]) this.#area.dispatchEvent(new Event(type, { bubbles: true }));
  }

  #note(kind = "") {
    const { value, selectionStart, selectionEnd } = this.#area;
    this.#history.note(value, [selectionStart, selectionEnd], kind, performance.now());
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
