// The model in use, its load report, and the dialog with the licences.

const NAMES = { unet: "UNet", vae: "VAE" };

/** Events: "demo". */
export class ModelPanel extends EventTarget {
  #name = document.querySelector("#model-name");
  #detail = document.querySelector("#model-detail");
  #demoLine = document.querySelector("#model-demo");
  #back = document.querySelector("#demo-back");
  #notes = document.querySelector("#model-notes");

  constructor() {
    super();
    this.#back.addEventListener("click", () => this.dispatchEvent(new CustomEvent("demo")));
    const about = document.querySelector("#about");
    for (const opener of ["#about-open", "#licences-open"]) {
      document.querySelector(opener).addEventListener("click", () => about.showModal());
    }
    about.addEventListener("click", (event) => event.target === about && about.close());
  }

  /**
   * @param {string} title
   * @param {import("../protocol.js").ModelReport} report
   * @param {boolean} isDemo
   */
  show(title, report, isDemo) {
    const { components, unused, notes, native, predictionType } = report;
    const parameters = components.reduce((sum, c) => sum + c.parameters, 0);
    const bytes = components.reduce((sum, c) => sum + c.bytes, 0);
    this.#name.textContent = title;
    this.#detail.textContent = `${millions(parameters)} parameters, ${(bytes / 1e6).toFixed(1)} MB, ${native.width}×${native.height}`;
    this.#demoLine.hidden = !isDemo;

    const lines = [
      ...components.map((c) => `${NAMES[c.name] ?? c.name}: ${c.tensors} tensors, ${millions(c.parameters)} parameters`),
      predictionType && `predicts ${predictionType}`,
      ...notes,
      ...listed("not used", unused),
    ].filter(Boolean);
    this.#notes.hidden = lines.length === 0;
    this.#notes.querySelector("ul").replaceChildren(...lines.map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }));
  }

  setBackToDemo(shown, anyModel) {
    this.#back.hidden = !shown;
    this.#back.textContent = anyModel ? "Back to the demo model" : "Load the demo model";
  }
}

function listed(what, keys) {
  const shown = keys.slice(0, 100).map((key) => `${what}: ${Array.isArray(key) ? key.join(", ") : key}`);
  return keys.length > shown.length ? [...shown, `and ${keys.length - shown.length} more ${what}`] : shown;
}

function millions(count) {
  return count < 1e9 ? `${(count / 1e6).toFixed(1)} M` : `${(count / 1e9).toFixed(2)} G`;
}
