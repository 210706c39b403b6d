// Wires choices in prompts: the lists that are dropped, and the line under the prompt that says what the seed draws, and
// what of its tags can't be read.

import { counted } from "./format.js";
import { Library } from "./library/library.js";
import { whyNotKept } from "./library/why-not.js";
import { LIST_KIND, linesOf, nameOfList } from "./prompt/lists.js";
import { saidBy } from "./prompt/spread-words.js";
import { readTags } from "./prompt/tags.js";
import { captionOf } from "./train/captions.js";

/** How long the words rest before they are read. */
const REST_MS = 250;
/** More of what is drawn says no more. */
const MOST_TOLD = 400;

export class ChoicesController {
  #form;
  #messages;
  #library;
  #wildcards;
  #jobs;
  #rest = 0;

  /**
   * @param {{form: import("./ui/generate-form.js").GenerateForm, messages: import("./ui/messages.js").Messages}} ui
   * @param {Library} library
   * @param {import("./wildcards.js").Wildcards} wildcards
   * @param {import("./picture-jobs.js").PictureJobs} jobs
   */
  constructor({ form, messages }, library, wildcards, jobs) {
    this.#form = form;
    this.#messages = messages;
    this.#library = library;
    this.#wildcards = wildcards;
    this.#jobs = jobs;
    const soon = () => {
      clearTimeout(this.#rest);
      this.#rest = setTimeout(() => this.#tell(), REST_MS);
    };
    for (const type of ["prompt", "change", "written"]) form.addEventListener(type, soon);
    wildcards.addEventListener("change", () => this.#tell());
    wildcards.coming?.finally(() => this.#tell());
  }

  /** Lists that were dropped. @param {{path: string, file: File}[]} texts */
  async addLists(texts) {
    const added = [];
    for (const { path, file } of texts) {
      const name = nameOfList(path);
      const text = await captionOf(file).catch(() => null);
      const lines = linesOf(text ?? "");
      if (text === null) this.#messages.info(path, "It is no text, has more than 1 MB, or can’t be read: no list is made of it.");
      else if (!name || lines.length === 0) this.#messages.info(path, "A list of choices has one on each line, and a name. This has none.");
      else if (await this.#keep(name, file, lines)) added.push({ name, count: lines.length });
    }
    if (added.length === 0) return;
    const [{ name, count }] = added;
    const what = added.length === 1 ? `A list of ${counted(count, "choice")} now` : `${added.length} lists of choices now, such as ${name}`;
    const names = added.map((one) => one.name).join(", ");
    this.#messages.info(names, `${what}: write __${name}__ in a prompt, and each seed draws a line of it.`);
  }

  /** @returns {Promise<boolean>} whether it is here under its name */
  async #keep(name, file, lines) {
    const older = this.#wildcards.entryNamed(name);
    try {
      if (Library.problem) throw new Error(Library.problem);
      const { entry } = await this.#library.keep({ kind: LIST_KIND, name }, [{ path: `${name}.txt`, blob: file }]);
      const known = nameOfList(entry.name);
      if (known !== name) {
        this.#messages.info(name, `This list is here already, as ${known}: the same lines under another name. Write __${known}__.`);
        return false;
      }
      if (older && older !== entry.id) {
        await this.#library.remove(older);
        this.#messages.info(name, "The newer list took the place of the older one of this name.");
      }
      await this.#library.persist();
    } catch (error) {
      this.#wildcards.addLoose(name, lines);
      const why = Library.problem ?? whyNotKept(name, error, file.size, await this.#library.room());
      this.#messages.info(name, `${why} The list is there until the tab is closed.`);
    }
    return true;
  }

  /** What the seed draws, and what isn't found. */
  #tell() {
    const { prompt, negativePrompt, seed, steps } = this.#form.read();
    // before the lists are read, none is missing
    if (this.#wildcards.coming !== null || !/^\d+$/.test(seed)) return;
    const { texts: [words, negative], unknown, endless, open } = this.#jobs.told({ prompt, negativePrompt }, seed);
    const isDrawn = words !== prompt;
    const isNegativeDrawn = negative !== negativePrompt;
    const drawn = [isDrawn && words, isNegativeDrawn && `without ${negative}`].filter(Boolean).join(" · ");
    const wrong = [
      ...unknown.map((name) => `There is no list “${name}”: drop ${name.split("/").at(-1)}.txt on the page, with a choice on each line.`),
      ...endless.map((name) => `The list “${name}” draws from itself without an end.`),
      open && "A { isn’t closed, so it begins no choice.",
      ...readTags(words).flatMap((tag) => saidBy(tag, steps).wrong.map(({ problem, remedy }) => `${tag.name}, ${problem}. ${remedy}.`)),
    ];
    const told = drawn && `Seed ${seed} draws: ${drawn.length > MOST_TOLD ? `${drawn.slice(0, MOST_TOLD)}…` : drawn}`;
    this.#form.showChoices([told, ...wrong].filter(Boolean).join(" · "), wrong.some(Boolean));
  }
}
