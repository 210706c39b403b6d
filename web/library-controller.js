// Wires the library to the page: what is loaded can be kept, what is kept can be loaded, and the last model opens
// by itself. Nothing is copied unless somebody ticked that it shall be.

import { DownloadController } from "./download-controller.js";
import { megabytes, size } from "./format.js";
import { Library } from "./library/library.js";
import { newId } from "./library/shelf.js";
import { whyNotKept } from "./library/why-not.js";
import { onceMore } from "./once-more.js";
import { LIST_KIND, nameOfList } from "./prompt/lists.js";
import { recall, remember } from "./storage.js";

const LAST = "lastModel";
/** The entry that is being loaded: found at the next visit, the page ended over it. */
const OPENING = "opening";
const KEEP_MODELS = "keep.models";
const KEEP_ADAPTERS = "keep.adapters";
const KEEP_HOW = "keep.how";
/** How long a strength rests before it is kept. */
const REST_MS = 600;

/**
 * @typedef {object} Keepable   what both models and adapters that are loaded have
 * @property {?FileSystemHandle} place   where its file lies, if the browser can find it again
 * @property {?string} entry             of the library; null: it isn't kept
 * @property {?string} [copying]         the entry that is being written
 * @typedef {Keepable & {title: string, files: {path: string, blob: Blob}[], hasTokenizer: boolean}} KeepableModel
 * @typedef {Keepable & {name: string, file: Blob, config: ?string, report: import("./protocol.js").CoverageReport}} KeepableAdapter
 *
 * @typedef {object} Page   what the library asks of the page
 * @property {(model: {name: string, files: object[], hasTokenizer: boolean, entry: string}) => Promise<boolean>} loadModel
 *   false: it was not loaded
 * @property {(adapter: import("./adapter-stack.js").AdapterFile) => Promise<boolean>} addAdapter
 * @property {(handle: string) => Promise<void>} removeAdapter
 * @property {() => Promise<boolean>} loadDemo
 * @property {(words: string) => void} addToPrompt
 * @property {(file: Blob, sha256: string) => void} sumKnown   of a file that is kept
 * @property {(title: string, text: string, yes: string) => Promise<boolean>} confirmed
 */

export class LibraryController {
  #library;
  #ui;
  /** @type {Page} */
  #page;
  /** @type {?KeepableModel} null: the demo model */
  #model = null;
  /** @type {Map<string, KeepableAdapter>} */
  #adapters = new Map();
  #downloads;
  /** Copies under way: id to what stops them. */
  #copies = new Map();
  #queue = Promise.resolve();
  #rest = 0;
  #strengths = new Map();

