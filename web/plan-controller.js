// Wires what a run will be: pictures with their captions, settings, and what they come to on this machine.
// train-controller.js wires the run.

import { DEMO_PICTURES, previewSettings } from "./demo.js";
import { CRASH } from "./protocol.js";
import { recall, remember } from "./storage.js";
import { captionsOf, pictureOf } from "./train/captions.js";
import { Draft } from "./train/draft.js";
import { PRESETS } from "./train/fields.js";
import { Pace } from "./train/pace.js";
import { PictureSet, stemOf } from "./train/picture-set.js";
import { estimateWords, roomNotes } from "./train/words.js";

const REST_MS = 250;

/**
 * @typedef {{key: string, title: string, isDemo: boolean, report: object, backend: string, id: string, content: string}} TrainModel
 *
 * @typedef {object} PlanHost   what it asks of the Train tab
 * @property {() => ?import("./train/trainer.js").Trainer} trainer
 * @property {() => void} refresh
 * @property {() => Promise<void>} newRun     puts the run in hand away
 * @property {() => void} previewChanged
 * @property {(files: object[], role: string) => void} openFiles
 * @property {(title: string, work: () => Promise<void>) => Promise<void>} attempt   tells what fails
 * @property {(error: Error) => boolean} passing   whether an error is not of what was asked for
 */
export class PlanController {
  #engine;
  #ui;
  /** @type {PlanHost} */
  #host;
  #set = new PictureSet();
  /** Keeps pictures and captions until there is a run. */
  #draft = new Draft();
  /** Those of the draft that wait until the run in hand is put away. @type {import("./train/draft.js").DraftPicture[]} */
  #waiting = [];
  #returning = false;
  /** @type {?TrainModel} */
  #model = null;
  /** @type {?Pace} */
  #pace = null;
  #presets = null;
  /** The settings that are not those of a run. */
  #settings = null;
  #estimate = { serial: 0, timer: 0, good: false, problem: "", words: "" };
  #inspect = { serial: 0, timer: 0 };
  #promptTouched = false;

  /** @type {?{usage: number, quota: number}} what the browser gives and what is taken of it */
  room = null;

  /** @param {PlanHost} host */
  constructor(engine, ui, host) {
    this.#engine = engine;
    this.#ui = ui;
    this.#host = host;
    this.#wire();
  }

