// Generate or Train: which half of the page is seen. The address remembers it.

const KEYS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

/** Events: "change" {view}. */
export class Tabs extends EventTarget {
  #tabs = [...document.querySelector("#tabs").querySelectorAll("button")];

  constructor() {
    super();
    for (const tab of this.#tabs) {
      tab.addEventListener("click", () => this.show(tab.dataset.view));
      tab.addEventListener("keydown", ({ key }) => {
        if (!(key in KEYS)) return;
        const at = this.#tabs.indexOf(tab) + KEYS[key];
        const next = this.#tabs.at(Math.min(this.#tabs.length - 1, Math.max(0, at)));
        this.show(next.dataset.view);
        next.focus();
      });
    }
    addEventListener("hashchange", () => this.#fromAddress());
    this.#fromAddress();
  }

  get view() {
    return document.body.dataset.view;
  }

  show(view) {
    if (view === this.view) return;
    document.body.dataset.view = view;
    for (const tab of this.#tabs) {
      const selected = tab.dataset.view === view;
      tab.setAttribute("aria-selected", selected);
      tab.tabIndex = selected ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !selected;
    }
    const hash = view === "generate" ? "" : `#${view}`;
    if (location.hash !== hash) history.replaceState(null, "", hash || location.pathname + location.search);
    scrollTo(0, 0);
    this.dispatchEvent(new CustomEvent("change", { detail: { view } }));
  }

  #fromAddress() {
    this.show(location.hash === "#train" ? "train" : "generate");
  }
}
