// Wires the storage panel: what is kept in this browser, and what deletes it by kind.

import { counted, size } from "./format.js";
import { folders, forgetSmall, page, small } from "./kept.js";
import { LIST_KIND } from "./prompt/lists.js";

/** Folders of the browser's private files that have rows of their own. */
const OWN = ["library", "runs", "draft", "gallery"];

/** So much a draft without pictures takes at most: nobody has put anything there. */
const EMPTY_DRAFT = 10_000;

/**
 * @typedef {object} StorageHost   what it asks of the page
 * @property {() => Promise<import("./library/shelf.js").Listed[]>} entries
 * @property {(kind: "model"|"adapter"|"wildcards") => Promise<void>} deleteEntries
 * @property {() => Promise<{size: number}[]>} runs   but for the one in hand
 * @property {() => Promise<void>} deleteRuns
 * @property {() => Promise<?{usage: number, quota: number, persisted: boolean}>} room
 * @property {() => Promise<void>} persist
 * @property {(title: string, text: string, yes: string) => Promise<boolean>} confirmed
 */

export class StorageController {
  #dialog;
  /** @type {StorageHost} */
  #host;

  /** @param {import("./ui/storage-dialog.js").StorageDialog} dialog @param {StorageHost} host */
  constructor(dialog, host) {
    this.#dialog = dialog;
    this.#host = host;
    dialog.addEventListener("open", () => this.#show());
    dialog.addEventListener("delete", ({ detail }) => this.#delete(detail.id));
    dialog.addEventListener("persist", async () => {
      await host.persist();
      await this.#show();
    });
  }

  async #show() {
    const { entries, runs, room } = this.#host;
    const [listed, trained, sizes, own, space] = await Promise.all([entries(), runs(), folders(), page(), room()]);
    const kept = (kind) => listed.filter((entry) => entry.kind === kind && entry.by !== "place").reduce((sum, entry) => sum + entry.size, 0);
    const count = (kind, word) => counted(listed.filter((entry) => entry.kind === kind).length, word);
    const [models, adapters, lists] = [kept("model"), kept("adapter"), kept(LIST_KIND)];
    const run = trained.reduce((sum, one) => sum + one.size, 0);
    const inHand = Math.max(0, (sizes.runs ?? 0) - run) + (sizes.draft ?? 0);
    const hand = inHand > EMPTY_DRAFT ? inHand : 0;
    const rest = Object.entries(sizes).reduce((sum, [name, bytes]) => sum + (OWN.includes(name) ? 0 : bytes), 0);
    const rows = [
      { id: "model", name: "Models", about: count("model", "model"), bytes: models, deed: "Delete…" },
      { id: "adapter", name: "Adapters", about: count("adapter", "adapter"), bytes: adapters, deed: "Delete…" },
      { id: LIST_KIND, name: "Wildcard lists", about: count(LIST_KIND, "list"), bytes: lists, deed: "Delete…" },
      { id: "runs", name: "Training runs", about: counted(trained.length, "run"), bytes: run, deed: "Delete…" },
      { id: "hand", name: "Training in hand", about: "the open run, pictures and captions: in the Train tab", bytes: hand, deed: null },
      { id: "pictures", name: "Pictures", about: "the gallery, where they are deleted", bytes: sizes.gallery ?? 0, deed: null },
      { id: "small", name: "Prompts and settings", about: "earlier prompts, negative ones, choices", bytes: small(), deed: "Forget…" },
      { id: "page", name: "The page itself", about: "so that it works offline; each visit keeps it anew", bytes: own, deed: null },
      { id: "rest", name: "Other", about: "of another page at this address", bytes: rest, deed: null },
    ];
    const always = ["model", "adapter", "runs"];
    const lasts = space?.persisted ? "The browser keeps it until you delete it." : "The browser may clear all of it when the disk gets short.";
    const total = space ? `${size(space.usage)} in use, of about ${size(space.quota)} that the browser gives this page. ${lasts}` : "This browser doesn't tell how much is in use.";
    this.#dialog.show(rows.filter(({ id, bytes }) => bytes > 0 || always.includes(id)), total, Boolean(space && !space.persisted));
  }

  async #delete(id) {
    const deeds = {
      model: ["Delete all models from the library?", "What was copied or downloaded goes for good; files that are only remembered stay where they lie. If one is loaded, the demo model takes its place.", () => this.#host.deleteEntries("model")],
      adapter: ["Delete all adapters from the library?", "What was copied or downloaded goes for good, and so do the cards of those in use.", () => this.#host.deleteEntries("adapter")],
      [LIST_KIND]: ["Delete all wildcard lists?", "Prompts that name them draw from them no more.", () => this.#host.deleteEntries(LIST_KIND)],
      runs: ["Delete all training runs?", "Their snapshots, pictures and captions go, and adapters that were not exported. The run in hand stays, and so does what another tab has open.", () => this.#host.deleteRuns()],
      small: ["Forget prompts and settings?", "Earlier prompts, your negative prompts, settings, and what you chose on this page. What stands in the fields stays until the tab is closed.", async () => forgetSmall()],
    };
    const [title, text, act] = deeds[id];
    if (!await this.#host.confirmed(title, text, id === "small" ? "Forget" : "Delete")) return;
    await act();
    if (this.#dialog.isOpen) await this.#show();
  }
}