  #wire() {
    const { pictures, settings, preview } = this.#ui;
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));
    on(pictures, "files", ({ files, role }) => this.#host.openFiles(files, role));
    on(pictures, "demo", () => this.#addDemo());
    on(pictures, "remove", ({ id }) => this.#remove(id));
    on(pictures, "role", ({ id, role }) => { this.#set.find(id).role = role; this.changed(false); });
    on(pictures, "caption", ({ id, caption }) => { this.#set.find(id).caption = caption; this.#keepDraft(); this.#suggestPrompt(); });
    on(pictures, "options", ({ trigger, flip }) => {
      settings.set("trigger", trigger);
      settings.set("flip", flip);
      this.#settingsChanged();
    });
    on(settings, "preset", ({ name }) => {
      settings.usePreset(name, this.#presets[name]);
      this.#settingsChanged();
    });
    on(settings, "change", () => this.#settingsChanged());
    on(preview, "change", () => {
      this.#promptTouched = true;
      this.#host.previewChanged();
    });
  }

  /** The pictures of an earlier visit come back, as soon as no other tab has them. */
  openDraft() {
    this.#draft.addEventListener("back", ({ detail }) => this.#draftBack(detail));
    this.#draft.open();
  }

  // ---- asked by the Train tab --------------------------------------------------------------------

  get set() { return this.#set; }

  get pace() { return this.#pace; }

  /** Whether there is a model that can be trained. */
  get isTrainable() { return Boolean(this.#model && this.#presets); }

  /** Whether a run can start, as far as pictures and settings go. */
  get isGood() { return this.#set.counts.train > 0 && this.#estimate.good; }

  /** What a run comes to, or what is in the way. @returns {{words: string, problem: string}} */
  get estimate() { return this.#estimate; }

  /** Whether pictures would go with the tab. */
  get unkept() { return this.#draft.unkept; }

  get #isOpen() { return this.#host.trainer()?.state === "none"; }

  /** @param {?TrainModel} model */
  async setModel(model) {
    this.#model = model;
    this.#pace = model && new Pace(model);
    this.#ui.pictures.offerDemo(Boolean(model?.isDemo));
    this.#ui.settings.setModel(model?.title);
    this.#presets = null;
    if (!model) return;
    try {
      const names = Object.keys(PRESETS);
      const configs = await Promise.all(names.map((name) => this.#engine.trainPreset(name)));
      this.#presets = Object.fromEntries(names.map((name, i) => [name, configs[i]]));
      this.#writeRemembered();
    } catch (error) {
      if (error.name !== CRASH) this.#ui.messages.error("This model cannot be trained", error.message);
    }
  }

  /** The same model is on another backend now. */
  setBackend(backend) {
    if (!this.#model) return;
    this.#model.backend = backend;
    this.#pace = new Pace(this.#model);
  }

  /**
   * Pictures that were dropped or chosen, and texts that may be captions; shows the tab when there is one.
   * @returns {Promise<string[]>} names of the texts that belong to no picture
   */
  async addFiles(pictures, texts, role) {
    if (pictures.length > 0 && !await this.#unlocked()) {
      this.#ui.tabs.show("train");
      return [];
    }
    const { captions, unreadable } = await captionsOf(texts);
    for (const name of unreadable) this.#ui.messages.error(name, "This caption can't be read as text, or is longer than 1 MB. Save it anew in a text editor, as UTF-8.");
    const refused = await this.#set.add(pictures.map(({ name, path, file }) => ({ name, path, file, role, caption: captions.get(stemOf(path)) ?? "" })));
    for (const { name, problem } of refused) this.#ui.messages.error(name, problem);
    if (refused.length < pictures.length) this.#ui.tabs.show("train");
    const known = new Set(pictures.map(({ path }) => stemOf(path)));
    const belongs = (of) => known.has(of) || this.#set.setCaption(of, captions.get(of));
    const lost = texts.filter(({ path }) => !unreadable.includes(path) && !belongs(pictureOf(path)));
    const { settings } = this.#ui;
    if (role === "class" && settings.config?.prior.weight === 0) settings.set("prior.weight", 1);
    this.changed();
    return lost.map(({ path }) => path);
  }

  /** What is to be started; null: something is lacking, or wrong, which is shown then. */
  order() {
    const { settings } = this.#ui;
    const { config } = settings;
    if (!config || !this.#model) return null;
    if (!settings.valid) {
      settings.report(); // its words follow
      return null;
    }
    const title = config.trigger || this.#set.of("train").find(({ caption }) => caption)?.caption || "adapter";
    return { config, title, model: { key: this.#model.content, title: this.#model.title }, preview: this.previewSettings(config) };
  }

  /** The settings of the form are kept for after the run. */
  keepSettings() {
    const { config, preset } = this.#ui.settings;
    this.#settings ??= { config, preset };
  }

  /** A run has the pictures now. */
  handedOver() {
    this.#draft.keep([]);
    this.#draft.flush();
  }

  /**
   * What is on show waits until the run that is about to be opened is put away.
   * @param {Blob[]} own files on show that the run has: they are no draft
   */
  async makeWay(own, open) {
    const draft = this.#isOpen ? this.#set.items.filter(({ file }) => !own.includes(file)) : [];
    await this.#draft.flush();
    await open();
    this.#waiting.unshift(...draft);
    this.#draft.keep(this.#waiting);
  }

  /** Shows the pictures and settings of a run. @param {import("./train/store.js").Run} run */
  async showRun(run) {
    const { record } = run;
    const { settings, pictures, preview } = this.#ui;
    settings.write(record.config);
    pictures.writeOptions(record.config);
    preview.write(record.preview);
    this.#set.clear();
    await this.#set.add(await Promise.all(record.pictures.map(async ({ path, name, caption, role, type }) => {
      const blob = await run.read(path);
      return { name, caption, role, file: new File(blob ? [await blob.arrayBuffer()] : [], name, { type }) };
    })));
    this.changed();
  }

  /** The run was put away: back to what there was before it. */
  runLeft() {
    const { settings, pictures } = this.#ui;
    if (this.#settings?.config) settings.write(this.#settings.config, this.#settings.preset);
    if (this.#settings?.config) pictures.writeOptions(this.#settings.config);
    this.#settings = null;
    this.#promptTouched = false;
    pictures.fold(false);
    if (this.#waiting.length > 0) {
      this.#set.clear(); // those of the run that was opened
      this.#takeWaiting();
    } else {
      this.changed();
    }
  }

  /** Shows the pictures, and asks what they come to. @param {boolean} [others] whether there are other pictures than before */
  changed(others = true) {
    this.#ui.pictures.show(this.#set);
    this.#keepDraft();
    this.#suggestPrompt();
    this.#host.refresh();
    this.#askEstimate();
    if (!others) return;
    clearTimeout(this.#inspect.timer);
    this.#inspect.timer = setTimeout(() => this.#inspectPictures(), REST_MS);
  }

  /** How previews of a run with this configuration are drawn. */
  previewSettings(config) {
    const { report, isDemo } = this.#model;
    return previewSettings(report, isDemo, { ...this.#ui.preview.read(), resolution: config.resolution });
  }

  // ---- pictures ----------------------------------------------------------------------------------

  /** Pictures can only be changed before a run; one that is finished is put away for them. */
  async #unlocked() {
    if (this.#host.trainer().state === "finished") await this.#host.newRun();
    if (this.#isOpen) return true;
    this.#ui.messages.info("The run has its pictures", "Stop it, or press New run, before you add others.");
    return false;
  }

  #addDemo() {
    return this.#host.attempt("The demo's pictures could not be fetched", async () => {
      const fetched = await Promise.all(DEMO_PICTURES.map(async ({ name, url, captionUrl }) => {
        const [picture, caption] = await Promise.all([url, captionUrl].map((address) => fetch(address)));
        if (!picture.ok || !caption.ok) throw new Error(`${name} is not at this page's own address. Check that the site was published whole.`);
        return { name, role: /** @type {const} */ ("train"), file: await picture.blob(), caption: (await caption.text()).trim() };
      }));
      await this.#set.add(fetched);
      this.changed();
    });
  }

  /** What is said of the others stays true, but where it names this one. */
  #remove(id) {
    const { name } = this.#set.find(id);
    this.#set.remove(id);
    this.changed(this.#set.items.some(({ warnings }) => warnings.some((warning) => warning.includes(name))));
  }

  /** While a run is in hand the set is the run's, which keeps it. */
  #keepDraft() {
    if (this.#isOpen && !this.#returning && this.#waiting.length === 0) this.#draft.keep(this.#set.items);
  }

  /** Pictures of an earlier visit. @param {import("./train/draft.js").DraftPicture[]} pictures */
  async #draftBack(pictures) {
    this.#waiting = pictures;
    if (this.#isOpen) await this.#takeWaiting();
  }

  async #takeWaiting() {
    this.#returning = true; // until then what is kept stays
    await this.#set.add(this.#waiting.splice(0));
    this.#returning = false;
    this.changed();
  }

  async #inspectPictures() {
    const { items } = this.#set;
    if (!this.#model || !this.#isOpen || items.length === 0) return;
    const serial = ++this.#inspect.serial;
    try {
      const pictures = (await this.#set.decoded()).map(({ name, width, height, rgba }) => ({ name, width, height, rgba }));
      if (serial !== this.#inspect.serial) return;
      const found = new Map((await this.#engine.trainInspect(pictures)).map(({ name, warnings }) => [name, warnings]));
      for (const picture of this.#set.items) picture.warnings = found.get(picture.name) ?? picture.warnings;
      this.#ui.pictures.show(this.#set);
    } catch (error) {
      if (!this.#host.passing(error)) this.#ui.messages.error("The pictures could not be looked at", error.message);
    }
  }

  // ---- settings ----------------------------------------------------------------------------------

  #settingsChanged() {
    const { settings } = this.#ui;
    if (settings.config && this.#model) remember(`train ${this.#model.id}`, { preset: settings.preset, config: settings.config });
    this.#suggestPrompt();
    this.#askEstimate();
  }

  #writeRemembered() {
    const { settings, pictures } = this.#ui;
    const remembered = recall(`train ${this.#model.id}`);
    // a build with other settings than those remembered gets its own
    const same = remembered && Object.keys(this.#presets.normal).join() === Object.keys(remembered.config).join();
    const preset = same ? remembered.preset : "normal";
    const ofPreset = same && this.#presets[preset] && { ...this.#presets[preset], ...kept(remembered.config) };
    settings.write(ofPreset || (same ? remembered.config : this.#presets.normal), preset);
    pictures.writeOptions(settings.config);
  }

  #suggestPrompt() {
    if (this.#promptTouched || !this.#isOpen) return;
    this.#ui.preview.write({ ...this.#ui.preview.read(), prompt: this.#suggestedPrompt() });
  }

  /** The first caption, with the trigger phrase as it is put before it in training. */
  #suggestedPrompt() {
    const trigger = this.#ui.settings.config?.trigger ?? "";
    const caption = this.#set.of("train").map((picture) => picture.caption.trim()).find(Boolean) ?? "";
    return caption.toLowerCase().includes(trigger.toLowerCase()) ? caption : [trigger, caption].filter(Boolean).join(", ");
  }

  #askEstimate() {
    clearTimeout(this.#estimate.timer);
    this.#estimate.timer = setTimeout(() => this.#showEstimate(), REST_MS);
  }

  async #showEstimate() {
    const { settings } = this.#ui;
    const { counts } = this.#set;
    if (!this.#presets) return;
    const { config } = settings;
    const times = Object.entries(this.#presets).map(([name, preset]) => [name, { steps: preset.steps, seconds: this.#seconds(preset) }]);
    settings.setTimes(Object.fromEntries(times));
    if (!this.#isOpen) return;
    let good = false;
    let words = "";
    let kind = "setting";
    let notes = [];
    if (counts.train > 0 && settings.valid) {
      const serial = ++this.#estimate.serial;
      try {
        const estimate = await this.#engine.trainEstimate(config, counts);
        if (serial !== this.#estimate.serial) return;
        words = estimateWords(estimate, config, this.#times(config));
        notes = [...estimate.notes, ...roomNotes(estimate, config, this.room)];
        if (!config.trigger && this.#set.of("train").every(({ caption }) => !caption.trim())) {
          notes.push("No captions and no trigger phrase: the adapter will act on every prompt.");
        }
        good = true;
      } catch (error) {
        if (serial !== this.#estimate.serial || this.#host.passing(error)) return;
        words = error.message;
        kind = error.kind ?? kind;
      }
    } else if (!settings.valid) {
      words = settings.report();
    }
    Object.assign(this.#estimate, { words, good, problem: words && !good ? kind : "" });
    document.querySelector("#train-notes").replaceChildren(...notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })));
    this.#host.refresh();
  }

  /** What a run with these settings takes here, if any was timed yet. */
  #times(config) {
    return this.#pace.times(config, this.#set.counts, this.previewSettings(config));
  }

  #seconds(config) {
    const times = this.#times(config);
    return times && times.training + times.previews + times.leavingOut;
  }
}

function kept({ trigger, flip, seed }) {
  return { trigger, flip, seed };
}
