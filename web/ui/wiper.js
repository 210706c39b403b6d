// The handle between two pictures that lie on each other: by pointer anywhere on them, or by keys.

const KEYS = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 };

export class Wiper {
  #figure;
  #handle;
  #words;
  #at = 50;

  /** @param {(percent: number) => string} words what a screen reader says */
  constructor(figure, handle, words) {
    this.#figure = figure;
    this.#handle = handle;
    this.#words = words;
    figure.addEventListener("pointerdown", (event) => {
      if (handle.hidden || event.button !== 0) return;
      figure.setPointerCapture(event.pointerId);
      handle.focus({ preventScroll: true });
      this.#follow(event);
    });
    figure.addEventListener("pointermove", (event) => {
      if (figure.hasPointerCapture(event.pointerId)) this.#follow(event);
    });
    handle.addEventListener("keydown", (event) => {
      const by = KEYS[event.key];
      if (by === undefined) return;
      event.preventDefault();
      this.#set(this.#at + by);
    });
    this.#set(50);
  }

  #follow({ clientX }) {
    const { left, width } = this.#figure.getBoundingClientRect();
    this.#set(100 * (clientX - left) / width);
  }

  #set(percent) {
    this.#at = Math.min(100, Math.max(0, percent));
    this.#figure.style.setProperty("--wipe", `${this.#at}%`);
    this.#handle.setAttribute("aria-valuenow", Math.round(this.#at));
    this.#handle.setAttribute("aria-valuetext", this.#words(Math.round(this.#at)));
  }
}
