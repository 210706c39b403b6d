// What was found by leaving each picture out in turn, and the button that asks for it.

import { percent } from "../train/log.js";

/** Events: "measure", "pause". */
export class TrainUnseen extends EventTarget {
  #panel = document.querySelector("#unseen-panel");
  #note = document.querySelector("#unseen-note");
  #words = document.querySelector("#unseen-words");
  #list = document.querySelector("#unseen");
  #button = document.querySelector("#leave-one-out");
  #measuring = false;

  constructor() {
    super();
    this.#button.addEventListener("click", () => this.dispatchEvent(new CustomEvent(this.#measuring ? "pause" : "measure")));
  }

  /**
   * @param {object} what
   * @param {boolean} what.shown
   * @param {?import("../protocol.js").LeaveOneOut} what.found
   * @param {number} what.pictures
   * @param {string} what.time       what it takes, in words, or nothing
   * @param {boolean} what.measuring
   * @param {boolean} what.enabled
   */
  show({ shown, found, pictures, time, measuring, enabled }) {
    this.#panel.hidden = !shown;
    this.#measuring = measuring;
    this.#button.textContent = measuring ? "Stop for now" : "Leave each out in turn";
    this.#button.hidden = Boolean(found); // again it would find the same
    this.#button.disabled = !enabled;
    this.#note.textContent = found ? `${percent(found.mean.ratio)} of the base model's loss` : "";
    const words = found?.words ?? [
      `Trains ${pictures} adapters more with these settings, each without one of the pictures, which it is then measured on: what the settings are worth on pictures never seen.`,
      time && `That takes ${time}; it can be stopped and goes on where it was.`,
    ].filter(Boolean).join(" ");
    if (this.#words.textContent !== words) this.#words.textContent = words;
    this.#list.hidden = !found;
    this.#list.replaceChildren(...(found?.pictures ?? []).map(({ name, ratio }) => {
      const row = document.createElement("div");
      const bar = document.createElement("i");
      bar.style.setProperty("--part", Math.min(1, ratio));
      row.append(
        Object.assign(document.createElement("span"), { textContent: name }),
        Object.assign(document.createElement("small"), { textContent: "left out" }),
        bar,
        Object.assign(document.createElement("output"), { textContent: percent(ratio) }),
      );
      return row;
    }));
  }
}
