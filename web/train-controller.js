// Wires the Train tab: its parts emit, this file acts, the trainer runs. What a run will be is plan-controller.js'.

import { stayAwake } from "./awake.js";
import { about, sentence, size } from "./format.js";
import { PlanController } from "./plan-controller.js";
import { CRASH } from "./protocol.js";
import { Runs } from "./runs.js";
import { TimelineController } from "./timeline-controller.js";
import { baseModelOf } from "./train/base-model.js";
import { GoingOn } from "./train/going-on.js";
import { Trainer } from "./train/trainer.js";
import { barOf, buttonsOf, noticeOf, shareOf } from "./train/words.js";
import { confirmed } from "./ui/dialogs.js";

export class TrainController {
  #engine;
  #ui;
  #host;
  #runs = null;
  /** @type {PlanController} */
  #plan;
  /** @type {?Trainer} */
  #trainer = null;
  /** @type {?TimelineController} */
  #timeline = null;
  #ready = Promise.withResolvers();
  /** @type {?import("./plan-controller.js").TrainModel} */
  #model = null;
  /** What the run was at when its state changed last. */
  #before = "none";
  /** How often the list of runs was asked for. */
  #listed = 0;
  #goingOn = new GoingOn();

  /**
   * @param {object} host
   * @param {(adapter: {name: string, file: File, content: string}) => Promise<boolean>} host.addAdapter
   * @param {<T>(work: () => Promise<T>) => Promise<T>} host.insteadOfPictures   no picture is drawn meanwhile
   * @param {() => void} host.turned   a run began or let go of the engine
   * @param {(files: object[], role: string) => void} host.openFiles
   */
  constructor(engine, ui, host) {
    this.#engine = engine;
    this.#ui = ui;
    this.#host = host;
    this.#plan = new PlanController(engine, ui, {
      trainer: () => this.#trainer,
      refresh: () => this.refresh(),
      newRun: () => this.#newRun(),
      previewChanged: () => this.#previewChanged(),
      openFiles: host.openFiles,
      attempt: (title, work) => this.#attempt(title, work),
      passing,
    });
    this.#wire();
    this.#open();
  }

  async #open() {
    this.#runs = await Runs.open();
    this.#trainer = new Trainer(this.#engine, this.#runs);
    this.#timeline = new TimelineController(this.#trainer, this.#ui, { ...this.#host, refresh: () => this.refresh() });
    this.#wireTrainer();
    this.#runs.addEventListener("changed", () => this.#listRuns());
    this.#plan.openDraft();
    addEventListener("beforeunload", (event) => { if (this.#wouldLose) event.preventDefault(); });
    this.#ready.resolve();
    this.refresh();
    this.#listRuns();
  }

  #wire() {
    const { bar, runs, unseen } = this.#ui;
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));
    on(bar, "start", () => this.#start());
    on(bar, "continue", () => this.#attempt("The run could not go on", () => this.#go()));
    on(bar, "pause", () => this.pause());
    on(bar, "stop", () => this.#attempt("The run could not be stopped", () => this.#trainer.stop()));
    on(bar, "new", () => this.#attempt("The run could not be put away", () => this.#newRun()));
    on(unseen, "measure", () => this.#attempt("The pictures could not be left out", () => this.#host.insteadOfPictures(() => this.#trainer.leaveOneOut())));
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
    const { plot, heat, preview, messages, herald } = this.#ui;
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
      document.body.dataset.trainStep = String(trainer.step);
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
    on("stopped", ({ reason }) => herald.ended("Training stopped", reason));
    on("stopped", ({ reason }) => messages.error("Training stopped", `${sentence(reason)} Rewind to an earlier step, or start anew with “gentle”.`));
    on("lost", ({ message }) => messages.error("Some of the run is gone", message));
    on("trouble", ({ message }) => messages.error("The run is not kept whole", message));
    on("failed", ({ error }) => {
      // the controller tells of an engine that broke
      if (error.name === CRASH) return void (this.#goingOn.cut = "run");
      herald.ended("Training failed", error.message);
      messages.error("Training failed", `${sentence(error.message)} What is kept goes to step ${trainer.record?.step ?? 0}; Continue goes on from there.`);
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

  /** The steps of the run in hand that an adapter can be made of. @returns {?import("./sheet/axes.js").Snapshots} */
  get snapshots() {
    const { record } = this.#trainer ?? {};
    const steps = record?.snapshots.map(({ step }) => step).filter((step) => step > 0) ?? [];
    return steps.length > 0 ? { id: record.id, title: record.title, steps } : null;
  }

  /** @param {number} step @returns {Promise<File>} */
  async snapshotFile(step) {
    const { title } = this.#trainer.record;
    const [{ name, bytes }] = await this.#trainer.exportFiles(step, { format: "kohya", half: false, title: `${title}, step ${step}`, thumbnail: null });
    return new File([bytes], name);
  }

  /** Does something else with the engine, between two steps. */
  interlude(work) {
    return this.busy ? this.#trainer.interlude(work) : work();
  }

  get preparing() { return this.#trainer?.state === "preparing"; }

  /**
   * Another model is to be loaded: the run is kept and put away.
   * @returns {Promise<() => Promise<void>>} brings it back, as it was, should nothing come of that
   */
  async modelLeaves() {
    await this.#ready.promise;
    const { busy, record } = this.#trainer;
    const own = record ? this.#plan.set.items.map(({ file }) => file) : [];
    await this.#trainer.suspend();
    return async () => {
      this.#plan.changed();
      if (record) await this.#attempt("The run could not go on", async () => { await this.#openRun(record.id, own); if (busy) await this.#go(); });
    };
  }

  /** @param {?import("./model-loader.js").Loaded & {backend: string}} model */
  async modelChanged(model) {
    await this.#ready.promise;
    const id = model && `${model.title}, ${model.report.components.reduce((sum, c) => sum + c.parameters, 0)} parameters`;
    this.#model = model && { ...model, id, content: await baseModelOf(model.files) ?? id };
    await this.#plan.setModel(this.#model);
    this.refresh();
    this.#plan.changed();
    this.#listRuns();
  }

  /** The engine broke; it comes back without the run. */
  engineLost() {
    this.#trainer?.lost();
  }

  /** The engine is back, on this backend; what its end cut off goes on. @returns {Promise<?string>} what becomes of that, in words */
  async engineBack(backend) {
    await this.#ready.promise;
    this.#plan.setBackend(backend);
    await this.#trainer.interlude(() => {}); // what was cut off is known then
    this.#plan.changed();
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
    return this.#plan.addFiles(pictures, texts, role);
  }

  /** Shows what the state of the run and of the page allows. */
  refresh() {
    const { bar, pictures, settings, preview } = this.#ui;
    const trainer = this.#trainer;
    const state = trainer?.state ?? "none";
    const engine = document.body.dataset.state;
    const usable = this.#plan.isTrainable && engine !== "loading" && engine !== "error";
    const open = state === "none";
    const startable = usable && this.#plan.isGood;
    document.body.dataset.train = open ? (startable ? "ready" : "empty") : state;
    document.body.dataset.trainStep = String(trainer?.step ?? 0);
    pictures.setLocked(!open);
    settings.setLocked(!open || !this.#plan.isTrainable, !open);
    preview.setShown(!open && state !== "preparing");
    document.querySelector("#run-panel").hidden = open || state === "preparing";
    this.#notice(state);
    bar.buttons(buttonsOf(trainer, { usable, startable }));
    this.#showUnseen(state, usable);
    this.#timeline?.refresh(usable);
    this.#tell();
  }

  /** Whether something would go with the tab: steps since the last state, or what found no room. */
  get #wouldLose() {
    return this.busy || this.#plan.unkept || Boolean(this.#trainer?.run?.unkept);
  }

  #previewChanged() {
    this.#trainer.setPreview(this.#plan.previewSettings(this.#trainer.record?.config ?? this.#ui.settings.config));
    this.#timeline.promptChanged();
  }

  // ---- the run -----------------------------------------------------------------------------------

  #start() {
    if (this.#trainer.state !== "none") return;
    const order = this.#plan.order();
    if (!order) return;
    return this.#attempt("Training did not start", async () => {
      this.#plan.keepSettings();
      this.#beginView();
      this.#runs.persist();
      await this.#host.insteadOfPictures(() => this.#goingOn.preparing(this.#trainer.start(this.#plan.set, order)));
      if (!this.#trainer.record) return; // cancelled
      this.#plan.handedOver();
      this.#plan.pace.note(this.#trainer.record.secondsPerStep, this.#trainer.record);
      this.#listRuns();
    });
  }

  #go() {
    return this.#host.insteadOfPictures(() => this.#trainer.go());
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

  /** @param {Blob[]} [own] files on show that the run has: they are no draft */
  async #openRun(id, own = []) {
    const { plot, heat } = this.#ui;
    const trainer = this.#trainer;
    this.#plan.keepSettings();
    await this.#plan.makeWay(own, () => trainer.open(id));
    const { run, log } = trainer;
    this.#beginView();
    await this.#plan.showRun(run);
    plot.show(log, trainer.steps);
    heat.show(log.evaluations.at(-1) ?? null);
    this.#timeline.opened();
    this.#listRuns();
  }

  #newRun() { return this.#trainer.suspend(); }

  #stateChanged() {
    const { state, record, log } = this.#trainer;
    if (state === "none") {
      this.#timeline.reset();
      this.#ui.heat.show(null);
      this.#plan.runLeft();
    }
    if (state === "finished") {
      this.#plan.pace?.note(log.secondsPerStep, record);
      if (["running", "measuring"].includes(this.#before)) this.#ui.herald.ended("Finished", barOf(this.#trainer).status);
    }
    this.#before = state;
    stayAwake(this.busy);
    this.#host.turned();
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

  /** Runs but for the one in hand. */
  async runs() {
    const current = this.#trainer?.record?.id;
    return (await this.#runs?.list() ?? []).filter(({ id }) => id !== current);
  }

  /** All of those; one that another tab has stays, and is named. */
  async deleteRuns() {
    for (const { id, title } of await this.runs()) await this.#attempt(`${title} was not deleted`, () => this.#runs.remove(id));
    this.#listRuns();
  }

  async #listRuns() {
    if (!this.#runs) return;
    const serial = ++this.#listed;
    const [runs, room] = await Promise.all([this.#runs.list(), this.#runs.room()]);
    if (serial !== this.#listed) return; // asked anew meanwhile
    const current = this.#trainer.record?.id;
    this.#plan.room = room;
    this.#ui.runs.show(runs.filter(({ id }) => id !== current), this.#model, this.#trainer.state === "none");
    this.#ui.runs.setStorage(room?.usage ? `${size(room.usage)} used; the browser gives up to ${size(room.quota)}.` : "");
  }

  /** The line in the bar, and the tab's title. @param {string} [aside] what goes on beside the steps */
  #tell(aside = "") {
    if (!this.#trainer) return;
    this.#ui.herald.goesOn(shareOf(this.#trainer));
    const told = barOf(this.#trainer, {
      model: Boolean(this.#model),
      loading: document.body.dataset.state === "loading",
      pictures: this.#plan.set.counts.train,
      summary: this.#plan.set.summary,
      estimate: this.#plan.estimate,
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

/** Not of the thing that was asked for: the engine broke, of which the controller tells, or somebody pressed Cancel. */
function passing({ name }) {
  return name === CRASH || name === "AbortError";
}
