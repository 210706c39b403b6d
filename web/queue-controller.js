// Wires the line of those that wait: what is said of it, and what is cancelled.

import { behindChip, lineOf } from "./queue-words.js";

/** Event: "look": the picture in hand is to be seen. */
export class QueueController extends EventTarget {
  #maker;
  #line;
  #host;
  /** What comes after the line. */
  #then = "";
  #hidden = false;

  /**
   * @param {import("./pictures.js").PictureMaker} maker
   * @param {{queue: import("./ui/queue-line.js").QueueLine}} ui
   * @param {import("./picture-controller.js").PictureHost} host
   */
  constructor(maker, { queue }, host) {
    super();
    this.#maker = maker;
    this.#line = queue;
    this.#host = host;
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));
    on(queue, "cancel", ({ id }) => maker.cancel(behindChip(maker.state.waiting, id)));
    on(queue, "empty", () => maker.empty());
    on(queue, "go-on", () => maker.tryAgain());
    on(queue, "look", () => this.dispatchEvent(new CustomEvent("look")));
    on(maker, "changed", () => this.refresh());
    addEventListener("beforeunload", (event) => { if (maker.state.waiting.length > 0) event.preventDefault(); });
  }

  /** What the line is waited for with. @param {string} words   nothing: nothing does */
  then(words) {
    this.#then = words;
    this.refresh();
  }

  /** Whether somebody looks at another picture than the one in hand. */
  set hidden(hidden) {
    this.#hidden = hidden;
    this.refresh();
  }

  refresh() {
    const { state, isBroken } = this.#maker;
    this.#line.show(lineOf(state, { training: this.#host.isTraining(), broken: isBroken, then: this.#then }), this.#hidden && state.hand?.kind === "asked");
    document.body.dataset.waiting = String(state.waiting.length);
  }
}
