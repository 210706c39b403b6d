// The library's list: what is kept in this browser, searched, loaded, renamed and deleted here.

import { about, counted, megabytes, size } from "../format.js";
import { LIST_KIND } from "../prompt/lists.js";
import { wordsOf } from "../spread.js";
import { triggerChips } from "./trigger-chips.js";

const WHEN = new Intl.DateTimeFormat("en", { dateStyle: "medium" });
const HOW = { copy: "a copy in this browser", place: "where its file lies on this machine", download: "downloaded into this browser" };
/** From how many entries on there is a search. */
const MANY = 7;

/** What an entry is for, and what is said where that is done. */
const USE = { model: ["Load", "Loaded"], adapter: ["Add", "Added"], [LIST_KIND]: ["To prompt", ""] };
const DEEDS = { cancel: "Cancel", pause: "Pause", resume: "Resume" };

/**
 * Events: "use", "cancel", "pause" and "resume" {entry}, "rename" {id, name}, "delete" {entry}, "trigger" {word}, "persist".
 */
export class LibraryPanel extends EventTarget {
  #panel = document.querySelector("#library");
  #list = document.querySelector("#library-list");
  #search = document.querySelector("#library-search");
  #none = document.querySelector("#library-none");
  #room = document.querySelector("#library-room");
  #persist = document.querySelector("#library-persist");
  /** @type {import("../library/shelf.js").Listed[]} */
  #entries = [];
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  #loaded = { model: null, adapters: new Set() };
  #progress = new Map();
  /** An entry that is to be seen once it is in the list. */
  #reveal = null;

  constructor() {
    super();
    this.#search.addEventListener("input", () => this.#filter());
    this.#persist.addEventListener("click", () => this.#emit("persist"));
  }

