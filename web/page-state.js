// What the page is at. Others ask this object; the attribute on the body is for style sheets and tests.

/** @typedef {"loading"|"ready"|"running"|"empty"|"error"} At   empty: there is no model; error: no engine */

/** Event: "change" (detail: the status in words). */
export class PageState extends EventTarget {
  /** @type {At} */
  #at = "loading";

  get at() { return this.#at; }

  get isLoading() { return this.#at === "loading"; }

  /** Whether there is no engine, and none will come. */
  get isBroken() { return this.#at === "error"; }

  /** @param {At} at @param {string} status */
  set(at, status) {
    this.#at = at;
    document.body.dataset.state = at;
    this.dispatchEvent(new CustomEvent("change", { detail: status }));
  }
}
