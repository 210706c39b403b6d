// The bar below the Train tab: what goes on, how long it will take, and the buttons.

/** Events: "start", "continue", "pause", "stop", "new". */
export class TrainBar extends EventTarget {
  #bar = document.querySelector("#train-bar");
  #progress = document.querySelector("#train-progress");
  #status = document.querySelector("#train-status");
  #detail = document.querySelector("#train-detail");
  #start = document.querySelector("#train-start");
  #pause = document.querySelector("#train-pause");
  #stop = document.querySelector("#train-stop");
  #new = document.querySelector("#train-new");
  #continues = false;

  constructor() {
    super();
    this.#start.addEventListener("click", () => this.#emit(this.#continues ? "continue" : "start"));
    this.#pause.addEventListener("click", () => this.#emit("pause"));
    this.#stop.addEventListener("click", () => this.#emit("stop"));
    this.#new.addEventListener("click", () => this.#emit("new"));
  }

  /** @param {string} [announced] what a screen reader is told; steps are too many to be told */
  status(text, announced = text) {
    this.#status.textContent = text;
    const live = document.querySelector("#train-announce");
    if (live.textContent !== announced) live.textContent = announced;
  }

  detail(text, problem = false) {
    this.#detail.textContent = text;
    this.#detail.classList.toggle("problem", problem);
  }

  /** @param {?number} fraction null: it goes on, nobody knows how far */
  progress(fraction) {
    if (fraction === null) this.#progress.removeAttribute("value");
    else this.#progress.value = fraction;
  }

  /**
   * Which buttons there are.
   * @param {{start: ?string, continues: boolean, startable: boolean, pause: boolean, stop: ?string, fresh: boolean, busy: boolean}} what
   */
  buttons({ start, continues, startable, pause, stop, fresh, busy }) {
    this.#continues = continues;
    this.#start.hidden = !start;
    this.#start.textContent = start ?? "";
    this.#start.disabled = !startable;
    this.#pause.hidden = !pause;
    this.#stop.hidden = !stop;
    this.#stop.textContent = stop ?? "";
    this.#new.hidden = !fresh;
    this.#bar.toggleAttribute("data-busy", busy);
  }

  #emit(type) {
    this.dispatchEvent(new CustomEvent(type));
  }
}
