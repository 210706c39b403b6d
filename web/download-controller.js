// Wires downloads: from an address to an entry of the library. Nothing goes out before a click that says what does.

import { goesOut, readAddress, readHost } from "./download/address.js";
import { Gate } from "./download/gate.js";
import { KNOWN } from "./download/known.js";
import { size } from "./format.js";
import { newId } from "./library/shelf.js";

export class DownloadController {
  #library;
  #ui;
  /** @type {?import("./download/address.js").Address} */
  #address = null;
  /** @type {?import("./download/address.js").Choice} */
  #choice = null;
  /** @type {?import("./download/address.js").Choice[]} */
  #choices = null;
  #note = "";
  #looking = null;
  /**
   * Downloads under way: id to what stops them and when they have stopped.
   * @type {Map<string, {abort: AbortController, done: Promise<void>}>}
   */
  #running = new Map();

  /** @param {import("./library/library.js").Library} library */
  constructor(library, { dialog, panel, messages }) {
    this.#library = library;
    this.#ui = { dialog, panel, messages };
    dialog.setKnown(KNOWN);
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));
    on(dialog, "address", ({ text }) => this.#addressTyped(text));
    on(dialog, "ask", () => this.#ask());
    on(dialog, "choose", ({ choice }) => { this.#choice = choice; this.#show(); });
    on(dialog, "closed", () => this.#looking?.abort());
    on(panel, "resume", ({ entry }) => this.#run(entry));
    on(panel, "pause", ({ entry }) => this.#running.get(entry.id)?.abort.abort());
  }

  /** Stops a download, so that its entry can be deleted. */
  async stop(id) {
    const running = this.#running.get(id);
    running?.abort.abort();
    await running?.done;
  }

  // ---- the dialog --------------------------------------------------------------------------------

  #addressTyped(text) {
    this.#looking?.abort();
    this.#address = this.#choice = this.#choices = null;
    this.#note = "";
    if (!text.trim()) return this.#ui.dialog.show({});
    try {
      this.#address = readAddress(text);
      this.#choice = this.#address.choice ?? null;
      this.#show();
    } catch (error) {
      this.#ui.dialog.show({ problem: error.message });
    }
  }

  /** @param {object} [more] what else there is to say */
  #show(more = {}) {
    const address = this.#address;
    const choice = this.#choice;
    const go = choice ? `Download${choice.size ? ` (${size(choice.size)})` : ""}` : `Ask ${address.host}`;
    const asks = goesOut({ ...address, hosts: this.#hosts() }, choice);
    this.#ui.dialog.show({ asks, go, choices: this.#choices, note: this.#note, ...more });
  }

  /** Those that the address implies, and those that the person adds. Throws on one that is none. */
  #hosts() {
    return [...this.#address.hosts, ...this.#ui.dialog.hosts.map(readHost)];
  }

  async #ask() {
    try {
      if (this.#choice) await this.#begin();
      else await this.#lookUp();
    } catch (error) {
      if (error.name !== "AbortError") this.#show({ problem: error.message, further: error.kind === "policy" });
    }
  }

  async #lookUp() {
    const address = this.#address;
    const looking = this.#looking = new AbortController();
    this.#show({ busy: true });
    const gate = new Gate(this.#hosts());
    try {
      const { choices, note } = address.read(await gate.json(address.list, looking.signal));
      if (this.#address !== address) return;
      this.#choices = choices;
      this.#choice = choices[0];
      this.#note = note;
      this.#show();
    } finally {
      gate.close();
    }
  }

  async #begin() {
    const { dialog, panel } = this.#ui;
    const { sum } = dialog;
    if (sum && !/^[0-9a-f]{64}$/.test(sum)) throw new Error("A SHA-256 has 64 hexadecimal digits.");
    const { name, kind, hasTokenizer, parts, triggers = [], base = null, size: bytes } = this.#choice;
    if (sum && parts.length > 1) throw new Error("A sum can be checked for a single file only.");
    const room = await this.#library.room();
    if (room && bytes && room.quota - room.usage < bytes) {
      throw new Error(`It takes ${size(bytes)}, and the browser gives this page ${size(Math.max(0, room.quota - room.usage))} more. Delete something in the Library or free the disk first.`);
    }
    const source = { page: this.#address.page, hosts: this.#hosts(), licence: null };
    const wanted = sum ? parts.map((part) => ({ ...part, wanted: sum })) : parts;
    const entry = await this.#library.begin({ id: newId(), name, kind, hasTokenizer, triggers, base }, wanted, source);
    dialog.close();
    panel.reveal(entry.id);
    this.#library.persist();
    this.#run(entry);
  }

  // ---- what is under way -------------------------------------------------------------------------

  /** Fetches an entry, from where it is. */
  #run(entry) {
    if (this.#running.has(entry.id)) return;
    const abort = new AbortController();
    const done = this.#fetch(entry, abort.signal).finally(() => {
      this.#running.delete(entry.id);
      this.#ui.panel.setProgress(entry.id, null);
      this.#library.dispatchEvent(new CustomEvent("change"));
    });
    this.#running.set(entry.id, { abort, done });
  }

  async #fetch({ id, name, source }, signal) {
    const { panel, messages } = this.#ui;
    panel.setProgress(id, { phase: "asking", done: 0, total: null });
    const gate = new Gate(source.hosts);
    try {
      const onProgress = (progress) => panel.setProgress(id, progress);
      const whole = await this.#library.fetch(id, await gate.port(), { signal, onProgress });
      messages.info(`${name} is in the Library`, whole.kind === "model" ? "Load it there." : "Add it there.");
    } catch (error) {
      if (error.name !== "AbortError") messages.error(error.name === "Refused" ? `${name} was not downloaded` : `${name} is not whole yet`, error.message);
    } finally {
      gate.close();
    }
  }
}
