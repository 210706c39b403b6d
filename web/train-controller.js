// Wires the Train tab: its parts emit, this file acts, the trainer runs.

import { stayAwake } from "./awake.js";
import { DEMO_PICTURES, previewSettings } from "./demo.js";
import { about, size } from "./format.js";
import { CRASH } from "./protocol.js";
import { Runs } from "./runs.js";
import { recall, remember } from "./storage.js";
import { TimelineController } from "./timeline-controller.js";
import { baseModelOf } from "./train/base-model.js";
import { captionsOf, pictureOf } from "./train/captions.js";
import { Draft } from "./train/draft.js";
import { PRESETS } from "./train/fields.js";
import { GoingOn } from "./train/going-on.js";
import { Pace } from "./train/pace.js";
import { PictureSet, stemOf } from "./train/picture-set.js";
import { Trainer } from "./train/trainer.js";
import { barOf, buttonsOf, estimateWords, noticeOf, roomNotes, titleOf } from "./train/words.js";
import { confirmed } from "./ui/dialogs.js";

const REST_MS = 250;

export class TrainController {
  #engine;
  #ui;
  #host;
  #runs = null;
  #set = new PictureSet();
  /** Keeps pictures and captions until there is a run. */
  #draft = new Draft();
  /** Those of the draft that wait until the run in hand is put away. @type {import("./train/draft.js").DraftPicture[]} */
  #waiting = [];
  #returning = false;
  /** @type {?Trainer} */
  #trainer = null;
  /** @type {?TimelineController} */
  #timeline = null;
  #ready = Promise.withResolvers();
  #model = null;
  /** @type {?Pace} */
  #pace = null;
  #presets = null;
  /** The settings that are not those of a run. */
  #settings = null;
  #estimate = { serial: 0, timer: 0, good: false, problem: false, words: "" };
  #inspect = { serial: 0, timer: 0 };
  #promptTouched = false;
  /** How often the list of runs was asked for. */
  #listed = 0;
  /** @type {?{usage: number, quota: number}} what the browser gives and what is taken of it */
  #room = null;
  #goingOn = new GoingOn();

  /**
   * @param {{addAdapter: (adapter: {name: string, file: File}) => Promise<void>, stopPictures: () => void, openFiles: (files: object[], role: string) => void}} host
   */
  constructor(engine, ui, host) {
    this.#engine = engine;
    this.#ui = ui;
    this.#host = host;
    this.#wire();
    this.#open();
  }