  /** @param {Library} library @param {Page} page */
  constructor(library, ui, page) {
    this.#library = library;
    this.#ui = ui;
    this.#page = page;
    const { panel, keepModel, keepAdapters } = ui;
    this.#downloads = new DownloadController(library, ui);
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));
    on(library, "change", () => this.refresh());
    on(panel, "use", ({ entry }) => this.use(entry));
    on(panel, "cancel", ({ entry }) => this.#copies.get(entry.id)?.abort());
    on(panel, "rename", ({ id, name }) => this.#attempt("It was not renamed", () => library.change(id, { name })));
    on(panel, "delete", ({ entry }) => this.#delete(entry));
    on(panel, "trigger", ({ word }) => page.addToPrompt(word));
    on(panel, "persist", () => this.persist());
    on(keepModel, "keep", ({ how }) => this.#keepModelAsked(how));
    on(keepModel, "leave", () => remember(KEEP_MODELS, false));
    on(keepModel, "how", ({ how }) => { remember(KEEP_HOW, how); this.#showKeepModel(); });
    on(keepModel, "cancel", () => {
      remember(KEEP_MODELS, false);
      this.#copies.get(this.#model?.copying)?.abort();
    });
    on(keepAdapters, "keep", () => this.#keepAdaptersAsked());
    on(keepAdapters, "leave", () => remember(KEEP_ADAPTERS, false));
    on(keepAdapters, "cancel", () => {
      remember(KEEP_ADAPTERS, false);
      for (const { copying } of this.#adapters.values()) this.#copies.get(copying)?.abort();
    });
  }

  /** Whether a model may be there to open by itself. */
  get hasLast() {
    return !Library.problem && Boolean(recall(LAST));
  }

  /** Opens the model of the last visit. @returns {Promise<boolean>} false: there is none, or it can't be had without a click */
  async openLast() {
    const id = recall(LAST);
    const stopped = recall(OPENING) === id;
    remember(OPENING, null);
    const entry = await this.#library.list().then((entries) => entries.find((e) => e.id === id), () => null);
    if (!entry) {
      remember(LAST, null);
      return false;
    }
    const tell = (text) => this.#ui.messages.info(`${entry.name} was not opened by itself`, text);
    if (entry.gone) {
      tell("The browser cleared its files to make room. Drop it again.");
    } else if (stopped) {
      tell("The page ended while it was loading it. It is in the Library, to load by hand.");
    } else if (entry.by === "place" && await entry.handle.queryPermission({ mode: "read" }) !== "granted") {
      tell("The browser asks before its file is read: press Load in the Library.");
    } else {
      return this.use(entry);
    }
    return false;
  }

  /**
   * Loads a model, adds an adapter (at its last strength, if nothing else is said), names a list in the prompt.
   * @returns {Promise<boolean>}
   */
  async use(entry, at = {}) {
    const { id, kind, name } = entry;
    if (kind === LIST_KIND) {
      this.#page.addToPrompt(`__${nameOfList(name)}__`);
      return true;
    }
    try {
      const { files, entry: { hasTokenizer, config, strength, by, files: parts } } = await this.#library.open(id);
      const named = files.map(({ path, blob }) => ({ path, blob: new File([blob], path.split("/").at(-1)) }));
      // a file that lies elsewhere may be another one by now
      if (by !== "place") parts.forEach(({ sha256 }, i) => sha256 && this.#page.sumKnown(named[i].blob, sha256));
      const done = kind === "model"
        ? await this.#opening(id, () => this.#page.loadModel({ name, files: named, hasTokenizer, entry: id }))
        : await this.#page.addAdapter({ name, file: named[0].blob, config, entry: id, strength, ...at });
      if (!done && !this.#inUse(id)) this.#library.release(id);
      return done;
    } catch (error) {
      this.#ui.messages.error(`${name} was not loaded`, error.message);
      this.refresh();
      return false;
    }
  }

  /**
   * Adds the adapter that was used last of those whose name will do.
   * @param {(name: string) => boolean} isIt
   * @param {{strength?: import("./spread.js").Powers, off?: boolean}} at
   * @returns {Promise<boolean>}
   */
  async useAdapter(isIt, at) {
    if (Library.problem) return false;
    const entries = await this.#library.list().catch(() => []);
    const found = entries.filter(({ kind, name, gone, state }) => kind === "adapter" && !gone && state === "whole" && isIt(name));
    const [entry] = found.toSorted((a, b) => (b.used ?? "").localeCompare(a.used ?? ""));
    return entry ? this.use(entry, at) : false;
  }

  async #opening(id, load) {
    remember(OPENING, id);
    try {
      return await load();
    } finally {
      remember(OPENING, null);
    }
  }

  // ---- what the page says ------------------------------------------------------------------------

  /** @param {?Partial<Keepable> & Omit<KeepableModel, keyof Keepable>} model null: the demo model */
  modelLoaded(model) {
    const before = this.#model?.entry;
    this.#model = model && { place: null, entry: null, ...model };
    if (before && before !== model?.entry) this.#library.release(before);
    remember(LAST, model?.entry ?? null);
    this.#showLoaded();
    this.#showKeepModel();
    if (this.#model && !this.#model.entry && !Library.problem) this.#lookUp(this.#model);
  }

  /** Not for the demo's adapters, which are always there. */
  adapterAdded({ handle, name, file, config, report, place = null, entry = null }) {
    const adapter = { name, file, config, report, place, entry };
    this.#adapters.set(handle, adapter);
    this.#showLoaded();
    this.#showKeepAdapters();
    if (entry) this.#library.change(entry, { triggers: report.trigger_words ?? [], base: report.base_model ?? null }).catch(() => {});
    else if (recall(KEEP_ADAPTERS) && !Library.problem) this.#keepAdapter(adapter);
  }

  adapterRemoved(handle) {
    const { entry } = this.#adapters.get(handle) ?? {};
    this.#adapters.delete(handle);
    if (entry) this.#library.release(entry);
    this.#showLoaded();
    this.#showKeepAdapters();
  }

  /** Remembers the strengths of those that are kept. @param {import("./pictures.js").Strength[]} active */
  strengthsMoved(active) {
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      for (const { handle, unet, textEncoder, spread } of active) {
        this.#keepStrength(handle, { unet, textEncoder, ...spread && { spread } });
      }
    }, REST_MS);
  }

  #keepStrength(handle, strength) {
    const entry = this.#adapters.get(handle)?.entry;
    const text = JSON.stringify(strength);
    if (!entry || this.#strengths.get(entry) === text) return;
    this.#strengths.set(entry, text);
    this.#library.change(entry, { strength }).catch(() => {});
  }

  /** Shows the list as it is now. */
  refresh = onceMore(() => this.#show(), (error) => {
    this.#ui.panel.setRoom(null, `The library could not be opened (${error.message}).`);
  });

  async #show() {
    const problem = Library.problem;
    const entries = problem ? [] : await this.#library.list();
    this.#forgetDeleted(entries);
    this.#ui.panel.show(entries);
    this.#ui.panel.setRoom(await this.#library.room(), problem);
  }

  /** What another tab, or the list, has deleted can be kept anew. */
  #forgetDeleted(entries) {
    const there = new Set(entries.map(({ id }) => id));
    const lost = (loaded) => loaded?.entry && !there.has(loaded.entry);
    if (lost(this.#model)) {
      this.#model.entry = null;
      remember(LAST, null);
      this.#showKeepModel();
    }
    for (const adapter of this.#adapters.values()) if (lost(adapter)) adapter.entry = null;
    this.#showLoaded();
    this.#showKeepAdapters();
  }

  // ---- keeping -----------------------------------------------------------------------------------

  /** A model that was dropped may be here already; else it is kept if that is what was wished before. */
  async #lookUp(model) {
    const known = await this.#library.find(model.files).catch(() => null);
    if (this.#model !== model || model.entry || model.copying) return;
    if (known) this.#kept(model, known);
    else if (recall(KEEP_MODELS)) this.#keepModel(model, recall(KEEP_HOW, "copy"));
  }

  #keepModelAsked(how) {
    remember(KEEP_MODELS, true);
    this.#keepModel(this.#model, how);
  }

  #keepModel(model, how) {
    const { title, files, hasTokenizer } = model;
    const place = how === "place" ? model.place : null;
    return this.#copy(model, { kind: "model", name: title, hasTokenizer }, files, place, (note, copying) => {
      if (this.#model === model) this.#showKeepModel(note, copying);
    });
  }

  #keepAdaptersAsked() {
    remember(KEEP_ADAPTERS, true);
    for (const adapter of this.#adapters.values()) this.#keepAdapter(adapter);
  }

  #keepAdapter(adapter) {
    const { name, file, config, report, entry, copying } = adapter;
    if (entry || copying) return;
    const about = { kind: "adapter", name, config, triggers: report.trigger_words ?? [], base: report.base_model ?? null };
    const files = [{ path: `${name}.safetensors`, blob: file }];
    this.#copy(adapter, about, files, null, (note, busy) => this.#showKeepAdapters(note, busy));
  }

  /** Copies one after another. `tell` gets a line, and whether it is still copying. */
  #copy(loaded, about, files, handle, tell) {
    const id = newId();
    const abort = new AbortController();
    const total = files.reduce((sum, { blob }) => sum + blob.size, 0);
    loaded.copying = id;
    this.#copies.set(id, abort);
    tell("", true);
    this.#queue = this.#queue.then(async () => {
      try {
        if (!handle) await this.#roomFor(total);
        const onProgress = (progress) => {
          this.#ui.panel.setProgress(id, progress);
          tell(`${about.name}: ${handle ? "reading" : "copying"}, ${megabytes(progress.done)} of ${megabytes(total)}`, true);
        };
        const { entry } = await this.#library.keep({ ...about, id }, files, { handle, signal: abort.signal, onProgress });
        loaded.copying = null;
        this.#kept(loaded, entry);
        tell("", false);
        await this.#library.persist();
      } catch (error) {
        loaded.copying = null;
        tell(error.name === "AbortError" ? "" : whyNotKept(about.name, error, total, await this.#library.room()), false);
      } finally {
        this.#copies.delete(id);
        this.#ui.panel.setProgress(id, null);
        this.refresh();
      }
    });
  }

  async #roomFor(bytes) {
    const room = await this.#library.room();
    if (room && room.quota - room.usage < bytes) throw new DOMException("There is no room.", "QuotaExceededError");
  }

  #kept(loaded, entry) {
    loaded.entry = entry.id;
    if (loaded === this.#model) {
      remember(LAST, entry.id);
      this.#showKeepModel();
    }
    this.#showLoaded();
    this.#showKeepAdapters();
  }

  // ---- deleting ----------------------------------------------------------------------------------

  async #delete(entry) {
    const { id, name, by, state } = entry;
    const loaded = this.#model?.entry === id;
    const what = state !== "whole" ? "What came of it so far goes." : by === "place" ? "The library forgets it; its file stays where it lies." : `Its ${size(entry.size)} in this browser go for good.`;
    const then = loaded ? " It is loaded: the demo model takes its place." : this.#inUse(id) ? " Its card goes too." : "";
    if (!await this.#page.confirmed(`Delete ${name} from the library?`, what + then, "Delete")) return;
    await this.#remove(entry);
  }

  /** @param {"model"|"adapter"|"wildcards"} kind */
  async deleteAll(kind) {
    for (const entry of await this.#library.list()) if (entry.kind === kind) await this.#remove(entry);
  }

  #remove({ id, kind, name }) {
    return this.#attempt(`${name} was not deleted`, async () => {
      await this.#downloads.stop(id);
      if (this.#model?.entry === id && !await this.#page.loadDemo()) return;
      for (const [handle, { entry }] of [...this.#adapters]) if (entry === id) await this.#page.removeAdapter(handle);
      if (kind === "model" && recall(LAST) === id) remember(LAST, null);
      await this.#library.remove(id);
    });
  }

  async persist() {
    const { messages } = this.#ui;
    if (await this.#library.persist()) messages.info("The library stays", "The browser keeps it until you delete it.");
    else messages.info("The browser didn't promise it", "It may still clear the files when the disk gets short. A bookmark of this page, or installing it, often changes its mind.");
    this.refresh();
  }

  async #attempt(title, work) {
    try {
      await work();
    } catch (error) {
      this.#ui.messages.error(title, error.message);
    }
    this.refresh();
  }

  // ---- what is shown -----------------------------------------------------------------------------

  #inUse(id) {
    return this.#model?.entry === id || [...this.#adapters.values()].some(({ entry }) => entry === id);
  }

  #showLoaded() {
    const adapters = new Set([...this.#adapters.values()].map(({ entry }) => entry).filter(Boolean));
    this.#ui.panel.setLoaded({ model: this.#model?.entry ?? null, adapters });
  }

  #showKeepModel(note = "", copying = false) {
    const { keepModel } = this.#ui;
    const model = this.#model;
    if (!model || Library.problem) return keepModel.show({ shown: false });
    const kept = Boolean(model.entry);
    const bytes = model.files.reduce((sum, { blob }) => sum + blob.size, 0);
    const how = model.place ? recall(KEEP_HOW, "copy") : "copy";
    const words = kept ? "Kept for the next visit" : how === "place" ? "Keep it for the next visit (no copy; the browser asks again)" : `Keep it for the next visit (${size(bytes)})`;
    keepModel.show({ shown: true, words, checked: kept || copying, settled: kept, places: Boolean(model.place), how, note, copying });
  }

  #showKeepAdapters(note = "", copying = false) {
    const open = [...this.#adapters.values()].filter(({ entry }) => !entry);
    const busy = copying || open.some((adapter) => adapter.copying);
    const words = open.length === 0 ? "Kept for the next visit" : "Keep them for the next visit";
    this.#ui.keepAdapters.show({
      shown: this.#adapters.size > 0 && !Library.problem,
      words,
      checked: open.length === 0 || Boolean(recall(KEEP_ADAPTERS)),
      settled: open.length === 0,
      note,
      copying: busy,
    });
  }
}
