// What somebody opens, dropped, chosen or pasted: models, adapters, pictures, each where it belongs.

import { repeatsOf, sortFiles } from "./files.js";
import { size } from "./format.js";
import { UNREADABLE } from "./train/picture-set.js";
import { chosen } from "./ui/dialogs.js";

/** So many adapters at once are all added, switched off; of more somebody chooses. */
const FEW_ADAPTERS = 6;
const REPEATS = "In kohya’s folders the number says how often a picture is repeated. "
  + "Lorakeet takes each picture equally often: the numbers are not used.";
const NO_PICTURE = "A text is read as the caption of a picture of the same name in the same folder, and there is none. "
  + "Drop the picture first.";
/** Where a picture is dropped to start from, and as the mask over it. */
const [START, MASK] = ["start", "mask"];

/**
 * @typedef {object} OpenerHost   what it asks of the page
 * @property {(model: any) => Promise<unknown>} loadModel
 * @property {(parts: import("./protocol.js").ModelFile[]) => Promise<unknown>} addParts   of a model
 * @property {import("./adapter-stack.js").AdapterStack} adapters
 * @property {() => Promise<unknown>} settled   what is being loaded is: it writes the form
 * @property {(picture: {name: string, file: File}) => Promise<boolean>} restore   its settings; false: it carries none
 * @property {(texts: {path: string, file: File}[]) => Promise<void>} addLists   that prompts draw from
 * @property {(pictures: any[], texts: any[], role: any) => Promise<string[]>} addTrainFiles   gives the texts that are of no picture
 * @property {(picture: {name: string, file: Blob}) => Promise<unknown>} startFrom
 * @property {(picture: {name: string, file: Blob}) => Promise<unknown>} loadMask   into the dialog that is open
 */
export class FileOpener {
  #ui;
  /** @type {OpenerHost} */
  #host;

  /** @param {{messages: import("./ui/messages.js").Messages, tabs: import("./ui/tabs.js").Tabs}} ui @param {OpenerHost} host */
  constructor(ui, host) {
    this.#ui = ui;
    this.#host = host;
  }

  /** @param {import("./files.js").Dropped[]} files @param {string} role   what pictures among them are for */
  async open(files, role) {
    const { messages } = this.#ui;
    const inOrder = files.toSorted((a, b) => a.path.localeCompare(b.path, undefined, { numeric: true }));
    const { models, parts, adapters, pictures, texts, refused } = await sortFiles(inOrder);
    for (const { name, problem } of refused) messages.info(name, problem);
    for (const model of await this.#chosenModel(models)) await this.#host.loadModel(model);
    if (parts.length > 0) await this.#host.addParts(parts);
    await this.#addAdapters(adapters);
    // pictures beside an adapter or a model show what it can do
    if (models.length + parts.length + adapters.length > 0 || pictures.length + texts.length === 0) return;
    const isHere = this.#ui.tabs.view === "generate";
    // a text alone is a list that prompts draw from, where they are written; on the other view it is a caption
    if (pictures.length === 0 && isHere && texts.every(({ name }) => /\.txt$/i.test(name))) return this.#host.addLists(texts);
    // one alone, where pictures are drawn, is shown for its settings; several are a set to train on
    if (role === START && texts.length === 0) return this.#startFrom(pictures);
    if (role === MASK && texts.length === 0) return this.#host.loadMask(pictures[0]);
    if (pictures.length === 1 && texts.length === 0 && isHere) return this.#openSettings(pictures[0], role);
    await this.#addPictures(pictures, texts, role);
  }

  async #startFrom(pictures) {
    const [first] = pictures;
    if (pictures.length > 1) this.#ui.messages.info(`${pictures.length} pictures`, `A picture starts from one: ${first.name} is taken.`);
    await this.#host.startFrom(first);
  }

  async #openSettings(picture, role) {
    await this.#host.settled(); // what is being loaded writes the form
    if (await this.#host.restore(picture).catch(() => false)) return;
    if (!await isReadable(picture.file)) return void this.#ui.messages.error(picture.name, UNREADABLE);
    const text = "This picture carries no settings. They are lost where a picture is edited or copied; a file as it was saved has them.";
    this.#ui.messages.offer(picture.name, text, "Train on it", () => this.#addPictures([picture], [], role), {
      kind: "info",
      also: [{ label: "Use as start", act: () => this.#host.startFrom(picture) }],
    });
  }

  async #addPictures(pictures, texts, role) {
    const { messages } = this.#ui;
    const lost = await this.#host.addTrainFiles(pictures, texts, role);
    const repeats = repeatsOf(pictures);
    if (repeats) messages.info(repeats, REPEATS);
    if (lost.length > 0) messages.info(lost.join(", "), NO_PICTURE);
  }

  /** One of several models: each of them would take the place of the one before. */
  async #chosenModel(models) {
    if (models.length < 2) return models;
    const bytes = ({ files }) => files.reduce((sum, { blob }) => sum + blob.size, 0);
    const options = models.map((model) => ({ label: model.name, detail: size(bytes(model)) }));
    const text = `${models.length} models came at once, and one can be in use.`;
    const [index] = await chosen({ title: "Which model?", text, options, several: false, yes: "Load it" });
    return index === undefined ? [] : [models[index]];
  }

  async #addAdapters(adapters) {
    if (adapters.length < 2) {
      for (const adapter of adapters) await this.#host.adapters.add(adapter);
      return;
    }
    if (adapters.length <= FEW_ADAPTERS) return this.#host.adapters.addSeveral(adapters);
    const options = adapters.map(({ name, file }) => ({ label: name, detail: size(file.size) }));
    const text = `${adapters.length} adapters came at once. Those that you choose come switched off, for you to try them in turn.`;
    const indices = await chosen({ title: "Which adapters?", text, options, several: true, yes: "Add them" });
    return this.#host.adapters.addSeveral(indices.map((index) => adapters[index]));
  }
}

/** @param {Blob} file of a picture */
async function isReadable(file) {
  try {
    (await createImageBitmap(file)).close();
    return true;
  } catch {
    return false;
  }
}