  async #open() {
    this.#runs = await Runs.open();
    this.#trainer = new Trainer(this.#engine, this.#runs);
    this.#timeline = new TimelineController(this.#trainer, this.#ui, { ...this.#host, refresh: () => this.refresh() });
    this.#wireTrainer();
    this.#runs.addEventListener("changed", () => this.#listRuns());
    this.#draft.addEventListener("back", ({ detail }) => this.#draftBack(detail));
    this.#draft.open();
    addEventListener("beforeunload", (event) => { if (this.#wouldLose) event.preventDefault(); });
    this.#ready.resolve();
    this.refresh();
    this.#listRuns();
  }

  #wire() {
    const { pictures, settings, preview, bar, runs, unseen } = this.#ui;
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));
    on(pictures, "files", ({ files, role }) => this.#host.openFiles(files, role));
    on(pictures, "demo", () => this.#addDemo());
    on(pictures, "remove", ({ id }) => { this.#set.remove(id); this.#setChanged(); });
    on(pictures, "role", ({ id, role }) => { this.#set.find(id).role = role; this.#setChanged(false); });
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
      this.#trainer.setPreview(this.#previewSettings(this.#trainer.record?.config ?? settings.config));
      this.#timeline.promptChanged();
    });
    on(bar, "start", () => this.#start());
    on(bar, "continue", () => this.#attempt("The run could not go on", () => this.#go()));
    on(bar, "pause", () => this.pause());
    on(bar, "stop", () => this.#attempt("The run could not be stopped", () => this.#trainer.stop()));
    on(bar, "new", () => this.#attempt("The run could not be put away", () => this.#newRun()));
    on(unseen, "measure", () => this.#attempt("The pictures could not be left out", () => { this.#host.stopPictures(); return this.#trainer.leaveOneOut(); }));
    on(unseen, "pause", () => this.pause());
    on(runs, "continue", ({ id }) => this.#attempt("The run could not go on", async () => { await this.#openRun(id); await this.#go(); }));
    on(runs, "open", ({ id }) => this.#attempt("The run could not be opened", () => this.#openRun(id)));
    on(runs, "delete", async ({ id, words }) => {
      if (!await confirmed("Delete this run?", `${words}. This cannot be undone.`, "Delete")) return;
      await this.#attempt("The run was not deleted", () => this.#runs.remove(id));
      this.#listRuns();
    });
    document.querySelector("#training-pause").addEventListener("click", () => this.pause());
  }

  #wireTrainer() {
    const { plot, heat, preview, messages } = this.#ui;
    const trainer = this.#trainer;
    const on = (type, act) => trainer.addEventListener(type, ({ detail }) => act(detail));
    on("state", () => { this.refresh(); this.#stateChanged(); });
    on("prepare", ({ done, total, what }) => {
      this.#ui.bar.status(`Preparing: ${what}`, "Preparing");
      this.#ui.bar.detail(total > 1 ? `${done} of ${total}` : "");
      this.#ui.bar.progress(total > 0 ? done / total : null);
    });
    on("busy", ({ what, fraction }) => this.#tell(fraction === null ? `${what}…` : `${what}, ${Math.round(100 * fraction)} %`));
    on("step", ({ step }) => {
      const { thumbnail } = step;
      if (thumbnail) preview.show("sample", new ImageData(thumbnail.rgba, thumbnail.width, thumbnail.height));
      plot.show(trainer.log, trainer.steps);
      document.body.dataset.trainStep = trainer.step;
      this.#tell();
    });
    on("leftOut", (progress) => this.#tellLeftOut(progress));
    on("unmeasured", ({ error }) => messages.error("The pictures could not be left out", error.message));
    on("snapshots", () => plot.show(trainer.log, trainer.steps)); // a rewind drops steps too
    on("evaluation", ({ evaluation }) => {
      plot.show(trainer.log, trainer.steps);
      heat.show(evaluation);
    });
    on("slow", ({ message }) => messages.info("Not measured", message));
    on("stopped", ({ reason }) => messages.error("Training stopped", `${reason.replace(/\.?$/, ".")} Rewind to an earlier step, or start anew with “gentle”.`));
    on("lost", ({ message }) => messages.error("Some of the run is gone", message));
    on("trouble", ({ message }) => messages.error("The run is not kept whole", message));
    on("failed", ({ error }) => {
      // the controller tells of an engine that broke
      if (error.name === CRASH) this.#goingOn.cut = "run";
      else messages.error("Training failed", `${error.message} What is kept goes to step ${trainer.record?.step ?? 0}; Continue goes on from there.`);
    });
  }

  // ---- asked by the page -------------------------------------------------------------------------

  /** Whether the engine has no time for anything else. */
  get busy() {
    return this.#trainer?.busy ?? false;
  }

  pause() {
    return this.#trainer.pause();
  }

  /** Does something else with the engine, between two steps. */
  interlude(work) {
    return this.busy ? this.#trainer.interlude(work) : work();
  }

  get preparing() { return this.#trainer?.state === "preparing"; }

  /** Another model is to be loaded: the run is kept and put away. @returns {Promise<() => Promise<void>>} brings it back, as it was, should nothing come of that */
  async modelLeaves() {
    await this.#ready.promise;
    const { busy, record } = this.#trainer;
    await this.#trainer.suspend();
    return async () => {
      this.#setChanged();
      if (record) await this.#attempt("The run could not go on", async () => { await this.#openRun(record.id); if (busy) await this.#go(); });
    };
  }

  /** @param {?{key: string, title: string, isDemo: boolean, report: object, backend: string}} model */
  async modelChanged(model) {
    await this.#ready.promise;
    const id = model && `${model.title}, ${model.report.components.reduce((sum, c) => sum + c.parameters, 0)} parameters`;
    this.#model = model && { ...model, id, content: await baseModelOf(model.files) ?? id };
    this.#pace = this.#model && new Pace(this.#model);
    this.#ui.pictures.offerDemo(Boolean(model?.isDemo));
    this.#ui.settings.setModel(model?.title);
    this.#presets = null;
    if (model) {
      try {
        const names = Object.keys(PRESETS);
        const configs = await Promise.all(names.map((name) => this.#engine.trainPreset(name)));
        this.#presets = Object.fromEntries(names.map((name, i) => [name, configs[i]]));
        this.#writeDraft();
      } catch (error) {
        if (error.name !== CRASH) this.#ui.messages.error("This model cannot be trained", error.message);
      }
    }
    this.refresh();
    this.#setChanged();
    this.#listRuns();
  }

  /** The engine broke; it comes back without the run. */
  engineLost() {
    this.#trainer?.lost();
  }

  /** The engine is back, on this backend; what its end cut off goes on. @returns {Promise<?string>} what becomes of that, in words */
  async engineBack(backend) {
    await this.#ready.promise;
    if (this.#model) {
      this.#model.backend = backend;
      this.#pace = new Pace(this.#model);
    }
    await this.#trainer.interlude(() => {}); // what was cut off is known then
    this.#setChanged();
    const { what, words } = this.#goingOn.next(this.#trainer, Boolean(this.#model));
    if (what) this.#attempt("The run could not go on", () => (what === "run" ? this.#go() : this.#start()));
    return words;
  }

  /**
   * Pictures that were dropped or chosen, and texts that may be captions; shows the tab when there is one.
   * @returns {Promise<string[]>} names of the texts that belong to no picture
   */
  async addFiles(pictures, texts, role) {
    await this.#ready.promise;
    if (pictures.length > 0 && !await this.#unlocked()) {
      this.#ui.tabs.show("train");
      return [];
    }
    const { captions, unreadable } = await captionsOf(texts);
    for (const name of unreadable) this.#ui.messages.error(name, "This caption can't be read as text. Save it anew in a text editor, as UTF-8.");
    const refused = await this.#set.add(pictures.map(({ name, path, file }) => ({ name, path, file, role, caption: captions.get(stemOf(path)) ?? "" })));
    for (const { name, problem } of refused) this.#ui.messages.error(name, problem);
    if (refused.length < pictures.length) this.#ui.tabs.show("train");
    const known = new Set(pictures.map(({ path }) => stemOf(path)));
    const lost = texts.filter(({ path }) => !known.has(pictureOf(path)) && !this.#set.setCaption(pictureOf(path), captions.get(pictureOf(path))));
    const { settings } = this.#ui;
    if (role === "class" && settings.config?.prior.weight === 0) settings.set("prior.weight", 1);
    this.#setChanged();
    return lost.map(({ path }) => path);
  }

  /** Shows what the state of the run and of the page allows. */
  refresh() {
    const { bar, pictures, settings, preview } = this.#ui;
    const trainer = this.#trainer;
    const state = trainer?.state ?? "none";
    const { train } = this.#set.counts;
    const engine = document.body.dataset.state;
    const usable = Boolean(this.#model && this.#presets) && engine !== "loading" && engine !== "error";
    const open = state === "none";
    const startable = usable && train > 0 && this.#estimate.good;
    document.body.dataset.train = open ? (startable ? "ready" : "empty") : state;
    document.body.dataset.trainStep = trainer?.step ?? 0;
    pictures.setLocked(!open);
    settings.setLocked(!open || !this.#presets, !open);
    preview.setShown(!open && state !== "preparing");
    document.querySelector("#run-panel").hidden = open || state === "preparing";
    this.#notice(state);
    bar.buttons(buttonsOf(trainer, { usable, startable }));
    this.#showUnseen(state, usable);
    this.#timeline?.refresh(usable);
    this.#tell();
  }

  // ---- pictures and settings ---------------------------------------------------------------------

  /** Pictures can only be changed before a run; one that is finished is put away for them. */
  async #unlocked() {
    if (this.#trainer.state === "finished") await this.#newRun();
    if (this.#trainer.state === "none") return true;
    this.#ui.messages.info("The run has its pictures", "Stop it, or press New run, before you add others.");
    return false;
  }

  async #addDemo() {
    await this.#attempt("The demo's pictures could not be fetched", async () => {
      const fetched = await Promise.all(DEMO_PICTURES.map(async ({ name, url, captionUrl }) => {
        const [picture, caption] = await Promise.all([url, captionUrl].map((address) => fetch(address)));
        if (!picture.ok || !caption.ok) throw new Error(`${name} is not at this page's own address. Check that the site was published whole.`);
        return { name, role: "train", file: await picture.blob(), caption: (await caption.text()).trim() };
      }));
      await this.#set.add(fetched);
      this.#setChanged();
    });
  }

  /** @param {boolean} [others] whether there are other pictures than before */
  #setChanged(others = true) {
    this.#ui.pictures.show(this.#set);
    this.#keepDraft();
    this.#suggestPrompt();
    this.refresh();
    this.#askEstimate();
    if (!others) return;
    clearTimeout(this.#inspect.timer);
    this.#inspect.timer = setTimeout(() => this.#inspectPictures(), REST_MS);
  }

  /** While a run is in hand the set is the run's, which keeps it. */
  #keepDraft() {
    if (this.#trainer?.state === "none" && !this.#returning && this.#waiting.length === 0) this.#draft.keep(this.#set.items);
  }

  /** Pictures of an earlier visit. @param {import("./train/draft.js").DraftPicture[]} pictures */
  async #draftBack(pictures) {
    this.#waiting = pictures;
    if (this.#trainer.state === "none") await this.#takeWaiting();
  }

  async #takeWaiting() {
    this.#returning = true; // until then what is kept stays
    await this.#set.add(this.#waiting.splice(0));
    this.#returning = false;
    this.#setChanged();
  }

  /** Whether something would go with the tab: steps since the last state, or what found no room. */
  get #wouldLose() {
    return this.busy || this.#draft.unkept || Boolean(this.#trainer?.run?.unkept);
  }

  #settingsChanged() {
    const { settings } = this.#ui;
    if (settings.config && this.#model) remember(`train ${this.#model.id}`, { preset: settings.preset, config: settings.config });
    this.#suggestPrompt();
    this.#askEstimate();
  }

  #writeDraft() {
    const { settings, pictures } = this.#ui;
    const remembered = recall(`train ${this.#model.id}`);
    // a build with other settings than those remembered gets its own
    const same = remembered && Object.keys(this.#presets.normal).join() === Object.keys(remembered.config).join();
    const preset = same ? remembered.preset : "normal";
    settings.write(same ? (this.#presets[preset] ? { ...this.#presets[preset], ...kept(remembered.config) } : remembered.config) : this.#presets.normal, preset);
    pictures.writeOptions(settings.config);
  }

  #suggestPrompt() {
    if (this.#promptTouched || this.#trainer?.state !== "none") return;
    this.#ui.preview.write({ ...this.#ui.preview.read(), prompt: this.#suggestedPrompt() });
  }

  /** The first caption, with the trigger phrase as it is put before it in training. */
  #suggestedPrompt() {
    const trigger = this.#ui.settings.config?.trigger ?? "";
    const caption = this.#set.of("train").map((picture) => picture.caption.trim()).find(Boolean) ?? "";
    return caption.toLowerCase().includes(trigger.toLowerCase()) ? caption : [trigger, caption].filter(Boolean).join(", ");
  }

  #previewSettings(config) {
    const { report, isDemo } = this.#model;
    return previewSettings(report, isDemo, { ...this.#ui.preview.read(), resolution: config.resolution });
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
    settings.setTimes(Object.fromEntries(Object.entries(this.#presets).map(([name, preset]) => [name, { steps: preset.steps, seconds: this.#seconds(preset) }])));
    if (this.#trainer.state !== "none") return;
    let good = false;
    let words = "";
    let notes = [];
    if (counts.train > 0 && settings.valid) {
      const serial = ++this.#estimate.serial;
      try {
        const estimate = await this.#engine.trainEstimate(config, counts);
        if (serial !== this.#estimate.serial) return;
        words = estimateWords(estimate, config, this.#times(config));
        notes = [...estimate.notes, ...roomNotes(estimate, config, this.#room)];
        if (!config.trigger && this.#set.of("train").every(({ caption }) => !caption.trim())) {
          notes.push("No captions and no trigger phrase: the adapter will act on every prompt.");
        }
        good = true;
      } catch (error) {
        if (serial !== this.#estimate.serial || passing(error)) return;
        words = error.message;
      }
    } else if (!settings.valid) {
      words = settings.report();
    }
    Object.assign(this.#estimate, { words, good, problem: Boolean(words) && !good });
    document.querySelector("#train-notes").replaceChildren(...notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })));
    this.refresh();
  }

  /** What a run with these settings takes here, if any was timed yet. */
  #times(config) {
    return this.#pace.times(config, this.#set.counts, this.#previewSettings(config));
  }

  #seconds(config) {
    const times = this.#times(config);
    return times && times.training + times.previews + times.leavingOut;
  }

  async #inspectPictures() {
    const { items } = this.#set;
    if (!this.#model || this.#trainer.state !== "none" || items.length === 0) return;
    const serial = ++this.#inspect.serial;
    try {
      const pictures = (await this.#set.decoded()).map(({ name, width, height, rgba }) => ({ name, width, height, rgba }));
      if (serial !== this.#inspect.serial) return;
      const found = new Map((await this.#engine.trainInspect(pictures)).map(({ name, warnings }) => [name, warnings]));
      for (const picture of this.#set.items) picture.warnings = found.get(picture.name) ?? picture.warnings;
      this.#ui.pictures.show(this.#set);
    } catch (error) {
      if (!passing(error)) this.#ui.messages.error("The pictures could not be looked at", error.message);
    }
  }

  // ---- the run -----------------------------------------------------------------------------------

  #start() {
    const { settings } = this.#ui;
    const { config } = settings;
    if (!config || !this.#model || this.#trainer.state !== "none") return;
    if (!settings.valid) return settings.report(); // its words follow
    return this.#attempt("Training did not start", async () => {
      this.#host.stopPictures();
      this.#settings = { config, preset: settings.preset };
      this.#beginView();
      this.#runs.persist();
      const title = config.trigger || this.#set.of("train").find(({ caption }) => caption)?.caption || "adapter";
      const order = { config, title, model: { key: this.#model.content, title: this.#model.title }, preview: this.#previewSettings(config) };
      await this.#goingOn.preparing(this.#trainer.start(this.#set, order));
      if (!this.#trainer.record) return; // cancelled
      this.#draft.keep([]); // the run has them
      this.#pace.note(this.#trainer.record.secondsPerStep, this.#trainer.record);
      this.#listRuns();
    });
  }

  #go() {
    this.#host.stopPictures();
    return this.#trainer.go();
  }

  /** An empty plot and timeline, for the run to fill. */
  #beginView() {
    const { plot, heat, preview, pictures } = this.#ui;
    plot.show(this.#trainer.log, 1);
    heat.show(null);
    preview.clear();
    this.#timeline.reset();
    pictures.fold(true);
    scrollTo(0, 0); // where the plot is
  }

  async #openRun(id) {
    const { settings, pictures, plot, heat, preview } = this.#ui;
    const trainer = this.#trainer;
    this.#settings ??= { config: settings.config, preset: settings.preset };
    const draft = trainer.state === "none" ? [...this.#set.items] : [];
    await this.#draft.flush();
    await trainer.open(id);
    this.#waiting.unshift(...draft);
    const { record, log } = trainer;
    this.#beginView();
    settings.write(record.config);
    pictures.writeOptions(record.config);
    preview.write(record.preview);
    this.#set.clear();
    await this.#set.add(await Promise.all(record.pictures.map(async ({ path, name, caption, role, type }) => {
      const blob = await trainer.run.read(path);
      return { name, caption, role, file: new File(blob ? [await blob.arrayBuffer()] : [], name, { type }) };
    })));
    this.#setChanged();
    plot.show(log, trainer.steps);
    heat.show(log.evaluations.at(-1) ?? null);
    this.#timeline.opened();
    this.#listRuns();
  }

  #newRun() { return this.#trainer.suspend(); }

  #stateChanged() {
    const { state, record, log } = this.#trainer;
    if (state === "none") {
      const { settings, pictures } = this.#ui;
      if (this.#settings?.config) settings.write(this.#settings.config, this.#settings.preset);
      if (this.#settings?.config) pictures.writeOptions(this.#settings.config);
      this.#settings = null;
      this.#promptTouched = false;
      pictures.fold(false);
      this.#timeline.reset();
      this.#ui.heat.show(null);
      if (this.#waiting.length > 0) {
        this.#set.clear(); // those of the run that was opened
        this.#takeWaiting();
      } else {
        this.#setChanged();
      }
    }
    if (state === "finished") this.#pace?.note(log.secondsPerStep, record);
    stayAwake(this.busy);
    if (state !== "running") this.#listRuns();
  }

  #showUnseen(state, usable) {
    const trainer = this.#trainer;
    const pictures = trainer?.leavable ?? 0;
    const seconds = trainer?.secondsToLeaveOut;
    this.#ui.unseen.show({
      shown: ["paused", "measuring", "finished"].includes(state),
      found: trainer?.record?.leaveOneOut ?? null,
      pictures,
      time: seconds > 0 ? `about ${about(seconds)}` : "",
      measuring: state === "measuring",
      enabled: usable && pictures > 1 && !trainer.pausing,
    });
  }

  /** How far leaving each picture out is. */
  #tellLeftOut({ picture, done, pictures, fraction }) {
    const { bar } = this.#ui;
    const left = (1 - fraction) * this.#trainer.secondsToLeaveOut;
    bar.status(`Training without ${picture}, ${done + 1} of ${pictures}`, `Leaving out picture ${done + 1} of ${pictures}`);
    bar.detail(left > 0 ? `about ${about(left)} left` : "");
    bar.progress(fraction);
  }

  async #listRuns() {
    if (!this.#runs) return;
    const serial = ++this.#listed;
    const [runs, room] = await Promise.all([this.#runs.list(), this.#runs.room()]);
    if (serial !== this.#listed) return; // asked anew meanwhile
    const current = this.#trainer.record?.id;
    this.#room = room;
    this.#ui.runs.show(runs.filter(({ id }) => id !== current), this.#model, this.#trainer.state === "none");
    this.#ui.runs.setStorage(room?.usage ? `${size(room.usage)} used; the browser gives up to ${size(room.quota)}.` : "");
  }

  /** The line in the bar, and the tab's title. @param {string} [aside] what goes on beside the steps */
  #tell(aside = "") {
    if (!this.#trainer) return;
    document.title = titleOf(this.#trainer);
    const told = barOf(this.#trainer, {
      model: Boolean(this.#model),
      loading: document.body.dataset.state === "loading",
      pictures: this.#set.counts.train,
      summary: this.#set.summary,
      estimate: this.#estimate,
    }, aside);
    if (!told) return;
    const { bar } = this.#ui;
    bar.status(told.status, told.announced);
    bar.detail(told.detail, told.problem);
    if (told.progress !== undefined) bar.progress(told.progress);
  }

  #notice(state) {
    const notice = document.querySelector("#training-notice");
    notice.hidden = !this.busy;
    notice.firstElementChild.textContent = noticeOf(state);
    document.querySelector("#training-pause").disabled = Boolean(this.#trainer?.pausing);
  }

  async #attempt(title, work) {
    try {
      await work();
    } catch (error) {
      if (!passing(error)) this.#ui.messages.error(title, error.message);
    }
  }
}

function kept({ trigger, flip, seed }) {
  return { trigger, flip, seed };
}

/** Not of the thing that was asked for: the engine broke, of which the controller tells, or somebody pressed Cancel. */
function passing({ name }) {
  return name === CRASH || name === "AbortError";
}
