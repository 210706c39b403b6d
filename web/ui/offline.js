// One line on what works without the network: said once all of the page is kept, and when the network goes.

const WITHOUT = "No network. Everything here works without it; only downloads wait.";

export class OfflineLine {
  #line = document.querySelector("#offline");
  #kept = false;

  constructor() {
    for (const type of ["online", "offline"]) addEventListener(type, () => this.#say());
    this.#say();
  }

  /** All of the page is in this browser. */
  kept() {
    this.#kept = true;
    this.#say();
  }

  #say() {
    const offline = navigator.onLine === false;
    this.#line.dataset.network = offline ? "gone" : "there";
    if (!offline) this.#line.textContent = this.#kept ? "Works offline: all of this page is kept in this browser." : "";
    else this.#line.textContent = this.#kept ? WITHOUT : `${WITHOUT} Leave this tab open: not all of the page is kept yet.`;
  }
}
