// The adapters on the model: added, replaced by newer files of their names, taken off.

import { contentOf } from "./content.js";
import { CRASH } from "./protocol.js";

/**
 * @typedef {object} AdapterFile
 * @property {string} name
 * @property {Blob} file
 * @property {?string} config      the text of its adapter_config.json
 * @property {string} [handle]
 * @property {FileSystemHandle} [place]   where it lies
 * @property {string} [entry]      of the library
 * @property {?import("./spread.js").Powers} [strength]   1 if it isn't said
 * @property {boolean} [off]       comes switched off
 * @property {string} [content]    tells it from others, where its bytes don't (a date is among them)
 * @property {boolean} [beside]    goes beside another one of its name, and doesn't replace it
 */
export class AdapterStack {
  #engine;
  #ui;
  #page;
  #added = 0;
  /** What each is, by its content. @type {Map<string, string>} */
  #contents = new Map();
  /** Its file, by handle. @type {Map<string, Blob>} */
  #files = new Map();
  /** Those without a card that waiting pictures are still drawn with. @type {Map<string, Promise<void>>} */
  #leaving = new Map();

  /**
   * @param {import("./engine.js").Engine} engine
   * @param {object} page   {state, turns, train, library, pictures, hasModel(), redraw(), strengthMoved()}
   */
  constructor(engine, ui, page) {
    this.#engine = engine;
    this.#ui = ui;
    this.#page = page;
  }

  /** @param {AdapterFile} adapter @returns {Promise<boolean>} whether it was added */
  add(adapter) {
    return this.#page.turns.take(async () => {
      const { list, messages } = this.#ui;
      const { state, train, library } = this.#page;
      if (!this.#page.hasModel()) {
        messages.error(adapter.name, "An adapter needs a model to go on. Load a model first.");
        return false;
      }
      try {
        const content = `${adapter.content ?? await contentOf(adapter.file)} ${adapter.config ?? ""}`;
        const twin = list.find(({ handle }) => this.#contents.get(handle) === content);
        if (twin) {
          messages.info(adapter.name, twin.name === adapter.name ? "This adapter is already here; see its card." : `This adapter is already here, as ${twin.name}: the same bytes under another name.`);
          return false;
        }
        const { file, config, place, entry, strength, off, handle = `adapter ${++this.#added}` } = adapter;
        const name = adapter.beside ? this.#unique(adapter.name) : adapter.name;
        const older = list.find((card) => card.name === name);
        await this.#leaving.get(handle); // the demo's come back under the handle that they had
        const report = await this.#page.pictures.between(`${name} is added after this picture`, () => {
          state.set("loading", `Adding ${name}…`);
          return train.interlude(() => this.#engine.addAdapter(handle, file instanceof File ? file.name : `${name}.safetensors`, file, config));
        });
        this.#contents.set(handle, content);
        this.#files.set(handle, file);
        list.add({ handle, name, size: file.size, report }, older?.handle);
        if (older) this.#forget(older.handle);
        else if (off || strength) list.setStrength(handle, off ? undefined : strength);
        if (!handle.startsWith("demo ")) library.adapterAdded({ handle, name, file, config, report, place, entry });
        const is = older ? "is the newer file now, at the strength that the older one had" : off ? "is switched off" : strength ? "is on as it was" : "is on at strength 1";
        if (older) messages.info(name, "The newer file took the place of the older one of this name, and its strength.");
        state.set("ready", `${name} ${is}`);
        this.#page.redraw();
        return true;
      } catch (error) {
        this.#notAdded(adapter.name, error);
        if (state.isLoading && error.name !== CRASH) state.set("ready", "Ready");
        return false;
      }
    });
  }

  /** Several at once come switched off, for a person to switch on. @param {AdapterFile[]} adapters */
  async addSeveral(adapters) {
    let added = 0;
    for (const adapter of adapters) added += await this.add({ ...adapter, off: true }) ? 1 : 0;
    if (added > 1) this.#ui.messages.info(`${added} adapters are here, switched off`, "Switch on those to draw with.");
  }

  /**
   * @param {{name: string, url: string}} adapter
   * @param {{strength?: import("./spread.js").Powers, off?: boolean}} [at]
   * @returns {Promise<boolean>} whether it was added
   */
  async addDemo({ name, url }, { strength, off } = {}) {
    try {
      const [{ blob }] = await this.#engine.fetchFiles([{ path: `${name}.safetensors`, url }]);
      return await this.add({ name, file: blob, config: null, handle: `demo ${name}`, strength, off });
    } catch (error) {
      this.#notAdded(name, error);
      return false;
    }
  }

  remove(handle) {
    return this.#page.turns.take(async () => {
      this.#ui.list.remove(handle);
      this.#page.strengthMoved();
      this.#forget(handle);
    });
  }

  /** @param {string} handle @returns {?Blob} */
  fileOf(handle) {
    return this.#files.get(handle) ?? null;
  }

  /** How those that were loaded fit another engine or model. @param {import("./engine.js").Refitted[]} outcome */
  refitted(outcome, reason) {
    const { list, messages } = this.#ui;
    for (const { handle, report, error } of outcome) {
      if (report) {
        list.setReport(handle, report);
      } else {
        messages.error(`${list.remove(handle)} ${reason}`, error.message);
        this.#forgotten(handle);
        this.#page.library.adapterRemoved(handle);
      }
    }
  }

  /** There is no model for them any more. */
  clear() {
    this.#contents.clear();
    this.#files.clear();
    for (const handle of this.#ui.list.clear()) this.#page.library.adapterRemoved(handle);
  }

  #forgotten(handle) {
    this.#contents.delete(handle);
    this.#files.delete(handle);
  }

  /** Its card is gone; it goes itself when no picture that was asked for with it waits any more. */
  #forget(handle) {
    this.#contents.delete(handle);
    this.#page.library.adapterRemoved(handle);
    this.#leaving.set(handle, this.#leave(handle).finally(() => this.#leaving.delete(handle)));
  }

  async #leave(handle) {
    try {
      await this.#page.pictures.without(handle);
      this.#forgotten(handle);
      await this.#page.train.interlude(() => this.#engine.removeAdapter(handle));
    } catch (error) {
      if (error.name !== CRASH) this.#ui.messages.error("The adapter was not removed", error.message);
    }
  }

  #unique(name) {
    let unique = name;
    for (let i = 2; this.#ui.list.find((card) => card.name === unique); i += 1) unique = `${name} (${i})`;
    return unique;
  }

  #notAdded(name, error) {
    if (error.name === CRASH) return; // told by whoever repairs it
    const gone = error.name === "NotReadableError" || error.name === "NotFoundError";
    this.#ui.messages.error(`${name} was not added`, gone ? "Its file can't be read: it was moved, changed or deleted meanwhile, or isn't on this machine yet. Drop it again." : error.message);
  }
}
