// What the model is taken for, from which evidence, and the ways to say otherwise.

/** Events: "by-hand" (detail: {prediction, size, zeroTerminalSnr}, each undefined where the files are to tell). */
export class FamilyPanel extends EventTarget {
  #line = document.querySelector("#family");
  #details = document.querySelector("#family-details");
  #evidence = document.querySelector("#family-evidence");
  #form = document.querySelector("#family-form");

  constructor() {
    super();
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const { prediction, size, zero } = Object.fromEntries(new FormData(this.#form));
      const detail = {
        prediction: prediction || undefined,
        size: size ? Number(size) : undefined,
        zeroTerminalSnr: zero ? zero === "on" : undefined,
      };
      this.dispatchEvent(new CustomEvent("by-hand", { detail }));
    });
  }

  /**
   * @param {import("../protocol.js").Family} family
   * @param {import("../protocol.js").ModelOptions} chosen  what was said by hand
   */
  show({ label, evidence }, chosen) {
    this.#line.textContent = label;
    this.#details.hidden = false;
    this.#evidence.replaceChildren(...evidence.map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }));
    const { prediction, size, zero } = /** @type {Record<string, any>} */ (this.#form.elements);
    prediction.value = chosen.prediction ?? "";
    size.value = chosen.size ?? "";
    zero.value = chosen.zeroTerminalSnr === undefined ? "" : chosen.zeroTerminalSnr ? "on" : "off";
  }

  clear() {
    this.#line.textContent = "";
    this.#details.hidden = true;
  }
}
