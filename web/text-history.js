// What a text was before: undo that knows of every change, whoever made it. A browser's own forgets all that was typed as
// soon as a script sets a field, and a prompt is set by chips, trigger words, restored pictures and keys.

/** What is typed within so long of the letter before is undone with it. */
const TOGETHER_MS = 1000;
const MOST = 200;

/** @typedef {{text: string, selection: [number, number]}} State */

export class TextHistory {
  /** @type {State[]} */
  #states;
  #at = 0;
  /** The kind of typing that the last state grows by, and since when. */
  #typing = { kind: "", time: 0 };

  constructor(text = "") {
    this.#states = [{ text, selection: [text.length, text.length] }];
  }

  /**
   * The text is another one now.
   * @param {string} text
   * @param {[number, number]} selection
   * @param {string} [kind]   of typing; the same kind at once after is one change with it. Without it, a change by itself
   * @param {number} [time]   in milliseconds
   */
  note(text, selection, kind = "", time = 0) {
    const state = { text, selection };
    if (text === this.#states[this.#at].text) {
      this.#states[this.#at] = state;
      return;
    }
    const goesOn = kind && kind === this.#typing.kind && time - this.#typing.time < TOGETHER_MS;
    const grows = goesOn && this.#at > 0 && this.#at === this.#states.length - 1;
    this.#states.splice(grows ? this.#at : this.#at + 1, Infinity, state);
    this.#states.splice(0, this.#states.length - MOST);
    this.#at = this.#states.length - 1;
    this.#typing = { kind, time };
  }

  /** @returns {?State} null: there is nothing before */
  undo() { return this.#move(-1); }

  /** @returns {?State} */
  redo() { return this.#move(1); }

  #move(by) {
    const state = this.#states[this.#at + by];
    if (!state) return null;
    this.#at += by;
    this.#typing = { kind: "", time: 0 };
    return state;
  }
}
