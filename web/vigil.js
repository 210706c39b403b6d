// Whether somebody who owes an answer still gives a sign of life.

const TICK_MS = 1000;
/** Silences of this many times the longest one that ended well, since there was something to do, are nothing to speak of. */
const MARGIN = 3;

/**
 * Silence is counted in ticks of a timer, so that a machine that sleeps, or a tab whose timers are slowed
 * down, adds nothing to it.
 *
 * Events: "silent" (detail: seconds), at most once in a silence; "heard": that one is over.
 */
export class Vigil extends EventTarget {
  #patience;
  #isOwed;
  #seconds = 0;
  #longest = 0;
  #told = false;
  #timer;

  /**
   * @param {number} patience             seconds
   * @param {() => boolean} isOwed        whether anything is waited for
   */
  constructor(patience, isOwed) {
    super();
    this.#patience = patience;
    this.#isOwed = isOwed;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** Nobody is waited for any more. */
  end() {
    clearInterval(this.#timer);
  }

  /** A sign of life. */
  heard() {
    this.#longest = Math.max(this.#longest, this.#seconds);
    this.#over();
  }

  /** What was slow before says nothing of what comes: another worker, or other work. */
  anew() {
    this.#longest = 0;
    this.#over();
  }

  #over() {
    this.#seconds = 0;
    if (!this.#told) return;
    this.#told = false;
    this.dispatchEvent(new CustomEvent("heard"));
  }

  #tick() {
    if (!this.#isOwed()) {
      this.anew();
      return;
    }
    this.#seconds += TICK_MS / 1000;
    if (this.#told || this.#seconds < Math.max(this.#patience, MARGIN * this.#longest)) return;
    this.#told = true;
    this.dispatchEvent(new CustomEvent("silent", { detail: this.#seconds }));
  }
}
