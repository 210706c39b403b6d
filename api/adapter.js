// An adapter on the model.

/** A LoRA, any of its relatives, or an embedding (textual inversion), which is on or off. */
export class Adapter {
  #detach;
  /** Shown in messages. @type {string} */
  name;
  /** How it fits the model: what is used, what isn't and why, its trigger words. @type {import("../web/protocol.js").CoverageReport} */
  report;
  /** Why it is off the model: another one was loaded, which it doesn't fit. @type {?Error} */
  refusal = null;
  /** Whether pictures are drawn with it. */
  enabled = true;
  /** On the UNet, -10 to 10; 0 is the model alone, bit for bit. */
  unet = 1;
  /** On the text encoder. */
  textEncoder = 1;

  /**
   * Made by `Lorakeet.attach`.
   * @param {string} name @param {import("../web/protocol.js").CoverageReport} report @param {() => Promise<void>} detach
   */
  constructor(name, report, detach) {
    this.name = name;
    this.report = report;
    this.#detach = detach;
  }

  /** How strongly it acts on the whole model. The next picture is drawn with it; nothing is loaded for it. */
  get strength() { return this.unet; }

  set strength(strength) { this.unet = this.textEncoder = strength; }

  /** Takes it off the model. */
  async detach() {
    await this.#detach();
  }
}
