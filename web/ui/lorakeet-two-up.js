// <lorakeet-two-up>: two pictures that lie on each other, and a divider that is dragged anywhere on them, or moved by keys.
//
//   <lorakeet-two-up left-label="without" right-label="with">
//     <img slot="left" src="a.png" alt="…">
//     <img slot="right" src="b.png" alt="…">
//   </lorakeet-two-up>
//
// A picture is any element of a shape: an image, a canvas, a video. The right one's size is the whole's, unless a style
// sheet says otherwise; what has no slot lies over both.

const KEYS = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 };

const STYLE = `
:host { display: grid; position: relative; overflow: hidden; user-select: none; }
:host([hidden]) { display: none; }
:host(:not([single])) { touch-action: pan-y; cursor: ew-resize; }
.frame { display: contents; }
::slotted([slot]) { grid-area: 1 / 1; width: 100%; }
:host(:not([single])) ::slotted([slot="left"]) { clip-path: inset(0 calc(100% - var(--wipe)) 0 0); }
:host(:not([single])) ::slotted([slot="right"]) { clip-path: inset(0 0 0 var(--wipe)); }
:host([single]) :is(slot[name="left"], .left, .divider), .label:empty { display: none; }
.label {
  position: absolute; bottom: 0.6rem; max-width: 45%; padding: 0.12rem 0.6rem; border-radius: 99px;
  background: rgb(10 20 14 / 72%); color: #fff; font-size: 0.8rem; pointer-events: none;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.left { left: 0.6rem; }
.right { right: 0.6rem; }
.divider {
  position: absolute; inset-block: 0; left: var(--wipe); width: 2px; margin-left: -1px; outline: none;
  background: #fff; box-shadow: 0 0 0 1px rgb(0 0 0 / 35%);
}
.divider::after {
  content: "‹ ›"; position: absolute; top: 50%; left: 50%; translate: -50% -50%; width: 2.1rem; height: 2.1rem;
  display: grid; place-content: center; border-radius: 50%; background: #fff; color: #17231b; font-weight: 700;
  box-shadow: 0 1px 6px rgb(0 0 0 / 40%);
}
.divider:focus-visible::after { outline: 3px solid var(--accent, Highlight); outline-offset: 1px; }
@media (forced-colors: active) {
  .label { border: 1px solid ButtonBorder; }
  .divider, .divider::after { forced-color-adjust: none; background: Canvas; color: CanvasText; outline: 1px solid CanvasText; }
  .divider:focus-visible::after { outline: 3px solid Highlight; }
}
`;

/** Made with the first of them. @type {?CSSStyleSheet} */
let sheet = null;

/**
 * Attributes, and properties of the same meaning: `left-label` and `right-label`, shown in the corners; `label`, what a
 * screen reader calls the divider; `position` of the divider, 0 to 100 percent from the left; `single`: the right
 * picture alone, with no divider.
 *
 * Event: "input" when a person has moved the divider. Parts for style sheets: `label`, `divider`.
 */
export class LorakeetTwoUp extends HTMLElement {
  static observedAttributes = ["left-label", "right-label", "label", "position"];

  #frame = made("div", "frame");
  #divider = made("div", "divider");
  #left = made("span", "label left");
  #right = made("span", "label right");
  #position = 50;

  constructor() {
    super();
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
    }
    // who has dragged the divider may go on with keys
    const root = this.attachShadow({ mode: "open", delegatesFocus: true });
    root.adoptedStyleSheets = [sheet];
    const [left, right] = ["left", "right"].map((name) => Object.assign(document.createElement("slot"), { name }));
    this.#frame.append(left, right, document.createElement("slot"), this.#left, this.#right, this.#divider);
    root.append(this.#frame);
    for (const label of [this.#left, this.#right]) label.setAttribute("part", "label");
    const words = { part: "divider", role: "slider", tabindex: "0", "aria-valuemin": "0", "aria-valuemax": "100" };
    for (const [name, value] of Object.entries(words)) this.#divider.setAttribute(name, value);
    this.addEventListener("pointerdown", (event) => this.#press(event));
    this.addEventListener("pointermove", (event) => { if (this.hasPointerCapture(event.pointerId)) this.#follow(event); });
    this.#divider.addEventListener("keydown", (event) => {
      const by = KEYS[event.key];
      if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.#move(this.#position + by);
    });
    this.#show();
  }

  /** Percent from the left. */
  get position() { return this.#position; }

  set position(percent) {
    const wanted = Number(percent);
    if (Number.isNaN(wanted)) return;
    this.#position = Math.min(100, Math.max(0, wanted));
    this.#show();
  }

  /** Whether the right picture is alone. */
  get single() { return this.hasAttribute("single"); }

  set single(isAlone) { this.toggleAttribute("single", isAlone); }

  get leftLabel() { return this.getAttribute("left-label") ?? ""; }

  set leftLabel(words) { this.setAttribute("left-label", words); }

  get rightLabel() { return this.getAttribute("right-label") ?? ""; }

  set rightLabel(words) { this.setAttribute("right-label", words); }

  /** What the divider is called; where nothing is said, after the labels. */
  get label() {
    const { leftLabel: left, rightLabel: right } = this;
    return this.getAttribute("label") ?? `Compare: ${left || "one picture"} on the left, ${right || "the other"} on the right`;
  }

  set label(words) { this.setAttribute("label", words); }

  /** @param {string} name @param {?string} _before @param {?string} value */
  attributeChangedCallback(name, _before, value) {
    if (name === "position") this.position = Number(value ?? 50);
    else this.#show();
  }

  /** @param {PointerEvent} event */
  #press(event) {
    if (this.single || event.button !== 0) return;
    this.setPointerCapture(event.pointerId);
    this.#divider.focus({ preventScroll: true });
    this.#follow(event);
  }

  /** @param {PointerEvent} event */
  #follow({ clientX }) {
    const { left, width } = this.getBoundingClientRect();
    this.#move(100 * (clientX - left) / width);
  }

  /** @param {number} percent */
  #move(percent) {
    this.position = percent;
    this.dispatchEvent(new Event("input", { bubbles: true }));
  }

  #show() {
    this.#left.textContent = this.leftLabel;
    this.#right.textContent = this.rightLabel;
    const percent = String(Math.round(this.#position));
    this.#frame.style.setProperty("--wipe", `${this.#position}%`);
    this.#divider.setAttribute("aria-label", this.label);
    this.#divider.setAttribute("aria-valuenow", percent);
    this.#divider.setAttribute("aria-valuetext", `${percent} % of the left picture`);
  }
}

/** @param {string} tag @param {string} className @returns {HTMLElement} */
function made(tag, className) {
  return Object.assign(document.createElement(tag), { className });
}

// another copy of this file may have been first
if (!customElements.get("lorakeet-two-up")) customElements.define("lorakeet-two-up", LorakeetTwoUp);
