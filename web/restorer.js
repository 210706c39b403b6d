// Takes a picture's settings over into the page, says what came and what didn't, and can bring back what was there.

import { readA1111 } from "./picture-info/a1111.js";
import { missing, planOf } from "./picture-info/plan.js";
import { readPicture } from "./picture-info/read.js";
import { readRecord } from "./picture-info/record.js";
import { told } from "./picture-texts.js";

const TITLE = "Settings of a picture";

/**
 * @typedef {object} RestoreHost   what it asks of the page
 * @property {() => ?import("./model-loader.js").Loaded} model
 * @property {import("./sums.js").Sums} sums
 * @property {(handle: string) => ?Blob} fileOf   an adapter's
 * @property {(adapter: import("./picture-info/found.js").Named) => Promise<boolean>} fetchAdapter
 *   adds one that is kept or ships with the page; false: there is none
 * @property {import("./picture-jobs.js").PictureJobs} jobs
 * @property {() => void} settingsCame
 * @property {import("./start-controller.js").StartController} start
 */
export class Restorer {
  #ui;
  /** @type {RestoreHost} */
  #host;

  /** @param {RestoreHost} host */
  constructor(ui, host) {
    this.#ui = ui;
    this.#host = host;
  }

  /** @param {{name: string, file: Blob}} picture @returns {Promise<boolean>} false: it carries no settings */
  async fromFile({ name, file }) {
    const found = await readPicture(file);
    if (!found) return false;
    await this.restore(found, name, file);
    return true;
  }

  /** A text that somebody copied from a picture's page. @param {string} text */
  async fromText(text) {
    const found = readRecord(text) ?? readA1111(text);
    if (found) await this.restore(found, "Pasted");
  }

  /**
   * @param {import("./picture-info/found.js").Found} found @param {string} name of the picture
   * @param {Blob} [file]   that can be started from
   */
  async restore(found, name, file) {
    const { form, adapters, messages } = this.#ui;
    const { start } = this.#host;
    const before = { fields: form.snapshot(), adapters: adapters.snapshot(), start: start.snapshot() };
    for (const wish of missing(found, await this.#adapters())) await this.#host.fetchAdapter(wish);
    const model = this.#host.model();
    const plan = planOf(found, {
      takes: (field, value) => form.takes(field, value),
      schedulers: model?.report.schedulers ?? [],
      schedules: model?.report.schedules ?? [],
      scheduler: form.read().scheduler,
      adapters: await this.#adapters(),
      model: model && { title: model.title, hash: this.#host.sums.known(told(model).file), options: model.options },
      draws: (template, seed) => this.#host.jobs.texts(template, seed),
      hasStart: (wanted) => start.store.has(wanted),
      starts: before.start !== null,
    });
    form.apply(plan.settings);
    if (plan.strengths) adapters.restore(plan.strengths);
    if (plan.start !== undefined) start.restore(plan.start);
    this.#host.settingsCame();
    messages.clear(TITLE);
    const lacking = plan.lacking.length > 0 ? ` Not taken over: ${plan.lacking.join("; ")}.` : "";
    const came = plan.restored.length > 0 ? `${plan.restored.join(", ")}.` : "Nothing that can be set here.";
    messages.offer(TITLE, `${name} (${found.program}): ${came}${lacking}`, "Back to what was there", () => {
      form.putBack(before.fields);
      adapters.putBack(before.adapters);
      start.putBack(before.start);
      this.#host.settingsCame();
    }, { kind: "info", also: file ? [{ label: "Use as start", act: () => start.takeFile({ name, file }) }] : [] });
  }

  /** @returns {Promise<{handle: string, name: string, hash: ?string}[]>} */
  #adapters() {
    const { fileOf, sums } = this.#host;
    return Promise.all(this.#ui.adapters.all().map(async ({ handle, name, isWords }) => {
      const file = fileOf(handle);
      return { handle, name, hash: file ? await sums.take(isWords ? "embedding" : "adapter", file) : null };
    }));
  }
}
