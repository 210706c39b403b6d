// Progress of a load or a run, and the line that says what goes on.

import { duration, megabytes } from "../format.js";

/** Events: "cancel" (a load), "save". */
export class Progress extends EventTarget {
  #bar = document.querySelector("#progress-bar");
  #row = document.querySelector("#progress");
  #status = document.querySelector("#status");
  #detail = document.querySelector("#progress-detail");
  #cancel = document.querySelector("#cancel-loading");
  #save = document.querySelector("#save");
  #since = 0;
  #words = "";
  #left = null;
  #clock = 0;
  #summary = "Ready";

  constructor() {
    super();
    this.#cancel.addEventListener("click", () => this.dispatchEvent(new CustomEvent("cancel")));
    this.#save.addEventListener("click", () => this.dispatchEvent(new CustomEvent("save")));
  }

  /** A line for people and screen readers; not for what changes all the time. */
  status(text) {
    if (this.#status.textContent !== text) this.#status.textContent = text;
  }

  loading(on, cancellable = on) {
    this.#cancel.hidden = !cancellable;
    if (on) this.#bar.removeAttribute("value");
    this.#row.toggleAttribute("data-busy", on);
    this.#detail.textContent = "";
    if (!on) this.#bar.value = 0;
  }

  /** Something that can be cancelled waits, while something else goes on. */
  cancellable(on) {
    this.#cancel.hidden = !on;
  }

  bytes({ done, total, what }) {
    if (total > 0) this.#bar.value = done / total;
    const [part, inside] = what.split("/"); // a component's folder; the name of the one file is in the status already
    this.#detail.textContent = [`${megabytes(done)} of ${megabytes(total)}`, inside && part].filter(Boolean).join(" · ");
  }

  /** A run begins. */
  begin() {
    clearInterval(this.#clock);
    this.#since = performance.now();
    this.#words = "reading the prompt";
    this.#left = null;
    this.#bar.value = 0;
    this.#row.toggleAttribute("data-busy", true);
    this.#tell();
    this.#clock = setInterval(() => this.#tell(), 200);
  }

  /** Some work is done; the words tell what comes next, since that is what is waited for. */
  step({ phase, step, steps, fraction }) {
    this.#bar.value = fraction;
    this.#words = wordsOf(phase, step, steps);
    const elapsed = performance.now() - this.#since;
    // before that the estimate jumps about
    this.#left = fraction > 0.08 && elapsed > 700 ? { at: performance.now(), ms: elapsed * (1 - fraction) / fraction } : null;
    this.#tell();
  }

  finished({ seconds }, fresh) {
    this.#summary = fresh ? `Drawn in ${duration(seconds * 1000)}` : "Shown from memory";
    this.status(this.#summary);
  }

  /** Nothing runs any more. */
  end() {
    clearInterval(this.#clock);
    this.#bar.value = 0;
    this.#row.toggleAttribute("data-busy", false);
    this.#detail.textContent = "";
  }

  /** What the last picture took. */
  summary() {
    return this.#summary;
  }

  setSavable(savable) {
    this.#save.disabled = !savable;
  }

  #tell() {
    const now = performance.now();
    const parts = [this.#words, duration(now - this.#since)];
    if (this.#left) parts.push(`about ${duration(Math.max(0, this.#left.ms - (now - this.#left.at)), 0)} left`);
    this.#detail.textContent = parts.filter(Boolean).join(" · ");
  }
}

/** What comes next, in words. A picture that is drawn twice is decoded and encoded in between, where it is made larger. */
function wordsOf(phase, step, steps) {
  if (phase === "encode") return step > 0 ? "encoding the larger picture" : "encoding the start picture";
  return step < steps && phase !== "decode" ? `step ${step + 1} of ${steps}` : "decoding";
}
