// Wires the sheet: its cells wait in the line of pictures as one, and each that comes goes to its place.

import { fileNameOf, withSettings } from "./picture-texts.js";
import { baseJob, fingerprint } from "./pictures.js";
import { saveAs } from "./save.js";
import { axesOf } from "./sheet/axes.js";
import { footOf, layoutOf } from "./sheet/layout.js";
import { costOf, planOf } from "./sheet/plan.js";
import { BadValue } from "./sheet/values.js";

/**
 * @typedef {object} Sheet
 * @property {import("./sheet/plan.js").Plan} plan
 * @property {Set<string>} done      keys of the pictures that are on it
 * @property {Set<string>} failed
 * @property {?import("./pictures.js").Picture} first   whose settings its file carries
 *
 * @typedef {object} SheetHost
 * @property {import("./page-state.js").PageState} state
 * @property {() => ?import("./model-loader.js").Loaded} model
 * @property {() => boolean} isTraining   whether a run has the engine
 * @property {import("./picture-jobs.js").PictureJobs} jobs   what the page asks for
 * @property {(picture: import("./pictures.js").Picture) => void} restore
 * @property {import("./picture-texts.js").PictureTexts} texts
 * @property {(settings: import("./protocol.js").Settings) => {width: number, height: number}} sizeOf   a picture
 * @property {() => ?import("./sheet/axes.js").Snapshots} snapshots   of the run in hand
 * @property {(step: number) => Promise<File>} snapshotFile
 * @property {(adapter: import("./adapter-stack.js").AdapterFile) => Promise<boolean>} addAdapter
 */
export class SheetController {
  #engine;
  #maker;
  #ui;
  /** @type {SheetHost} */
  #host;
  /** @type {?Sheet} */
  #sheet = null;
  #ran = false;
  /** Adapters of a run's steps that have no card: what the engine has of them. @type {Map<string, {file: File, name: string}>} */
  #lent = new Map();

