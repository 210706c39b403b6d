// A line below the head of the page: a new version is here.

/** Events: "accept": load it. */
export class VersionNotice extends EventTarget {
  #line = document.querySelector("#new-version");

  constructor() {
    super();
    this.#line.querySelector("button").addEventListener("click", () => this.dispatchEvent(new CustomEvent("accept")));
  }

  /**
   * @param {string} text
   * @param {string} action    what the button says
   */
  show(text, action) {
    this.#line.hidden = false;
    this.#line.querySelector("span").textContent = text;
    this.#line.querySelector("button").textContent = action;
  }
}
