// The dialog in which an address becomes a download: address, what goes out, which file, and again what goes out.

import { size } from "../format.js";

/**
 * Events: "address" {text} (it changed), "ask" (the list, or the file), "choose" {choice}, "closed".
 */
export class DownloadDialog extends EventTarget {
  #dialog = document.querySelector("#download-dialog");
  #form = document.querySelector("#download-form");
  #address = document.querySelector("#download-address");
  #known = document.querySelector("#download-known");
  #asks = document.querySelector("#download-asks");
  #choices = document.querySelector("#download-choices");
  #note = document.querySelector("#download-note");
  #problem = document.querySelector("#download-problem");
  #more = document.querySelector("#download-more");
  #sum = document.querySelector("#download-sum");
  #hosts = document.querySelector("#download-hosts");
  #go = document.querySelector("#download-go");
  #busy = document.querySelector("#download-busy");

  constructor() {
    super();
    document.querySelector("#download-open").addEventListener("click", () => this.open());
    this.#address.addEventListener("input", () => this.#emit("address", { text: this.#address.value }));
    this.#hosts.addEventListener("change", () => this.#emit("address", { text: this.#address.value }));
    this.#form.addEventListener("submit", (event) => {
      if (event.submitter?.getAttribute("value") === "close") return;
      event.preventDefault();
      if (!this.#go.disabled) this.#emit("ask");
    });
    this.#dialog.addEventListener("close", () => this.#emit("closed"));
  }

  open() {
    this.#address.value = "";
    this.#sum.value = "";
    this.#hosts.value = "";
    this.#more.open = false;
    this.#emit("address", { text: "" });
    this.#dialog.showModal();
    this.#address.focus();
  }

  close() {
    this.#dialog.close();
  }

  /** The SHA-256 that the person knows; "" where none. */
  get sum() {
    return this.#sum.value.trim().toLowerCase();
  }

  /** Further hosts, as typed. @returns {string[]} */
  get hosts() {
    return this.#hosts.value.split(/[\s,]+/).filter(Boolean);
  }

  /** @param {import("../download/known.js").Known[]} known */
  setKnown(known) {
    this.#known.replaceChildren(...known.map(({ title, about, licence, size: bytes, address }) => {
      const row = document.createElement("li");
      const words = document.createElement("div");
      words.append(
        Object.assign(document.createElement("b"), { textContent: title }),
        Object.assign(document.createElement("small"), { textContent: `${about} · ${bytes ? size(bytes) : "size told by the host"} · ${licence}` }),
      );
      const page = Object.assign(document.createElement("a"), { href: address, target: "_blank", rel: "noopener noreferrer", textContent: "Its page" });
      page.setAttribute("aria-label", `${title}: its page, in another tab`);
      const choose = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: "Choose" });
      choose.setAttribute("aria-label", `Choose ${title}`);
      choose.addEventListener("click", () => {
        this.#address.value = address;
        this.#emit("address", { text: address });
        this.#go.focus();
      });
      row.append(words, page, choose);
      return row;
    }));
  }

  /**
   * @param {object} view
   * @param {string} [view.asks]       what goes out
   * @param {string} [view.go]         the button; "" where there is nothing to do
   * @param {string} [view.problem]
   * @param {string} [view.note]
   * @param {?import("../download/address.js").Choice[]} [view.choices]
   * @param {boolean} [view.busy]
   * @param {boolean} [view.further]   the fields for what few need are unfolded
   */
  show({ asks = "", go = "", problem = "", note = "", choices = null, busy = false, further = false }) {
    this.#asks.textContent = asks;
    this.#asks.hidden = !asks;
    this.#go.textContent = go || "Look it up";
    this.#go.disabled = !go || busy;
    this.#problem.textContent = problem;
    this.#problem.hidden = !problem;
    this.#note.textContent = note;
    this.#note.hidden = !note;
    this.#busy.hidden = !busy;
    this.#known.parentElement.hidden = Boolean(this.#address.value.trim());
    this.#more.hidden = !asks;
    if (further) this.#more.open = true;
    if (choices !== this.#shown) this.#list(choices);
  }

  #shown = null;

  #list(choices) {
    this.#shown = choices;
    this.#choices.hidden = !choices;
    const legend = this.#choices.querySelector("legend");
    this.#choices.replaceChildren(legend, ...(choices ?? []).map((choice, index) => {
      const label = Object.assign(document.createElement("label"), { className: "check" });
      const radio = Object.assign(document.createElement("input"), { type: "radio", name: "choice", checked: index === 0 });
      radio.addEventListener("change", () => this.#emit("choose", { choice }));
      const words = document.createElement("span");
      words.append(choice.title, " ", Object.assign(document.createElement("small"), { textContent: choice.size ? size(choice.size) : "size told by the host" }));
      label.append(radio, words);
      return label;
    }));
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
