// Wires the picture to start from: where it comes from, what settings say of it, and what is left of it after a reload.

import { Decoder } from "./decoder.js";
import { sizeNear } from "./start/steps.js";
import { LARGEST, StartStore } from "./start/store.js";
import { ofTab, recall, remember } from "./storage.js";
import { UNREADABLE } from "./train/picture-set.js";

const WHITE = "#fff";
const REMOVED = "The start picture is removed";
const UNMASKED = "The mask is removed";
/** The least strength for a picture that was made larger. */
const EXTENDING = 0.9;
const NOT_TAKEN = "No start picture";
/** What this tab remembers over a reload: the name of a picture that isn't kept. */
const KEY = "start";

/**
 * @typedef {object} StartHost   what it asks of the page
 * @property {() => ?ImageData} shown              the picture on show
 * @property {() => Set<string>} waiting           what waiting pictures start from
 * @property {() => void} strengthMoved
 * @property {() => void} released
 *
 * @typedef {{name: string, picture: string, mask: string, width: number, height: number}} At   picture, mask: as settings call them
 */
export class StartController {
  #ui;
  /** @type {StartHost} */
  #host;
  /** @type {?At} */
  #at = null;
  /** Of what is being read: the last one counts. */
  #reading = 0;
  #decoder = new Decoder();
  /** @type {?import("./ui/mask-dialog.js").MaskDialog} */
  #dialog = null;
  /** What a reload has taken away. */
  #lost = "";
  store = new StartStore((name) => name === this.#at?.picture || name === this.#at?.mask || this.#host.waiting().has(name));

  /** @param {StartHost} host */
  constructor(ui, host) {
    this.#ui = ui;
    this.#host = host;
    const { start: panel, form } = ui;
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));
    on(panel, "files", ({ files }) => this.takeFile({ name: files[0].name, file: files[0] }));
    on(panel, "shown", () => this.#takeShown());
    on(panel, "take-size", () => this.#takeSize());
    on(panel, "remove", () => this.#remove());
    on(panel, "mask", () => this.#paint());
    on(panel, "unmask", () => this.#unmask());
    on(panel, "strength", () => {
      this.#tell();
      this.#host.strengthMoved();
    });
    on(panel, "released", () => this.#host.released());
    for (const type of ["change", "written"]) on(form, type, () => this.#tell());
    panel.reset();
    this.#lost = recall(KEY, "", ofTab);
    if (this.#lost) panel.hint(`${this.#lost} is gone with the reload: start pictures aren’t kept. Put it in again.`);
  }

  /** What a picture starts from that is asked for now. @returns {?import("./protocol.js").Start} */
  get start() {
    if (!this.#at) return null;
    const { picture, mask } = this.#at;
    const { strength, exactSteps, resize, inpaint } = this.#ui.start.read();
    return { picture, mask, strength, exactSteps, resize: this.#fits ? "stretch" : resize, inpaint: mask ? inpaint : null };
  }

  /** Whether it has the size that is drawn. */
  get #fits() {
    const { width, height } = this.#ui.form.read();
    return this.#at.width === width && this.#at.height === height;
  }

  /** @param {{name: string, file: Blob}} picture @returns {Promise<boolean>} whether it could be read */
  async takeFile({ name, file }) {
    const { start: panel, messages } = this.#ui;
    panel.open();
    messages.clear(NOT_TAKEN);
    const turn = ++this.#reading;
    if (!this.#at) panel.hint(`Reading ${name}…`);
    try {
      const decoded = await this.#decoder.decode(file, LARGEST, WHITE);
      if (turn === this.#reading) await this.#take(name, decoded);
      return true;
    } catch {
      if (turn === this.#reading && !this.#at) this.#show(null);
      messages.error(NOT_TAKEN, `${name}: ${UNREADABLE}`);
      return false;
    }
  }

  /** @param {string} name @param {ImageData} image */
  async takeImage(name, { width, height, data }) {
    this.#ui.start.open();
    this.#reading += 1;
    await this.#take(name, { pixels: { width, height, rgba: new Uint8ClampedArray(data) } });
  }

  async #takeShown() {
    const image = this.#host.shown();
    if (image) await this.takeImage("The picture that was on show", image);
  }

  /** @param {string} name @param {{pixels: import("./protocol.js").Pixels, name?: string}} decoded */
  async #take(name, { pixels, name: known }) {
    const picture = await this.store.put(pixels, known);
    const { width, height } = pixels;
    // one of the same size is the same scene, most often: what was painted stays, and is shown
    const mask = this.#at?.width === width && this.#at.height === height ? this.#at.mask : "";
    this.#show({ name, picture, mask, width, height });
    this.#ui.progress.status(`Start picture: ${name}, ${width}×${height}`);
  }

  /** @param {?At} at */
  #show(at) {
    this.#at = at;
    this.#lost = "";
    this.#ui.form.setStarted(Boolean(at));
    this.#ui.start.show(at && { name: at.name, pixels: this.store.get(at.picture), mask: this.store.get(at.mask) ?? null });
    remember(KEY, at?.name ?? "", ofTab);
    this.#tell();
  }

  #tell() {
    const { start: panel, form } = this.#ui;
    if (this.#at) panel.tell(this.#at, form.read(), this.#at.mask !== "");
    else panel.summarise(this.#lost ? "gone with the reload" : "");
  }

  #takeSize() {
    const { form } = this.#ui;
    const { min, max } = document.querySelector("#width");
    const { width, height } = sizeNear(this.#at, { least: Number(min), most: Number(max) });
    form.apply({ width: String(width), height: String(height) });
  }

  // ---- the mask ----------------------------------------------------------------------------------

  async #paint() {
    this.#dialog ??= await this.#newDialog();
    const { picture, mask } = this.#at;
    this.#dialog.open(this.store.get(picture), this.store.get(mask) ?? null, this.#ui.start.read().inpaint.blur);
  }

  /** Fetched when somebody wants to paint. */
  async #newDialog() {
    const { MaskDialog } = await import("./ui/mask-dialog.js");
    const dialog = new MaskDialog();
    dialog.addEventListener("done", ({ detail }) => this.#painted(detail));
    dialog.addEventListener("load", ({ detail: { file } }) => this.loadMask({ name: file.name, file }));
    return dialog;
  }

  /** Into the dialog, which is open. @param {{name: string, file: Blob}} picture */
  async loadMask({ name, file }) {
    try {
      this.#dialog.load((await this.#decoder.decode(file, LARGEST)).pixels, name);
    } catch {
      this.#dialog.say(`${name}: ${UNREADABLE}`);
    }
  }

  async #painted({ pixels, mask: painted, isExtended }) {
    const { name, width, height } = this.#at;
    const wasFitting = this.#fits;
    const [picture, mask] = [await this.store.put(pixels), painted ? await this.store.put(painted) : ""];
    this.#show({ name, picture, mask, width: pixels.width, height: pixels.height });
    if (!isExtended) return;
    // what is new has to be drawn from little, and at a size that has room for it
    const { strength } = this.#ui.start.read();
    if (strength < EXTENDING) this.#ui.start.write({ strength: EXTENDING });
    if (wasFitting) this.#takeSize();
    this.#tell();
    this.#ui.progress.status(`Extended from ${width}×${height} to ${pixels.width}×${pixels.height}`);
  }

  #unmask() {
    const before = this.snapshot();
    this.#show({ ...this.#at, mask: "" });
    const { messages } = this.#ui;
    messages.clear(UNMASKED);
    messages.offer(UNMASKED, "All of the picture is drawn anew.", "Bring it back", () => this.putBack(before), { kind: "info" });
  }

  // ---- there and back ----------------------------------------------------------------------------

  #remove() {
    const before = this.snapshot();
    this.#show(null);
    const { messages } = this.#ui;
    messages.clear(REMOVED);
    messages.offer(REMOVED, `What is drawn comes from noise alone. (${before.name})`, "Bring it back", () => this.putBack(before), { kind: "info" });
  }

  /** What there is, for `putBack`. */
  snapshot() { return this.#at; }

  /** @param {?At} at */
  putBack(at) {
    if (at && !this.store.get(at.picture)) return this.#ui.messages.error(NOT_TAKEN, `${at.name} isn’t in memory any more: put it in again.`);
    for (const title of [REMOVED, UNMASKED]) this.#ui.messages.clear(title);
    this.#show(at);
  }

  /**
   * Settings come back, with what they started from as far as it is there. What isn't is told by whoever restores.
   * @param {?import("./protocol.js").Start|undefined} start
   * @returns {boolean} whether all of it is there
   */
  restore(start) {
    if (!start) {
      if (this.#at) this.#show(null);
      return true;
    }
    this.#ui.start.write(start);
    const pixels = this.store.has(start) ? this.store.get(start.picture) : null;
    if (!pixels) {
      this.#tell();
      return false;
    }
    const { picture, mask } = start;
    const name = this.#at?.picture === picture ? this.#at.name : "The picture that it started from";
    this.#show({ name, picture, mask, width: pixels.width, height: pixels.height });
    return true;
  }
}
