// Wires the gallery: what is drawn is kept, what is kept is looked at, searched, starred, deleted, saved and its settings
// are taken over. Nothing that fails here stops the drawing.

import { counted, size } from "./format.js";
import { Gallery, NO_STORAGE } from "./gallery/gallery.js";
import { zipOf } from "./gallery/zip.js";
import { Sha256 } from "./library/sha256.js";
import { onceMore } from "./once-more.js";
import { withoutTexts } from "./picture-info/png.js";
import { readPicture } from "./picture-info/read.js";
import { fileNameOf, pngOf } from "./picture-texts.js";
import { powersOf } from "./pictures.js";
import { saveAs } from "./save.js";

const NOT_KEPT = "The picture was not kept in the gallery";
const DELETED = "Deleted from the gallery";
/** How much of a file is read for what it says: its text comes first. */
const HEAD = 128 << 10;

/**
 * @typedef {object} GalleryHost   what it asks of the page
 * @property {import("./picture-texts.js").PictureTexts} texts
 * @property {(found: import("./picture-info/found.js").Found, name: string) => void} restore
 * @property {(picture: {name: string, file: Blob}) => void} startFrom
 */
export class GalleryController {
  #gallery = new Gallery();
  #ui;
  /** @type {GalleryHost} */
  #host;
  /** What is read of each once. @type {Map<string, ?import("./picture-info/found.js").Found>} */
  #founds = new Map();
  /** Pictures are written one after another. */
  #queue = Promise.resolve();
  /** @type {{id: string, starred: boolean, png: Blob}[]} what the message about deleting brings back */
  #removed = [];
  #left = 0;

