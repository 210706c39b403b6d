// What a run did so far: losses by step, evaluations, and what to make of them in words.

/** Share of the old value in the smoothed loss. */
const SMOOTHING = 0.9;

/**
 * @typedef {Pick<import("../protocol.js").TrainStep, "step"|"loss"|"learningRate"|"gradientNorm"|"skippedNow"|"seconds">
 *   & {smooth: number}} LoggedStep
 */
export class RunLog {
  /** @type {LoggedStep[]} */
  steps = [];
  /** @type {import("../protocol.js").Evaluation[]} */
  evaluations = [];

  /** @param {import("../protocol.js").TrainStep} step */
  addStep({ step, loss, learningRate, gradientNorm, skippedNow, seconds }) {
    this.#drop(this.steps, step - 1); // done anew
    const before = this.steps.at(-1)?.smooth;
    const value = Number.isFinite(loss) ? loss : null;
    // a plain mean at first, so that the first loss doesn't weigh for ever
    const weight = Math.min(SMOOTHING, this.steps.length / (this.steps.length + 1));
    const smooth = value === null ? before ?? null : before == null ? value : weight * before + (1 - weight) * value;
    this.steps.push({ step, loss: value, learningRate, gradientNorm, skippedNow, seconds, smooth });
  }

  addEvaluation(evaluation) {
    this.#drop(this.evaluations, evaluation.step - 1);
    this.evaluations.push(evaluation);
  }

  /** Forgets what came after this step. */
  truncate(step) {
    this.#drop(this.steps, step);
    this.#drop(this.evaluations, step);
  }

  /** Step of the best evaluation so far. @returns {?number} */
  get best() {
    return this.evaluations.findLast(({ best }) => best)?.step ?? null;
  }

  /** What a step took lately, in seconds. */
  get secondsPerStep() {
    const last = this.steps.slice(-20).map(({ seconds }) => seconds).filter((s) => s > 0).sort((a, b) => a - b);
    return last.length ? last[last.length >> 1] : null;
  }

  /** As text, one JSON object a line. */
  toText() {
    const lines = [
      ...this.steps.map(({ smooth, ...step }) => JSON.stringify(step)),
      ...this.evaluations.map((evaluation) => JSON.stringify({ evaluation })),
    ];
    return `${lines.join("\n")}\n`;
  }

  /** @param {?string} text @param {number} upTo the step that the run goes on from */
  static parse(text, upTo) {
    const log = new RunLog();
    for (const line of (text ?? "").split("\n").filter(Boolean)) {
      const { evaluation, ...step } = JSON.parse(line);
      if (evaluation) log.addEvaluation(evaluation);
      else log.addStep(step);
    }
    log.truncate(upTo);
    return log;
  }

  #drop(list, after) {
    while (list.length && list.at(-1).step > after) list.pop();
  }
}

export const VERDICTS = {
  learning: "still learning",
  settled: "settled",
  memorising: "memorising",
  forgetting: "forgetting the base",
};

/** What an evaluation found, as short sentences. @param {import("../protocol.js").Evaluation} evaluation */
export function findings({ train, heldOut, drift, copying, diversity, draws, of }) {
  const found = [
    { text: `Loss on the pictures: ${percent(train.ratio)} of the base model's.` },
    heldOut
      ? { text: `Loss on pictures held out: ${percent(heldOut.ratio)} of the base model's.` }
      : { text: "No picture is held out, so memorising cannot be measured. Leave each out in turn when the run is through, or mark one as held out next time." },
    { text: `Other prompts have moved by ${percent(drift)} of the base model's own error.`, warn: drift > 1 },
  ];
  if (copying) {
    found.push(copying.similarity >= 0.9
      ? { text: `What it draws is ${percent(copying.similarity)} like ${copying.name}: it may be copying.`, warn: true }
      : { text: `No copying: the nearest picture is ${copying.name}, ${percent(Math.max(0, copying.similarity))} alike.` });
  }
  if (diversity !== null && diversity !== undefined) {
    found.push({ text: `Variety over seeds: ${percent(diversity)} of the base model's.`, warn: diversity < 0.5 });
  }
  if (draws < of) found.push({ text: `Measured at ${draws} of ${of} timesteps of each picture, to keep measuring to a fifth of the time.` });
  return found;
}

export function percent(value) {
  return `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`;
}

/** Three figures, without needless digits. */
export function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 0.001 && size < 10_000 ? String(Number(value.toPrecision(3))) : value.toExponential(1).replace("e-", "e−").replace("e+", "e");
}