  /** @param {import("../library/shelf.js").Listed[]} entries */
  show(entries) {
    this.#entries = entries;
    const models = entries.filter(({ kind }) => kind === "model").length;
    const lists = entries.filter(({ kind }) => kind === LIST_KIND).length;
    const adapters = entries.length - models - lists;
    const bytes = entries.filter(({ by }) => by !== "place").reduce((sum, entry) => sum + entry.size, 0);
    const words = [models && counted(models, "model"), adapters && counted(adapters, "adapter"), lists && counted(lists, "list"), bytes && size(bytes)].filter(Boolean);
    document.querySelector("#library-summary").textContent = words.join(", ");
    document.querySelector("#library-empty").hidden = entries.length > 0;
    this.#search.hidden = entries.length < MANY;
    if (this.#search.hidden) this.#search.value = "";

    // rows stay the same elements, so that focus and what is unfolded stay
    const before = this.#rows;
    this.#rows = new Map(entries.map((entry) => [entry.id, before.get(entry.id) ?? this.#row(entry)]));
    const rows = [...this.#rows.values()];
    // moved only where the order changed: a row that is taken out under a pointer loses its click
    if (rows.length !== this.#list.children.length || rows.some((row, i) => row !== this.#list.children[i])) this.#arrange(rows);
    for (const entry of entries) this.#fill(entry);
    this.#filter();
    if (this.#rows.has(this.#reveal)) {
      this.#rows.get(this.#reveal).scrollIntoView({ block: "nearest" });
      this.#reveal = null;
    }
  }

  #arrange(rows) {
    const active = /** @type {?HTMLElement} */ (document.activeElement);
    const inside = this.#list.contains(active);
    this.#list.replaceChildren(...rows);
    if (!inside) return;
    if (active.isConnected) active.focus({ preventScroll: true });
    else this.#panel.querySelector("summary").focus({ preventScroll: true });
  }

  /** @param {{model: ?string, adapters: Set<string>}} loaded ids of what is in use here */
  setLoaded(loaded) {
    this.#loaded = loaded;
    for (const entry of this.#entries) this.#fill(entry);
  }

  /** @param {?{done: number, total: number}} progress null: no more */
  setProgress(id, progress) {
    if (progress) this.#progress.set(id, progress);
    else this.#progress.delete(id);
    const entry = this.#entries.find((e) => e.id === id);
    if (entry) this.#fill(entry);
  }

  /** Unfolds the list and brings an entry into view. */
  reveal(id) {
    this.#panel.open = true;
    this.#reveal = id;
    this.#rows.get(id)?.scrollIntoView({ block: "nearest" });
  }

  /** @param {?{usage: number, quota: number, persisted: boolean}} room @param {?string} problem */
  setRoom(room, problem) {
    this.#persist.hidden = !room || room.persisted || this.#entries.length === 0;
    if (problem) this.#room.textContent = `${problem} What is dropped is there until the tab is closed.`;
    else if (!room) this.#room.textContent = "";
    else {
      const kept = room.persisted
        ? "The browser keeps it until you delete it."
        : "The browser may clear all of this when the disk gets short.";
      const used = room.usage < 1e6 ? "This page may use" : `${size(room.usage)} in use of`;
      this.#room.textContent = `${used} about ${size(room.quota)} of the browser's room. ${this.#entries.length > 0 ? kept : ""}`;
    }
  }

  /** @param {string} words what the gallery takes of the room */
  setGallery(words) {
    document.querySelector("#library-gallery").textContent = words;
  }

  #row(entry) {
    const row = /** @type {HTMLElement} */ (document.querySelector("#library-entry-template").content.firstElementChild.cloneNode(true));
    const find = (selector) => row.querySelector(selector);
    row.dataset.entry = entry.id;
    find(".entry-use").addEventListener("click", () => {
      const now = this.#of(entry.id);
      this.#emit(this.#deed(now), { entry: now });
    });
    find(".entry-delete").addEventListener("click", () => this.#emit("delete", { entry: this.#of(entry.id) }));
    find("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = find("form input").value.trim();
      if (name && name !== this.#of(entry.id).name) this.#emit("rename", { id: entry.id, name });
      find("details").open = false;
      find("summary").focus();
    });
    find("details").addEventListener("toggle", () => { find("form input").value = this.#of(entry.id)?.name ?? ""; });
    return row;
  }

  #of(id) {
    return this.#entries.find((entry) => entry.id === id);
  }

  #fill(entry) {
    const row = this.#rows.get(entry.id);
    const find = (selector) => row.querySelector(selector);
    const { id, kind, name, by, state, gone, source, files, triggers, base, strength } = entry;
    const inUse = this.#loaded.model === id || this.#loaded.adapters.has(id);
    row.toggleAttribute("data-gone", gone);
    row.dataset.state = state;
    find(".entry-name").textContent = name;
    find(".entry-words").textContent = this.#words(entry);
    find(".entry-rename").hidden = state !== "whole" || gone;

    const use = find(".entry-use");
    const progress = this.#progress.get(id);
    const deed = this.#deed(entry);
    use.hidden = !deed;
    use.disabled = deed === "use" && inUse;
    const [does, done] = USE[kind];
    use.textContent = deed === "use" ? (inUse ? done : does) : gone ? "Fetch again" : DEEDS[deed] ?? "";
    use.setAttribute("aria-label", `${use.textContent} ${name}`);
    find(".entry-delete").setAttribute("aria-label", `Delete ${name}`);
    find(".entry-delete").disabled = entry.busy && !progress;
    find(".entry-delete").textContent = state === "whole" ? "Delete…" : "Cancel and delete…";

    const bar = find("progress");
    bar.hidden = !progress;
    bar.setAttribute("aria-label", `${by === "download" ? "Downloading" : "Copying"} ${name}`);
    if (progress?.total) bar.value = progress.done / progress.total;
    else bar.removeAttribute("value");

    const facts = [
      ["Kept", state === "whole" ? HOW[by] : null],
      ["Since", WHEN.format(new Date(entry.added))],
      ["Trained on", base],
      ["Strength", strength && (strength.unet === strength.textEncoder ? strength.unet : `UNet ${strength.unet}, text encoder ${strength.textEncoder}`)],
      ["Blocks and steps", strength?.spread && wordsOf(strength.spread)],
      ["From", source?.page],
      ["Licence", source?.licence],
      ["Files", files.length > 1 ? String(files.length) : null],
      ["SHA-256", files.length === 1 ? files[0].sha256 : null],
    ];
    find(".facts").replaceChildren(...facts.filter(([, value]) => value).flatMap(([term, value]) => [
      Object.assign(document.createElement("dt"), { textContent: term }),
      Object.assign(document.createElement("dd"), { textContent: value }),
    ]));
    this.#fillTriggers(find(".triggers"), triggers);
  }

  /** Made anew only where they changed, so that the focus stays. */
  #fillTriggers(box, triggers) {
    const text = triggers.join("\n");
    if (box.dataset.words === text) return;
    box.dataset.words = text;
    box.hidden = triggers.length === 0;
    box.replaceChildren(...triggerChips(triggers, (word) => this.#emit("trigger", { word })));
  }

  /** What its button does. @returns {?"use"|"cancel"|"pause"|"resume"} */
  #deed({ id, state, gone, by, busy }) {
    if (this.#progress.has(id)) return by === "download" ? "pause" : "cancel";
    if (state === "whole" && !gone) return "use";
    return by === "download" && !busy ? "resume" : null;
  }

  #words({ id, kind, size: bytes, state, by, gone, busy, used, triggers, files, note, source }) {
    const progress = this.#progress.get(id);
    if (progress) return moving(progress, by);
    if (gone) return `its files are gone: the browser cleared them to make room${source ? `. “Fetch again” asks ${new URL(source.page).host}` : ""}`;
    if (state !== "whole") {
      if (busy) return "being written in another tab";
      const have = files.reduce((sum, file) => sum + (file.sha256 ? file.size : file.have ?? 0), 0);
      const total = files.every((file) => file.size !== null) ? ` of ${size(files.reduce((sum, file) => sum + file.size, 0))}` : "";
      const far = have > 0 ? `paused at ${size(have)}${total}` : "not begun";
      return [far, note ?? `Resume asks ${new URL(source.page).host} again`].join(" · ");
    }
    return [kind, size(bytes), by === "place" && "where it lies", WHEN.format(new Date(used)), triggers.slice(0, 3).join(", ")].filter(Boolean).join(" · ");
  }

  #filter() {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { id, kind, name, triggers, base } of this.#entries) {
      const text = [kind, name, base, ...triggers].join(" ").toLowerCase();
      const row = this.#rows.get(id);
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    this.#none.hidden = shown > 0 || this.#entries.length === 0;
    this.#none.textContent = this.#none.hidden ? "" : "Nothing of that name.";
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** @param {import("../download/fetcher.js").FetchProgress} progress */
function moving({ phase, done, total, speed, left, why }, by) {
  const far = total ? `${megabytes(done)} of ${megabytes(total)}` : megabytes(done);
  if (by !== "download") return `copying, ${far}`;
  if (phase === "asking") return "asking the host";
  if (phase === "checking") return `reading what is there, ${far}`;
  if (phase === "waiting") return `${far} · waiting to try again: ${why}`;
  return [far, speed && `${megabytes(speed)}/s`, left && `about ${about(left)} left`].filter(Boolean).join(" · ");
}
