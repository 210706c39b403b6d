// Counts the tokens of the prompts as they are written, where that is worth telling: near the end of what the text
// encoder reads at once, and beyond it.

/** How long the words rest before they are counted. */
const REST_MS = 250;

export class TokenCounter {
  #engine;
  #form;
  #rest = 0;
  /** What was asked last; older answers say nothing. */
  #asked = 0;

  /**
   * @param {import("./engine.js").Engine} engine
   * @param {import("./ui/generate-form.js").GenerateForm} form
   * @param {() => boolean} isReady   whether there is a model whose text encoder reads them
   * @param {(settings: import("./protocol.js").Settings) => string[]} texts   both prompts, as the engine is to read them
   */
  constructor(engine, form, isReady, texts) {
    this.#engine = engine;
    this.#form = form;
    const soon = () => {
      clearTimeout(this.#rest);
      this.#rest = setTimeout(() => isReady() && this.#count(texts), REST_MS);
    };
    for (const type of ["prompt", "change", "written"]) form.addEventListener(type, soon);
  }

  async #count(read) {
    const asked = ++this.#asked;
    const settings = this.#form.read();
    try {
      const [prompt, negativePrompt] = await this.#engine.countTokens(read(settings), settings);
      if (asked === this.#asked) this.#form.showTokens({ prompt, negativePrompt });
    } catch {
      // an engine that is gone is told of by whoever brings it back; the next words are counted again
    }
  }
}
