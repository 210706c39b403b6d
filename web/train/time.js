// What a run will take, told before it: time, from what one sample took in an earlier run here, and room on disk.

/** What a training step takes in units of a forward pass, per sample: 2.5 to 4 (`cargo xtask bench`). */
const STEP = 3;

/**
 * Of training and drawing together, what "few" previews may take, and of training and measuring what measuring may: SHARE of
 * src/training/previews.rs and measuring.rs.
 */
const SHARE = 0.2;

/** Seconds of measuring that nobody minds at the end of a run: PATIENCE of measuring.rs. */
const PATIENCE = 10;

/** Whether previews are drawn at all. */
export function hasPreviews({ previews = "few", previewEvery }) {
  return previews === "snapshots" || (previews === "few" && previewEvery > 0);
}

/** Samples that a run works through: what its time goes with. */
export function samples({ steps, batch, accumulation }) {
  return steps * batch * accumulation;
}

/** Pictures that are left to train on. @param {{train: number, heldOut: number}} counts before the run holds some out by itself */
export function trained({ train, heldOut }, { holdOut }) {
  return Math.max(0, heldOut > 0 ? train : train - holdOut);
}

/**
 * One preview, from a training sample of its size, where none was timed.
 * @param {number} sampleSeconds
 * @param {import("../protocol.js").Settings} settings
 */
export function pictureSeconds(sampleSeconds, { steps, guidance }) {
  return steps * (guidance > 1 ? 2 : 1) * sampleSeconds / STEP;
}

/**
 * All measuring of a run: it keeps to its share of the time, or to seconds; none where not even one evaluation has room.
 * @param {{samples: number, first: number}} measuring of the estimate
 */
export function measuringSeconds({ samples, first }, sampleSeconds, training) {
  const [all, one] = [samples, first].map((count) => count * sampleSeconds / STEP);
  const most = Math.max(training * SHARE / (1 - SHARE), PATIENCE);
  return one > most ? 0 : Math.min(all, most);
}

/** All previews of a run. "Few" keep to their share of the time, the first and the last one aside. */
export function previewSeconds(config, training, picture) {
  if (!hasPreviews(config)) return 0;
  const every = config.previews === "snapshots" ? config.snapshotEvery : config.previewEvery;
  const all = (1 + (every > 0 ? Math.ceil(config.steps / every) : 1)) * picture;
  return config.previews === "snapshots" ? all : Math.min(all, training * SHARE / (1 - SHARE) + 2 * picture);
}

/** Numbers that each optimiser keeps beside a parameter: `names` of src/training/optimizer.rs. */
const KEPT_BESIDE = { adamW: 2, lion: 1, prodigy: 4 };

/**
 * Bytes of all that a run keeps to go back to and on from: its snapshots, and its newest state twice, since the one before goes last.
 * @param {import("../protocol.js").TrainConfig} config
 */
export function stateBytes({ steps, snapshotEvery, optimizer }, parameters) {
  const snapshots = 1 + (snapshotEvery > 0 ? Math.ceil(steps / snapshotEvery) : 1);
  return (snapshots + 2) * parameters * 4 * (1 + (KEPT_BESIDE[optimizer.name] ?? 2));
}
