// What takes how much of the browser's room, and what goes when it is deleted.

import { size } from "../format.js";

/**
 * @typedef {object} Row
 * @property {string} id
 * @property {string} name
 * @property {string} about
 * @property {number} bytes
 * @property {?string} deed    what its button says; null: it has none
 */

/** Events: "open", "delete" {id}, "persist". */
export class StorageDialog extends EventTarget {
  #dialog = document.querySelector("#storage");
  #rows = document.querySelector("#storage-rows");
  #total = document.querySelector("#storage-total");
  #persist = document.querySelector("#storage-persist");

  constructor() {
    super();
    document.querySelector("#storage-open").addEventListener("click", () => {
      this.#total.textContent = "Looking…";
      this.#dialog.showModal();
      this.dispatchEvent(new CustomEvent("open"));
    });
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close());
    this.#persist.addEventListener("click", () => this.dispatchEvent(new CustomEvent("persist")));
  }

  get isOpen() {
    return this.#dialog.open;
  }

  /** @param {Row[]} rows @param {string} total @param {boolean} persistable */
  show(rows, total, persistable) {
    this.#rows.replaceChildren(...rows.map((row) => this.#row(row)));
    this.#total.textContent = total;
    this.#persist.hidden = !persistable;
  }

  #row({ id, name, about, bytes, deed }) {
    const line = document.createElement("tr");
    line.dataset.kind = id;
    const head = Object.assign(document.createElement("th"), { scope: "row", textContent: name });
    head.append(Object.assign(document.createElement("small"), { textContent: about }));
    const [much, act] = [document.createElement("td"), document.createElement("td")];
    much.textContent = bytes > 0 ? size(bytes) : "nothing";
    if (deed && bytes > 0) {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: deed, ariaLabel: `${deed} ${name}` });
      button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("delete", { detail: { id } })));
      act.append(button);
    }
    line.append(head, much, act);
    return line;
  }
}