  /** @param {GalleryHost} host */
  constructor(ui, host) {
    this.#ui = ui;
    this.#host = host;
    const { gallery: panel, viewer, switches } = ui;
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));
    on(this.#gallery, "change", () => this.refresh());
    for (const part of [panel, viewer]) {
      on(part, "star", ({ id, starred }) => this.#attempt("The star was not kept", () => this.#gallery.star(id, starred)));
      on(part, "delete", ({ id }) => this.#remove(id));
    }
    on(panel, "unfold", () => this.refresh());
    on(panel, "open", ({ id }) => viewer.open(id));
    on(panel, "save", ({ starred }) => this.#saveAll(starred));
    on(viewer, "bring-back", () => this.#bringBack());
    on(viewer, "save", ({ id }) => this.#save(id));
    on(viewer, "use", ({ shown }) => shown.found && this.#host.restore(shown.found, "From the gallery"));
    on(viewer, "start", ({ id }) => this.#startFrom(id));
    viewer.read = (id) => this.#gallery.read(id);
    panel.read = (id) => this.#gallery.read(id);
    switches.setKeepable(Gallery.problem);
    if (!Gallery.problem) this.refresh();
  }

  /** @param {import("./pictures.js").Picture} picture that was just drawn */
  keep(picture) {
    if (!this.#ui.switches.keep || Gallery.problem) return;
    this.#queue = this.#queue.then(async () => {
      try {
        const text = await this.#host.texts.of(picture);
        if (!text) return;
        const { left } = await this.#gallery.keep(await pngOf(picture.image, text), digestOf(picture));
        this.#left += left;
        this.#ui.messages.clear(NOT_KEPT);
      } catch (error) {
        if (error.name === NO_STORAGE) return this.#ui.switches.setKeepable(error.message);
        this.#ui.messages.clear(NOT_KEPT);
        const full = error.name === "QuotaExceededError";
        this.#ui.messages.error(NOT_KEPT, full
          ? "The browser has no room for it. Delete pictures or kept models, or free the disk; “Save PNG” still saves it."
          : `${error.message}. “Save PNG” still saves it.`);
      }
    });
  }

  /** Shows the pictures as they are now. */
  refresh = onceMore(() => this.#show(), (error) => {
    // said where pictures could be kept, since nobody has asked for it
    if (error.name === NO_STORAGE) this.#ui.switches.setKeepable(error.message);
    else this.#ui.messages.error("The gallery could not be read", error.message);
  });

  async #show() {
    const kept = await this.#gallery.list();
    // what they say is read when somebody looks
    const unread = this.#ui.gallery.isOpen ? kept.filter(({ id }) => !this.#founds.has(id)) : [];
    for (const { id } of unread) this.#founds.set(id, await this.#foundOf(id));
    const shown = kept.map((one) => ({ ...one, found: this.#founds.get(one.id) ?? null }));
    this.#ui.gallery.show(shown, this.#left);
    this.#ui.viewer.show(shown);
    const bytes = kept.reduce((sum, one) => sum + one.size, 0);
    this.#ui.library.panel.setGallery(kept.length > 0 ? `The gallery takes ${size(bytes)} of it.` : "");
  }

  async #foundOf(id) {
    const blob = await this.#gallery.read(id);
    return blob ? readPicture(blob.slice(0, HEAD)).catch(() => null) : null;
  }

  async #remove(id) {
    await this.#attempt("The picture was not deleted", async () => {
      this.#removed.push(await this.#gallery.remove(id));
      const { messages, viewer } = this.#ui;
      viewer.setRemoved(this.#removed.length);
      messages.clear(DELETED);
      const words = `${counted(this.#removed.length, "picture")}. Until this message is gone, it can be undone.`;
      const forget = () => {
        this.#removed = [];
        viewer.setRemoved(0);
      };
      messages.offer(DELETED, words, "Bring back", () => this.#bringBack(), { kind: "info", dismissed: forget });
    });
  }

  async #bringBack() {
    await this.#attempt("Not all pictures came back", async () => {
      while (this.#removed.length > 0) {
        await this.#gallery.putBack(this.#removed[0]);
        this.#removed.shift();
      }
    });
    this.#ui.messages.clear(DELETED);
    this.#ui.viewer.setRemoved(this.#removed.length);
  }

  async #save(id) {
    await this.#attempt("The picture was not saved", async () => {
      const { name, blob } = await this.#file(id);
      saveAs(blob, name);
    });
  }

  async #startFrom(id) {
    await this.#attempt("No start picture", async () => {
      const { name, blob } = await this.#file(id);
      this.#host.startFrom({ name, file: blob });
    });
  }

  /** @param {boolean} starred those alone */
  async #saveAll(starred) {
    await this.#attempt("The pictures were not saved", async () => {
      const kept = (await this.#gallery.list()).filter((one) => one.starred || !starred);
      const files = [];
      for (const { id, drawn } of kept.toReversed()) files.push({ ...await this.#file(id), modified: drawn });
      saveAs(await zipOf(files), `lorakeet-${starred ? "starred" : "pictures"}.zip`);
    });
  }

  async #file(id) {
    const blob = await this.#gallery.read(id);
    if (!blob) throw new Error("It isn’t there any more: another tab or the browser deleted it.");
    const found = this.#founds.get(id);
    const name = fileNameOf(found?.prompt ?? "", found?.seed ?? id.slice(0, 17));
    if (this.#ui.switches.carry) return { name, blob };
    return { name, blob: new Blob([withoutTexts(new Uint8Array(await blob.arrayBuffer()))], { type: "image/png" }) };
  }

  async #attempt(title, work) {
    try {
      await work();
    } catch (error) {
      this.#ui.messages.error(title, error.name === "QuotaExceededError" ? "The browser has no room for it." : error.message);
      await this.refresh();
    }
  }
}

/** Of what it shows and how it was made, whatever is known of hashes by now. @param {import("./pictures.js").Picture} picture */
function digestOf({ image, job: { settings, adapters } }) {
  const sum = new Sha256();
  const made = JSON.stringify([settings, adapters.map((adapter) => [adapter.name, ...powersOf(adapter)])]);
  sum.update(new TextEncoder().encode(made));
  sum.update(new Uint8Array(image.data.buffer));
  return sum.hex().slice(0, 16);
}
