// One picture of the gallery, large: zoom and pan, 1:1, full screen, the one before and after, or two on each other.

import { wordsOf } from "./gallery-panel.js";
import "./lorakeet-two-up.js";

/** @typedef {import("../gallery/album.js").Shown} Shown */

const STEP = 1.25;
const LARGEST = 16;

/** Events: "star" {id, starred}, "delete" {id}, "bring-back", "save" {id}, "start" {id}, "use" {shown}. */
export class Viewer extends EventTarget {
  #dialog = document.querySelector("#viewer");
  #stage = document.querySelector("#viewer-stage");
  #view = document.querySelector("#viewer-view");
  #pair = document.querySelector("#viewer-pair");
  #star = document.querySelector("#viewer-star");
  #compare = document.querySelector("#viewer-compare");
  #back = document.querySelector("#viewer-back");
  /** @type {Shown[]} */
  #shown = [];
  #id = "";
  #at = 0;
  /** The one that others are compared with. */
  #other = "";
  /** CSS pixels for one of the picture; 0: as it fits. */
  #scale = 0;
  /** Set by whoever has the pictures. @type {(id: string) => Promise<?Blob>} */
  read = async () => null;

  constructor() {
    super();
    const click = (selector, act) => document.querySelector(selector).addEventListener("click", act);
    click("#viewer-before", () => this.#go(-1));
    click("#viewer-after", () => this.#go(1));
    click("#viewer-star", () => this.#toggleStar());
    click("#viewer-use", () => this.#use());
    click("#viewer-start", () => {
      const id = this.#id;
      this.#dialog.close();
      this.#emit("start", { id });
    });
    click("#viewer-compare", () => this.#toggleCompare());
    click("#viewer-save", () => this.#emit("save", { id: this.#id }));
    click("#viewer-delete", () => this.#emit("delete", { id: this.#id }));
    click("#viewer-back", () => this.#emit("bring-back", {}));
    click("#viewer-smaller", () => this.#zoom(this.#now / STEP));
    click("#viewer-larger", () => this.#zoom(this.#now * STEP));
    click("#viewer-fit", () => this.#zoom(0));
    click("#viewer-one", () => this.#zoom(1 / devicePixelRatio));
    click("#viewer-full", () => this.#full());
    click("#viewer-close", () => this.#dialog.close());
    document.querySelector("#viewer-full").hidden = !document.fullscreenEnabled;
    this.#dialog.addEventListener("close", () => this.#closed());
    this.#dialog.addEventListener("keydown", (event) => this.#key(event));
    this.#view.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.#zoom(this.#now * (event.deltaY < 0 ? STEP : 1 / STEP), event);
    }, { passive: false });
    this.#view.addEventListener("dblclick", (event) => this.#zoom(this.#scale ? 0 : 1 / devicePixelRatio, event));
    this.#pan();
    new ResizeObserver(() => this.#layOut()).observe(this.#view);
  }

  /** @param {string} id */
  open(id) {
    this.#zoom(0);
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#to(id);
    this.#view.focus();
  }

  /** The pictures as they are now. @param {Shown[]} shown */
  show(shown) {
    this.#shown = shown;
    if (!this.#dialog.open) return;
    if (this.#other && !this.#of(this.#other)) this.#other = "";
    if (shown.length === 0) return this.#dialog.close();
    // the one on show was deleted: its neighbour takes its place
    if (this.#of(this.#id)) this.#words();
    else this.#to(shown[Math.min(this.#at, shown.length - 1)].id);
  }

  /** @param {number} count of deleted ones that can be brought back */
  setRemoved(count) {
    this.#back.hidden = count === 0;
    this.#back.textContent = count > 1 ? `Bring ${count} back` : "Bring it back";
  }

  #of(id) {
    return this.#shown.find((one) => one.id === id);
  }

  #go(by) {
    const next = this.#shown[this.#at + by];
    if (next) this.#to(next.id);
  }

  async #to(id) {
    this.#id = id;
    this.#words();
    await Promise.all([this.#draw("right", id), this.#draw("left", this.#other)]);
    this.#layOut();
  }

  #words() {
    this.#at = this.#shown.findIndex(({ id }) => id === this.#id);
    const shown = this.#shown[this.#at];
    if (!shown) return;
    document.querySelector("#viewer-words").textContent = `${this.#at + 1} of ${this.#shown.length}: ${wordsOf(shown)}`;
    this.#star.setAttribute("aria-pressed", String(shown.starred));
    this.#star.textContent = shown.starred ? "★ Starred" : "☆ Star";
    this.#compare.setAttribute("aria-pressed", String(Boolean(this.#other)));
    document.querySelector("#viewer-use").disabled = !shown.found;
    document.querySelector("#viewer-before").disabled = this.#at <= 0;
    document.querySelector("#viewer-after").disabled = this.#at >= this.#shown.length - 1;
    const other = this.#of(this.#other);
    for (const [side, one] of /** @type {const} */ ([["right", shown], ["left", other]])) {
      this.#pair.setAttribute(`${side}-label`, other ? wordsOf(one) : "");
      this.#canvas(side).setAttribute("aria-label", one ? wordsOf(one) : "No picture");
    }
  }

  /** @param {string} side @returns {HTMLCanvasElement} */
  #canvas(side) {
    return this.#pair.querySelector(`[slot=${side}]`);
  }

  async #draw(side, id) {
    const canvas = this.#canvas(side);
    if (side === "left") this.#pair.single = !id;
    if (!id) return;
    const blob = await this.read(id).catch(() => null);
    const picture = blob && await createImageBitmap(blob).catch(() => null);
    // another one may have been asked for meanwhile
    if (!picture || id !== (side === "right" ? this.#id : this.#other)) return;
    canvas.width = picture.width;
    canvas.height = picture.height;
    canvas.getContext("2d").drawImage(picture, 0, 0);
  }

  #toggleStar() {
    const shown = this.#of(this.#id);
    if (shown) this.#emit("star", { id: this.#id, starred: !shown.starred });
  }

  /** The one on show stays on the left, and others come to the right of it. */
  #toggleCompare() {
    this.#other = this.#other ? "" : this.#id;
    const next = this.#shown[this.#at + 1] ?? this.#shown[this.#at - 1];
    this.#to(this.#other && next ? next.id : this.#id);
  }

  #use() {
    const shown = this.#of(this.#id);
    if (!shown?.found) return;
    this.#dialog.close();
    this.#emit("use", { shown });
  }

  // ---- size and place ----------------------------------------------------------------------------

  get #fitting() {
    const { width, height } = this.#canvas("right");
    return Math.min(this.#view.clientWidth / width, this.#view.clientHeight / height);
  }

  get #now() {
    return this.#scale || this.#fitting;
  }

  /** @param {number} scale 0: as it fits @param {{clientX: number, clientY: number}} [point] that stays where it is */
  #zoom(scale, point) {
    const { left, top, width, height } = this.#view.getBoundingClientRect();
    const [x, y] = point ? [point.clientX - left, point.clientY - top] : [width / 2, height / 2];
    const before = this.#now;
    this.#scale = scale && Math.min(LARGEST, Math.max(1 / LARGEST, scale));
    const grown = this.#now / before;
    const [scrollX, scrollY] = [(this.#view.scrollLeft + x) * grown - x, (this.#view.scrollTop + y) * grown - y];
    this.#layOut();
    this.#view.scrollTo(scrollX, scrollY);
  }

  #layOut() {
    if (!this.#dialog.open) return;
    const { width, height } = this.#canvas("right");
    const scale = this.#now;
    this.#pair.style.setProperty("--ratio", String(width / height));
    // a hair less, so that what fits has no bars
    this.#pair.style.setProperty("width", `${Math.floor(width * scale * (this.#scale ? 1 : 0.999))}px`);
    this.#pair.toggleAttribute("data-dots", scale * devicePixelRatio >= 2);
    document.querySelector("#viewer-scale").textContent = `${Math.round(100 * scale * devicePixelRatio)} %`;
  }

  get #isLarger() {
    const { scrollWidth, clientWidth, scrollHeight, clientHeight } = this.#view;
    return scrollWidth > clientWidth + 1 || scrollHeight > clientHeight + 1;
  }

  /** With the mouse; fingers and keys scroll anyway. */
  #pan() {
    this.#view.addEventListener("pointerdown", (event) => {
      const { target, pointerType, button, clientX, clientY } = event;
      if (pointerType !== "mouse" || button !== 0 || !this.#pair.single || !this.#isLarger || !(target instanceof Element)) return;
      event.preventDefault();
      this.#view.setPointerCapture(event.pointerId);
      const { scrollLeft, scrollTop } = this.#view;
      const move = (moved) => this.#view.scrollTo(scrollLeft + clientX - moved.clientX, scrollTop + clientY - moved.clientY);
      this.#view.addEventListener("pointermove", move);
      this.#view.addEventListener("lostpointercapture", () => this.#view.removeEventListener("pointermove", move), { once: true });
    });
  }

  async #full() {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await this.#stage.requestFullscreen().catch(() => {});
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { key, target, ctrlKey, metaKey, altKey } = event;
    if (ctrlKey || metaKey || altKey || target === this.#pair) return;
    const moves = !this.#isLarger;
    const deeds = {
      ...moves && { ArrowLeft: () => this.#go(-1), ArrowRight: () => this.#go(1) },
      "+": () => this.#zoom(this.#now * STEP), "=": () => this.#zoom(this.#now * STEP), "-": () => this.#zoom(this.#now / STEP),
      0: () => this.#zoom(0), 1: () => this.#zoom(1 / devicePixelRatio),
      Delete: () => this.#emit("delete", { id: this.#id }),
      f: () => this.#full(), s: () => this.#toggleStar(), c: () => this.#toggleCompare(),
    };
    const deed = deeds[key];
    if (!deed) return;
    event.preventDefault();
    deed();
  }

  #closed() {
    if (document.fullscreenElement) document.exitFullscreen();
    this.#other = "";
    this.#id = "";
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
