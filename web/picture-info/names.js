// What other programs call samplers, schedules and ways to weigh words, in our names: of all that there are, whether
// the engine has them or not.

/** Ours, A1111's, ComfyUI's, InvokeAI's (without its `_k`, which is Karras). */
const SAMPLERS = [
  ["euler", "Euler", "euler", "euler"],
  ["euler_a", "Euler a", "euler_ancestral", "euler_a"],
  ["heun", "Heun", "heun", "heun"],
  ["dpm2", "DPM2", "dpm_2", "kdpm_2"],
  ["dpm2_a", "DPM2 a", "dpm_2_ancestral", "kdpm_2_a"],
  ["lms", "LMS", "lms", "lms"],
  ["pndm", "PLMS", null, "pndm"],
  ["ddim", "DDIM", "ddim", "ddim"],
  ["ddpm", "DDPM", "ddpm", "ddpm"],
  ["dpmpp_2s", "DPM++ 2S", null, "dpmpp_2s"],
  ["dpmpp_2s_a", "DPM++ 2S a", "dpmpp_2s_ancestral", null],
  ["dpmpp_2m", "DPM++ 2M", "dpmpp_2m", "dpmpp_2m"],
  ["dpmpp_sde", "DPM++ SDE", "dpmpp_sde", "dpmpp_sde"],
  ["dpmpp_2m_sde", "DPM++ 2M SDE", "dpmpp_2m_sde", "dpmpp_2m_sde"],
  ["dpmpp_2m_sde_heun", "DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun", null],
  ["dpmpp_3m_sde", "DPM++ 3M SDE", "dpmpp_3m_sde", null],
  ["restart", "Restart", null, null],
  ["unipc", "UniPC", "uni_pc", "unipc"],
  ["unipc", "UniPC", "uni_pc_bh2", "unipc"],
  ["deis", "DEIS", "deis", "deis"],
  ["lcm", "LCM", "lcm", "lcm"],
  ["tcd", "TCD", null, "tcd"],
];

/** A1111's labels, by ComfyUI's. */
const SCHEDULES = {
  normal: "Uniform", karras: "Karras", exponential: "Exponential", sgm_uniform: "SGM Uniform", simple: "Simple",
  ddim_uniform: "DDIM", beta: "Beta", kl_optimal: "KL Optimal",
};
const LABELS = ["Automatic", "Polyexponential", "Normal", "Align Your Steps", "Turbo", ...Object.values(SCHEDULES)];

/** What "Automatic" is for A1111's samplers that don't take all timesteps evenly. */
const PREFERRED = {
  dpmpp_2m: "Karras", dpmpp_sde: "Karras", dpmpp_2s_a: "Karras", dpm2: "Karras", dpm2_a: "Karras", restart: "Karras",
  dpmpp_2m_sde: "Exponential", dpmpp_2m_sde_heun: "Exponential", dpmpp_3m_sde: "Exponential",
};

const KARRAS = "_karras";

/** For levels that are the model's own: A1111 doesn't know it, and takes what it likes. */
const OWN_LEVELS = "Model default";

/** By our names. A1111's for what it doesn't do have no place in its menu: it reads them as Original. */
export const EMPHASES = { original: "Original", no_norm: "No norm", comfy_ui: "ComfyUI", ignore: "Ignore", none: "None" };

/** @param {string} label @returns {?string} ours */
export function emphasisOf(label) {
  return Object.keys(EMPHASES).find((ours) => EMPHASES[ours].toLowerCase() === label.toLowerCase()) ?? null;
}

/** What we call A1111's schedule. @param {string} label */
const idOf = (label) => label.toLowerCase().replaceAll(" ", "_");

/**
 * How A1111 names a scheduler and a schedule of ours.
 * @param {string} id @param {string} [levels] empty: the model's own @returns {{sampler: string, schedule: string}}
 */
export function labelsOf(id, levels = "") {
  const isKarras = id.endsWith(KARRAS);
  const base = isKarras ? id.slice(0, -KARRAS.length) : id;
  const sampler = SAMPLERS.find(([ours]) => ours === base)?.[1] ?? base;
  return { sampler, schedule: isKarras ? "Karras" : LABELS.find((label) => idOf(label) === levels) ?? OWN_LEVELS };
}

/**
 * What another program's words ask for. `id`: our name of the sampler, null where we have no name for it; `schedule`:
 * A1111's label of the levels, null where they are the model's own.
 * @typedef {{label: string, id: ?string, schedule: ?string}} Sampler
 */

/** @param {string} name as A1111 writes it; before 1.9 the schedule is at its end @param {string} [type] @returns {Sampler} */
export function fromA1111(name, type) {
  let label = name;
  let schedule = LABELS.find((one) => one === type) ?? (type === undefined ? "Automatic" : null);
  if (!SAMPLERS.some(([, theirs]) => theirs === name)) {
    const suffix = LABELS.filter((one) => name.endsWith(` ${one}`)).sort((a, b) => b.length - a.length)[0];
    if (suffix) [label, schedule] = [name.slice(0, -suffix.length - 1), suffix];
  }
  const id = SAMPLERS.find(([, theirs]) => theirs.toLowerCase() === label.toLowerCase())?.[0] ?? null;
  if (schedule === "Automatic") schedule = PREFERRED[id] ?? "Uniform";
  return { label: name, id, schedule };
}

/** @param {string} name @param {string} [scheduler] @returns {Sampler} */
export function fromComfy(name, scheduler) {
  const id = SAMPLERS.find(([, , theirs]) => theirs === name)?.[0] ?? null;
  return { label: name, id, schedule: SCHEDULES[scheduler] ?? scheduler ?? null };
}

/** @param {string} name @returns {Sampler} */
export function fromInvoke(name) {
  const isKarras = name.endsWith("_k");
  const base = isKarras ? name.slice(0, -2) : name;
  const id = SAMPLERS.find(([, , , theirs]) => theirs === base)?.[0] ?? null;
  return { label: name, id, schedule: isKarras ? "Karras" : null };
}

/**
 * The scheduler and the schedule to set, of those that the engine has, and what of the wish they don't meet.
 * @param {Sampler} sampler
 * @param {{schedulers: {id: string, takesSchedule: boolean}[], schedules: {id: string}[]}} engine
 * @returns {{id: ?string, schedule: ?string, lacking: ?string}}
 */
export function nearest({ label, id, schedule }, { schedulers, schedules }) {
  const has = (name) => schedulers.find((one) => one.id === name);
  const levels = schedule && schedules.find((one) => one.id === idOf(schedule));
  if (levels && has(id)?.takesSchedule) return { id, schedule: levels.id, lacking: null };
  const joined = id && schedule && `${id}_${idOf(schedule)}`;
  if (joined && has(joined)) return { id: joined, schedule: "", lacking: null };
  if (!id || !has(id)) return { id: null, schedule: null, lacking: `sampler ${label}` };
  const lacking = schedule && schedule !== "Uniform" ? `schedule ${schedule} (the levels are the model’s own)` : null;
  return { id, schedule: "", lacking };
}
