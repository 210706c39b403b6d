// The record of a run, `run.json`: what is in it, how it is read and replaced, and what is made of one whose files
// are not whole.

/**
 * @typedef {import("../protocol.js").Owed} Owed
 *
 * @typedef {object} Snapshot
 * @property {number} step
 * @property {number} serial             of this one among all that the run ever had
 * @property {string} path
 * @property {?string} preview           the fingerprint of the picture that is kept
 * @property {?string} image             its path
 * @property {?Owed} owed                when it was taken
 *
 * @typedef {object} RunRecord
 * @property {number} version
 * @property {string} id
 * @property {string} title
 * @property {{key: string, title: string}} model
 * @property {string} created            ISO time
 * @property {string} updated
 * @property {"unfinished"|"finished"} status
 * @property {import("../protocol.js").TrainConfig} config
 * @property {number} step               of `state`
 * @property {?string} state             path of the newest state; null: from the beginning
 * @property {?Owed} owed                at that state
 * @property {?string} log               path
 * @property {{path: string, name: string, caption: string, role: "train"|"heldOut"|"class", type: string}[]} pictures
 * @property {import("../protocol.js").Estimate} summary
 * @property {number} secondsPerStep
 * @property {?number} peakBytes          the most that passes took so far; null: not told
 * @property {?import("../protocol.js").LeaveOneOut} leaveOneOut
 * @property {number} [pictureSeconds]    what drawing the base's preview took
 * @property {?import("../protocol.js").Settings} preview   how previews are drawn
 * @property {number} serial             of the newest snapshot
 * @property {Snapshot[]} snapshots
 * @property {number} written            files so far, for their names
 * @property {?Object<string, number>} files   sizes by path; null: of a page that didn't note them
 */

export const RECORD = "run.json";
export const NEXT = `${RECORD}.new`;
export const DATASET = "dataset.bin";

/** Writes a file and looks at it again. @param {import("./folder.js").Files} files @param {Blob} blob */
export async function writeWhole(files, path, blob) {
  await files.write(path, blob);
  const there = await files.read(path);
  if (there?.size !== blob.size) throw new DOMException(`${path} came out with ${there?.size ?? 0} of ${blob.size} bytes.`, "QuotaExceededError");
}

/** Puts a record in the place of the one before, at once. @param {import("./folder.js").Files} files */
export async function replaceRecord(files, path, record) {
  await writeWhole(files, `${path}.new`, new Blob([JSON.stringify(record)]));
  await files.move(`${path}.new`, path);
}

/**
 * @param {import("./folder.js").Files} files
 * @param {(record: object) => boolean} good
 * @returns {Promise<?object>} null: there is none that can be read
 */
export async function newestRecord(files, path, good) {
  for (const name of [path, `${path}.new`]) {
    try {
      const record = JSON.parse(await /** @type {Blob} */ (await files.read(name)).text());
      if (good(record)) return record;
    } catch {
      // missing, empty or damaged: the other one may do
    }
  }
  return null;
}

/** A run's record. @param {import("./folder.js").Files} files @returns {Promise<?RunRecord>} */
export async function readRecord(files, id) {
  const record = await newestRecord(files, `${id}/${RECORD}`, ({ config, model, pictures, snapshots }) => config && model?.key && Array.isArray(pictures) && Array.isArray(snapshots));
  return record && upgraded(record, id);
}

/**
 * Takes a run off the disk. The record goes first: what is left of a run that lost it is swept some day.
 * @param {import("./folder.js").Files} files
 */
export async function removeRun(files, id) {
  for (const path of [`${id}/${NEXT}`, `${id}/${RECORD}`, id]) await files.remove(path);
}

/** A record of an earlier page, as this one has it. */
function upgraded(record, id) {
  const snapshots = record.snapshots.map((mark) => ({
    path: `snapshots/${padded(mark.step)}.bin`, image: mark.preview ? `previews/${padded(mark.step)}.png` : null, owed: null, ...mark,
  }));
  return { log: "log.jsonl", owed: null, files: null, written: 0, ...record, id, snapshots };
}

/**
 * Leaves in a record what is whole, and goes back to the newest whole state.
 * @param {RunRecord} record @param {(path: string) => boolean} whole
 * @returns {string[]} what is gone
 */
export function settle(record, whole) {
  if (!whole(DATASET)) throw new Error("Its data set is gone or was not written whole, so that it can't go on. Delete it and train anew.");
  const lost = [];
  const gone = record.snapshots.filter(({ path }) => !whole(path));
  const pictures = record.pictures.filter(({ path }) => !whole(path));
  const [state, step] = [record.state, record.step];
  record.snapshots = record.snapshots.filter(({ path }) => whole(path));
  for (const mark of record.snapshots) if (mark.image && !whole(mark.image)) Object.assign(mark, { image: null, preview: null });
  const states = [{ path: state, step, owed: record.owed }, ...record.snapshots].filter(({ path }) => path && whole(path));
  /** @type {?(typeof states)[0]} */
  let newest = null;
  for (const one of states) if (!newest || one.step > newest.step) newest = one;
  Object.assign(record, { state: newest?.path ?? null, step: newest?.step ?? 0, owed: newest?.owed ?? null });
  if (record.step < step) {
    record.status = "unfinished";
    lost.push(`The state of step ${step} is not whole: the run goes on from step ${record.step}.`);
  }
  if (gone.length > 0) lost.push(`Snapshots that are not whole: step ${gone.map((mark) => mark.step).join(", ")}.`);
  if (pictures.length > 0) {
    record.pictures = record.pictures.filter(({ path }) => whole(path));
    lost.push(`Pictures that are not whole: ${pictures.map(({ name }) => name).join(", ")}. Training goes on without them: their latents are kept.`);
  }
  if (record.log && !whole(record.log)) {
    record.log = null;
    if (record.step > 0) lost.push("Its losses so far are gone.");
  }
  return lost;
}

/** What going on needs. @param {RunRecord} record */
export function needed({ state, log, pictures }) {
  return [DATASET, state, log, ...pictures.map(({ path }) => path)].filter(Boolean);
}

/** All that a record names. @param {RunRecord} record */
export function pathsOf(record) {
  const marks = record.snapshots.flatMap(({ path, image }) => [path, image]);
  return [...new Set([...needed(record), ...marks.filter(Boolean)])];
}

export function padded(step) {
  return String(step).padStart(6, "0");
}
