// Runs kept in this browser: the one that can go on is offered on top, the others are a list.

import { size } from "../format.js";

const WHEN = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

/** Events: "continue" {id}, "open" {id}, "delete" {id, words}. */
export class TrainRuns extends EventTarget {
  #offer = document.querySelector("#resume-offer");
  #panel = document.querySelector("#runs-panel");
  #list = document.querySelector("#runs");
  #storage = document.querySelector("#runs-storage");
  #offered = null;

  constructor() {
    super();
    document.querySelector("#resume-run").addEventListener("click", () => this.#emit("continue", { id: this.#offered.id }));
    document.querySelector("#resume-discard").addEventListener("click", () => this.#delete(this.#offered));
  }

  /**
   * @param {(import("../runs.js").ListedRun|import("../runs.js").BrokenRun)[]} runs without the one in hand
   * @param {?{content: string, id: string, title: string}} model the one that is loaded; runs of earlier pages know its id alone
   * @param {boolean} free whether no run is in hand
   */
  show(runs, model, free) {
    /** @returns {run is import("../runs.js").ListedRun} */
    const usable = (run) => !run.broken && [model?.content, model?.id].includes(run.model.key) && !run.elsewhere;
    const offered = free ? runs.filter(usable).find(({ status }) => status === "unfinished") : null;
    this.#offered = offered ?? null;
    this.#offer.hidden = !offered;
    if (offered) {
      document.querySelector("#resume-title").textContent = `“${offered.title}” is not finished.`;
      document.querySelector("#resume-detail").textContent = `It is kept up to step ${offered.step} of ${offered.config.steps}, ${WHEN.format(new Date(offered.updated))}.`;
      document.querySelector("#resume-run").textContent = `Continue from step ${offered.step} of ${offered.config.steps}`;
    }
    this.#panel.hidden = runs.length === 0;
    this.#list.replaceChildren(...runs.map((run) => this.#row(run, usable(run), model)));
  }

  /** @param {string} words on what they take */
  setStorage(words) {
    this.#storage.textContent = words;
  }

  #row(run, usable, model) {
    const { title, elsewhere, broken } = run;
    const row = document.createElement("li");
    row.dataset.run = run.id;
    row.dataset.testid = "run";
    const words = document.createElement("div");
    words.append(
      Object.assign(document.createElement("b"), { textContent: title, dir: "auto" }),
      Object.assign(document.createElement("small"), {
        textContent: [...standing(run), WHEN.format(new Date(run.updated)), size(run.size), elsewhere && "open in another tab"].filter(Boolean).join(" · "),
      }),
    );
    const open = this.#button("Open", "quiet", `Open ${title}`, () => this.#emit("open", { id: run.id }));
    open.disabled = !usable;
    open.hidden = Boolean(broken);
    if (!usable && !broken) open.title = elsewhere ? "It is open in another tab" : belongs(run.model.title, model);
    const remove = this.#button("✕", "icon", `Delete ${title}`, () => this.#delete(run));
    remove.disabled = elsewhere;
    row.append(words, open, remove);
    return row;
  }

  #button(text, className, label, act) {
    const button = Object.assign(document.createElement("button"), { type: "button", className, textContent: text });
    button.setAttribute("aria-label", label);
    button.addEventListener("click", act);
    return button;
  }

  #delete({ id, title, step, broken, size: bytes }) {
    this.#emit("delete", { id, words: broken ? `${title}: ${size(bytes)} that nothing can be made of` : `“${title}”, at step ${step}, with its snapshots` });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Where a run stands, in words. */
function standing({ broken, status, step, config, model }) {
  if (broken) return ["its record is missing or damaged"];
  return [status === "finished" ? `finished at step ${step}` : `step ${step} of ${config.steps}`, model.title];
}

function belongs(title, model) {
  const other = model?.title === title ? `another model of the name ${title}` : `the model ${title}`;
  return `It belongs to ${other}: load that first`;
}
