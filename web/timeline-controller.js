// Wires the timeline and what is done with a snapshot: showing, comparing, rewinding, exporting, using.

import { counted } from "./format.js";
import { CRASH } from "./protocol.js";
import { confirmed } from "./ui/dialogs.js";

export class TimelineController {
  #trainer;
  #ui;
  #host;
  #drawing = null;

  /** @param {import("./train/trainer.js").Trainer} trainer */
  constructor(trainer, ui, host) {
    this.#trainer = trainer;
    this.#ui = ui;
    this.#host = host;
    const { timeline, exportDialog } = ui;
    const on = (part, type, act) => part.addEventListener(type, ({ detail }) => act(detail));
    on(trainer, "snapshots", () => this.#snapshots());
    on(trainer, "state", () => this.#snapshots());
    on(trainer, "evaluation", () => this.#snapshots());
    on(trainer, "picture", (picture) => this.#preview(picture));
    on(timeline, "moved", () => host.refresh());
    on(timeline, "show", (wish) => this.#show(wish));
    on(timeline, "rewind", ({ step }) => this.#rewind(step));
    on(timeline, "use", ({ step }) => this.#use(step));
    on(timeline, "export", ({ step }) => this.#openExport(step));
    on(exportDialog, "export", (order) => this.#export(order));
  }

  /** @param {boolean} usable whether there is an engine with the run's model */
  refresh(usable) {
    const { state, step, steps, run } = this.#trainer;
    const free = usable && state !== "preparing" && Boolean(run);
    const { timeline } = this.#ui;
    timeline.setEnabled({ draw: free, use: free && timeline.step > 0, rewind: free && timeline.step < steps && (timeline.step < step || state !== "running") });
  }

  reset() {
    this.#drawing?.abort();
    this.#ui.timeline.reset();
    this.#ui.timeline.setSnapshots([], null);
  }

  /** A run that was kept is in hand. */
  async opened() {
    const { record, preview } = this.#trainer;
    this.#ui.timeline.setPromptHint(preview.prompt);
    this.#snapshots();
    this.#ui.preview.show("base", await this.#trainer.kept(0, preview));
    const last = record.snapshots.findLast((snapshot) => snapshot.step > 0 && snapshot.preview);
    if (last) this.#ui.preview.show("now", await this.#trainer.kept(last.step, preview), `step ${last.step}`);
  }

  promptChanged() {
    this.#ui.timeline.setPromptHint(this.#trainer.preview?.prompt);
  }

  /** The marks; and the picture of the chosen step, where it is there without drawing. */
  async #snapshots() {
    const { record, log, preview, state, step } = this.#trainer;
    if (!record) return;
    const { timeline } = this.#ui;
    const steps = record.snapshots.map(({ step }) => step);
    // while it rests, what it is now can be drawn and exported too
    if (state === "paused" && !steps.includes(step)) steps.push(step);
    const moved = timeline.setSnapshots(steps, log.best);
    this.#ui.timeline.setPromptHint(preview.prompt);
    this.refresh(true);
    if (moved) await this.#showKnown();
    await this.#best();
  }

  async #best() {
    const { log, preview } = this.#trainer;
    const { best } = log;
    if (best === null) return;
    const image = await this.#trainer.kept(best, preview);
    if (best === this.#trainer.log.best) this.#ui.preview.show("best", image, `step ${best}${image ? "" : ", not drawn"}`);
  }

  async #showKnown() {
    const { timeline } = this.#ui;
    const { step, prompt, strength, compare } = timeline.wish;
    if (step === undefined || prompt || strength !== 1 || compare !== null) return;
    const { record, preview } = this.#trainer;
    // the nearest one before it does, until it is drawn
    for (const at of [step, ...record.snapshots.map((s) => s.step).filter((s) => s < step).reverse()]) {
      const image = await this.#trainer.kept(at, preview);
      if (timeline.step !== step) return;
      if (!image) continue;
      timeline.show({ image, words: at === step ? `step ${at}` : `step ${at} (${step} is not drawn yet)` }, null);
      return;
    }
    timeline.clear(this.#trainer.busy ? "Pictures appear as the run goes on." : "Press Draw with it to see this step.");
  }

  #preview({ base, step, image }) {
    const { preview } = this.#ui;
    if (base) {
      preview.show("base", image);
    } else {
      preview.show("now", image, `step ${step}`);
      if (step === this.#trainer.log.best) preview.show("best", image, `step ${step}`);
    }
    if (base || step === this.#ui.timeline.step) this.#showKnown();
  }

  async #show({ step, compare, prompt, strength }) {
    const { timeline, messages } = this.#ui;
    const trainer = this.#trainer;
    this.#drawing?.abort();
    const { signal } = this.#drawing = new AbortController();
    const settings = { ...trainer.preview, prompt: prompt || trainer.preview.prompt };
    // no adapter has learnt anything at step 0
    const picture = async (at) => ({
      image: await trainer.picture(at, at === 0 ? 0 : strength, settings, { signal }),
      words: [at === 0 ? "step 0, the base" : `step ${at}`, at > 0 && strength !== 1 && `at ${strength}`, prompt].filter(Boolean).join(" · "),
    });
    this.refresh(true);
    timeline.busy(true);
    try {
      const chosen = await picture(step);
      const other = compare === null ? null : await picture(compare);
      if (!signal.aborted) timeline.show(chosen, other);
    } catch (error) {
      if (signal.aborted || error.name === "AbortError" || error.name === CRASH) return;
      messages.error("No picture", error.message);
    } finally {
      if (!signal.aborted) timeline.busy(false);
      this.#host.refresh();
    }
  }

  async #rewind(step) {
    const trainer = this.#trainer;
    const later = trainer.record.snapshots.filter((s) => s.step > step).length;
    const lost = trainer.step - step;
    if (lost > 0 && !await confirmed(
      `Rewind to step ${step}?`,
      `The ${counted(lost, "step")} after it${later ? ` and ${counted(later, "snapshot")}` : ""} are dropped, and training goes on from step ${step}.`,
      "Rewind",
    )) return;
    await this.#attempt("The run could not be rewound", async () => {
      await this.#host.insteadOfPictures(() => trainer.rewind(step));
    });
  }

  /** The adapter goes to the Generate tab, as a file in memory. */
  #use(step) {
    return this.#attempt("The adapter could not be used", async () => {
      const trainer = this.#trainer;
      if (trainer.busy) await trainer.pause();
      const title = `${trainer.record.title}, step ${step}`;
      const [{ name, bytes }] = await trainer.exportFiles(step, { format: "kohya", half: false, title, thumbnail: null });
      this.#ui.tabs.show("generate");
      await this.#host.addAdapter({ name: title, file: new File([bytes], name), content: `run ${trainer.record.id}, step ${step}` });
    });
  }

  async #openExport(step) {
    const { exportDialog, preview } = this.#ui;
    const { record, steps } = this.#trainer;
    const image = await this.#trainer.kept(step, this.#trainer.preview);
    exportDialog.open({ step, steps, title: record.title, thumbnail: preview.thumbnail(image) });
  }

  /** @param {{step: number} & Omit<import("./protocol.js").ExportOrder, "state">} wish */
  async #export({ step, ...order }) {
    const { exportDialog } = this.#ui;
    exportDialog.busy(true);
    try {
      for (const { name, bytes } of await this.#trainer.exportFiles(step, order)) download(name, bytes);
      exportDialog.close();
    } catch (error) {
      exportDialog.problem(error.message);
    } finally {
      exportDialog.busy(false);
    }
  }

  async #attempt(title, work) {
    try {
      await work();
    } catch (error) {
      if (error.name !== CRASH && error.name !== "AbortError") this.#ui.messages.error(title, error.message);
    }
  }
}

function download(name, bytes) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