  /** @param {import("./pictures.js").PictureMaker} maker @param {SheetHost} host */
  constructor(engine, maker, ui, host) {
    this.#engine = engine;
    this.#maker = maker;
    this.#ui = ui;
    this.#host = host;
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));
    const { sheet } = ui;
    on(sheet, "open", () => this.#open());
    on(sheet, "changed", () => this.#check());
    on(sheet, "draw", () => this.#draw());
    on(sheet, "stop", () => maker.cancel(({ group }) => group === this.#sheet));
    on(sheet, "save", () => this.#save());
    on(sheet, "restore", ({ index }) => this.#restore(index));
    on(maker, "progress", ({ entry, preview }) => preview && this.#each(entry, (index) => sheet.preview(index, preview)));
    on(maker, "picture", ({ picture, entry }) => this.#came(picture, entry));
    on(maker, "failed", ({ entry }) => this.#failed(entry));
    on(maker, "changed", () => this.#tell());
  }

  /** @returns {import("./sheet/axes.js").Page} */
  get #page() {
    const options = (id) => [...document.querySelector(id).options].map(({ value, text }) => ({ id: value, label: text }));
    const { schedulers = [], schedules = [] } = this.#host.model()?.report ?? {};
    return {
      job: this.#host.jobs.written(),
      drawn: (job, isSet) => this.#host.jobs.drawn(job, isSet),
      cards: this.#ui.adapters.cards(),
      choices: { scheduler: options("#scheduler"), schedule: [options("#schedule")[0], ...schedules], emphasis: options("#emphasis"), spacing: options("#spacing") },
      schedulers,
      snapshots: this.#host.snapshots(),
    };
  }

  #open() {
    if (!this.#host.model()) return;
    const axes = axesOf(this.#page);
    const [first] = axes;
    this.#ui.sheet.setAxes(axes, [first.id === "seed" ? "guidance" : first.id, "seed", ""]);
    this.#ui.sheet.open();
    this.#check();
    this.#tell();
  }

  /** What the axes come to, said before anything is drawn. @returns {?import("./sheet/plan.js").Plan} */
  #check() {
    const { sheet, form } = this.#ui;
    if (!form.isGood) {
      sheet.tell({ problem: "A setting is not right: close this and look at the settings." });
      return null;
    }
    try {
      const page = this.#page;
      const axes = axesOf(page);
      const { x, y, z } = sheet.wish;
      const side = ({ id, text }) => ({ axis: axes.find((axis) => axis.id === id) ?? null, text });
      const plan = planOf({ x: side(x), y: side(y), z: side(z) }, page);
      sheet.tell({ cost: costOf(plan, (job) => Boolean(this.#maker.cached(job)), this.#maker.last) });
      return plan;
    } catch (error) {
      if (!(error instanceof BadValue)) throw error;
      sheet.tell({ problem: error.message });
      return null;
    }
  }

  async #draw() {
    const before = this.#check();
    if (!before || this.#isRunning) return;
    // what choices have drawn may be adapters that have no card yet
    await this.#host.jobs.coming(() => before.cells.map(({ job }) => job));
    const plan = this.#check();
    if (!plan || this.#isRunning) return;
    const { sheet } = this.#ui;
    const { width, height } = this.#host.sizeOf(plan.job.settings);
    const axes = Object.values(sheet.wish).map(({ id }) => id);
    const { scheduler, schedule } = this.#page.choices;
    const nameOf = (id) => [...scheduler, ...schedule].find((one) => one.id === id)?.label ?? id;
    const layout = layoutOf(plan, { width, height }, footOf(plan, axes, nameOf), sheet.sheet.measure);
    const drawn = { plan, done: new Set(), failed: new Set(), first: null };
    this.#sheet = drawn;
    sheet.begin(layout, { width, height }, plan.cells.map((cell) => cellName(plan, cell)), `Sheet: ${[plan.x, plan.y, plan.z].map(({ title }) => title).filter(Boolean).join(" by ")}`);
    sheet.setSavable(false);
    try {
      await this.#lend(plan);
    } catch (error) {
      sheet.status("");
      this.#ui.messages.error("The sheet could not be drawn", error.message);
      return;
    }
    if (this.#sheet !== drawn) return;
    this.#maker.ask([...new Map(plan.cells.map(({ key, job }) => [key, job])).values()], { group: drawn });
    this.#tell();
  }

  /** Gives the engine the adapters of a run's steps. @param {import("./sheet/plan.js").Plan} plan */
  async #lend(plan) {
    const lent = plan.cells.flatMap(({ job }) => job.adapters).filter(({ step }) => step !== undefined);
    const steps = new Map(lent.map((one) => [one.handle, one]));
    for (const [handle, { name, step }] of steps) {
      if (this.#lent.has(handle) || this.#ui.adapters.cards().some((card) => card.handle === handle)) continue;
      this.#ui.sheet.status(`Taking step ${step} of the run…`);
      const file = await this.#host.snapshotFile(step);
      await this.#engine.addAdapter(handle, file.name, file);
      this.#lent.set(handle, { file, name });
    }
  }

  /** Takes back those that no cell waits for. */
  async #takeBack() {
    for (const handle of [...this.#lent.keys()]) {
      await this.#maker.without(handle);
      if (this.#isRunning || !this.#lent.delete(handle)) continue;
      await this.#engine.removeAdapter(handle);
    }
  }

  get #isRunning() {
    const { hand, waiting } = this.#maker.state;
    return this.#sheet !== null && [hand?.entry, ...waiting].some((entry) => entry?.group === this.#sheet);
  }

  /** For each cell that an entry's picture is for. @param {import("./queue.js").Entry} entry @param {(index: number) => void} act */
  #each({ group, key }, act) {
    if (group === null || group !== this.#sheet) return;
    this.#sheet.plan.cells.forEach((cell, index) => cell.key === key && act(index));
  }

  #came(picture, entry) {
    if (entry.group === null || entry.group !== this.#sheet) return;
    this.#sheet.done.add(entry.key);
    this.#sheet.failed.delete(entry.key);
    this.#sheet.first ??= picture;
    this.#each(entry, (index) => this.#ui.sheet.picture(index, picture.image));
    this.#ui.sheet.setSavable(true);
  }

  #failed(entry) {
    this.#each(entry, (index) => this.#ui.sheet.blank(index, "not drawn"));
    if (entry.group === this.#sheet) this.#sheet?.failed.add(entry.key);
  }

  /** How far it is. */
  #tell() {
    const { sheet } = this.#ui;
    const running = this.#isRunning;
    sheet.running(running);
    if (!this.#sheet) return;
    if (this.#ran && !running && sheet.isOpen) this.#check(); // more is in memory now
    this.#ran = running;
    const { plan, done } = this.#sheet;
    const keys = new Set(plan.cells.map(({ key }) => key));
    const missing = [...keys].filter((key) => !done.has(key));
    const { hand } = this.#maker.state;
    // what was stopped in its middle is no picture
    plan.cells.forEach(({ key }, index) => !done.has(key) && key !== hand?.entry.key && this.#clear(index, key));
    const count = `${keys.size - missing.length} of ${keys.size} drawn`;
    const goes = this.#host.isTraining() ? `${count}; the rest waits until the training run rests` : count;
    sheet.status(running ? goes : missing.length > 0 && done.size > 0 ? `${count}: Draw draws the rest` : done.size > 0 ? `${count}. Press a picture to use its settings` : "");
    if (!running && this.#lent.size > 0) this.#takeBack();
  }

  #clear(index, key) {
    this.#ui.sheet.blank(index, this.#sheet.failed.has(key) ? "not drawn" : "");
  }

  async #restore(index) {
    const { plan } = this.#sheet;
    const { job } = plan.cells[index];
    const picture = this.#maker.cached(job) ?? this.#pictureOf(index);
    this.#ui.sheet.close();
    if (picture.job.model === this.#host.model()?.key) await this.#keepLent(job);
    this.#host.restore(picture);
  }

  /** A picture that memory has no room for any more, from the sheet. */
  #pictureOf(index) {
    const { job, key } = this.#sheet.plan.cells[index];
    const { sheet } = this.#ui.sheet;
    return { fingerprint: key, baseFingerprint: fingerprint(baseJob(job)), image: sheet.image(index), job, seconds: 0, notes: [] };
  }

  /** The step of a run that a cell was drawn with gets a card. @param {import("./pictures.js").Job} job */
  async #keepLent(job) {
    const { cards } = this.#page;
    for (const { handle, name, step } of job.adapters) {
      if (step === undefined || cards.some((card) => card.handle === handle)) continue;
      const file = this.#lent.get(handle)?.file ?? await this.#host.snapshotFile(step);
      if (this.#lent.delete(handle)) await this.#engine.removeAdapter(handle);
      await this.#host.addAdapter({ handle, name, file, config: null, content: handle, beside: true });
    }
  }

  async #save() {
    const { sheet, switches, messages } = this.#ui;
    const { first, plan } = this.#sheet;
    try {
      const text = first && switches.carry ? await this.#host.texts.of(first) : "";
      const { prompt, seed } = plan.job.settings;
      saveAs(await withSettings(await sheet.sheet.png(), text), `sheet-${fileNameOf(prompt, seed)}`);
    } catch (error) {
      messages.error("The sheet was not saved", error.message);
    }
  }
}

/** @param {import("./sheet/plan.js").Plan} plan @param {import("./sheet/plan.js").Cell} cell */
function cellName({ x, y, z }, { column, row, block }) {
  const side = ({ title, values }, i) => title && `${title} ${values[i].label}`;
  return [side(x, column), side(y, row), side(z, block)].filter(Boolean).join(", ");
}
