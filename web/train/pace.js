// How fast runs and pictures were here, remembered by model and backend, and what a run will take by that.

import { recall, remember } from "../storage.js";
import { pictureSeconds, previewSeconds, samples, trained } from "./time.js";

/**
 * @typedef {{sample: number, training: number, previews: number, leavingOut: number}} Times seconds; sample: one sample of a step
 */
export class Pace {
  #key;
  #width;

  /** @param {{id: string, backend: string, report: import("../protocol.js").ModelReport}} model */
  constructor({ id, backend, report }) {
    this.#key = `${id} ${backend}`;
    this.#width = report.native.width;
  }

  /**
   * What a run with these settings takes here.
   * @param {import("../protocol.js").TrainConfig} config
   * @param {{train: number, heldOut: number}} counts
   * @param {import("../protocol.js").Settings} preview how its previews are drawn
   * @returns {?Times} null: none was timed yet
   */
  times(config, counts, preview) {
    const pace = recall("trainPace", {})[this.#key];
    if (!pace) return null;
    const sample = pace * this.#pixels(config);
    const training = sample * samples(config);
    const picture = recall("picturePace", {})[this.#key];
    const each = picture ? picture * preview.steps * this.#pixels(config) : pictureSeconds(sample, preview);
    return {
      sample,
      training,
      previews: previewSeconds(config, training, each),
      leavingOut: config.leaveOneOut ? trained(counts, config) * training : 0,
    };
  }

  /**
   * @param {number} secondsPerStep
   * @param {Pick<import("./record.js").RunRecord, "config"|"pictureSeconds"|"preview">} run that was timed
   */
  note(secondsPerStep, { config, pictureSeconds: seconds, preview }) {
    if (!(secondsPerStep > 0)) return;
    this.#remember("trainPace", secondsPerStep / (config.batch * config.accumulation * this.#pixels(config)));
    if (seconds > 0) this.#remember("picturePace", seconds / (preview.steps * this.#pixels(config)));
  }

  #remember(what, value) {
    remember(what, { ...recall(what, {}), [this.#key]: value });
  }

  #pixels({ resolution }) {
    return (resolution ?? this.#width) ** 2;
  }
}
