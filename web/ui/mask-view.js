// How the mask is painted and looked at: pointers of every kind, the size of the view, the ring of the brush.

const STEP = 1.25;
const LARGEST = 16;
/** The eraser's end of a pen, in `buttons`. (Pointer Events, 10.1.7) */
const PEN_ERASER = 32;

/**
 * Events: "begin" {point, erase}, "go" {point}, "end", "drop" (what was begun was meant to move the view); points are pixels of
 * the picture.
 */
export class MaskView extends EventTarget {
  #view;
  #pair;
  /** @type {() => {width: number, height: number}} */
  #sizeOf;
  #ring;
  /** CSS pixels for one of the picture; 0: as it fits. */
  #scale = 0;
  #brush = 1;
  /** Those that are down. @type {Map<number, {clientX: number, clientY: number}>} */
  #pointers = new Map();
  #isPainting = false;

  /**
   * @param {HTMLElement} view @param {HTMLElement} pair   what is in it: picture and mask
   * @param {HTMLElement} ring   of the brush @param {() => {width: number, height: number}} sizeOf   the picture
   */
  constructor(view, pair, ring, sizeOf) {
    super();
    this.#view = view;
    this.#pair = pair;
    this.#sizeOf = sizeOf;
    this.#ring = ring;
    pair.addEventListener("pointerdown", (event) => this.#down(event));
    pair.addEventListener("pointermove", (event) => this.#move(event));
    for (const type of /** @type {const} */ (["pointerup", "pointercancel"])) pair.addEventListener(type, (event) => this.#up(event));
    pair.addEventListener("pointerleave", () => { ring.hidden = true; });
    view.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? STEP : 1 / STEP, event);
    }, { passive: false });
    new ResizeObserver(() => this.layOut()).observe(view);
  }

  /** @param {number} pixels of the picture */
  set brush(pixels) {
    this.#brush = pixels;
    this.layOut();
  }

  get scale() {
    const { width, height } = this.#sizeOf();
    return this.#scale || Math.min(this.#view.clientWidth / width, this.#view.clientHeight / height);
  }

  fit() {
    this.#scale = 0;
    this.layOut();
  }

  /** @param {number} by @param {{clientX: number, clientY: number}} [point] that stays where it is */
  zoom(by, point) {
    const { left, top, width, height } = this.#view.getBoundingClientRect();
    const [x, y] = point ? [point.clientX - left, point.clientY - top] : [width / 2, height / 2];
    const before = this.scale;
    this.#scale = Math.min(LARGEST, Math.max(1 / LARGEST, before * by));
    const grown = this.#scale / before;
    const [scrollX, scrollY] = [(this.#view.scrollLeft + x) * grown - x, (this.#view.scrollTop + y) * grown - y];
    this.layOut();
    this.#view.scrollTo(scrollX, scrollY);
  }

  layOut() {
    const { width, height } = this.#sizeOf();
    if (this.#view.clientWidth === 0) return;
    const { scale } = this;
    this.#pair.style.setProperty("width", `${Math.floor(width * scale)}px`);
    this.#pair.style.setProperty("height", `${Math.floor(height * scale)}px`);
    this.#pair.style.setProperty("--pixel", `${scale}px`);
    this.#ring.style.setProperty("width", `${this.#brush * scale}px`);
  }

  /** @param {{clientX: number, clientY: number}} event @returns {[number, number]} */
  #point({ clientX, clientY }) {
    const { left, top, width, height } = this.#pair.getBoundingClientRect();
    const size = this.#sizeOf();
    return [(clientX - left) * size.width / width, (clientY - top) * size.height / height];
  }

  #down(event) {
    const { pointerId, button, buttons } = event;
    const isEraser = (buttons & PEN_ERASER) !== 0;
    if (button !== 0 && !isEraser) return;
    event.preventDefault();
    this.#view.focus({ preventScroll: true });
    this.#pair.setPointerCapture(pointerId);
    this.#pointers.set(pointerId, event);
    if (this.#pointers.size === 1) {
      this.#isPainting = true;
      this.#emit("begin", { point: this.#point(event), erase: isEraser });
    } else if (this.#isPainting) { // two fingers move the view
      this.#isPainting = false;
      this.#emit("drop");
    }
  }

  #move(event) {
    const { pointerId, pointerType } = event;
    this.#showRing(event, pointerType === "touch");
    const before = this.#pointers.get(pointerId);
    if (!before) return;
    if (this.#isPainting) {
      for (const one of event.getCoalescedEvents?.() ?? [event]) this.#emit("go", { point: this.#point(one) });
    } else if (this.#pointers.size === 2) {
      const other = [...this.#pointers].find(([id]) => id !== pointerId)[1];
      const far = (one) => Math.max(1, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY));
      this.zoom(far(event) / far(before), other);
      this.#view.scrollBy((before.clientX - event.clientX) / 2, (before.clientY - event.clientY) / 2);
    }
    this.#pointers.set(pointerId, event);
  }

  #up({ pointerId }) {
    if (!this.#pointers.delete(pointerId) || !this.#isPainting) return;
    this.#isPainting = false;
    this.#emit("end");
  }

  #showRing(event, hidden) {
    const { left, top } = this.#pair.getBoundingClientRect();
    this.#ring.hidden = hidden;
    this.#ring.style.setProperty("left", `${event.clientX - left}px`);
    this.#ring.style.setProperty("top", `${event.clientY - top}px`);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
