// What of a picture's settings excludes what: noise levels, timesteps and eta hang on the scheduler.

/**
 * Settings as the engine takes them: a schedule only where the scheduler goes down any, other timesteps only without one,
 * eta where it is asked for.
 * @template {{scheduler: string, schedule: string, spacing: string, eta: ?number}} T
 * @param {T} settings @param {{id: string, takesSchedule: boolean}[]} schedulers @returns {T}
 */
export function consistent(settings, schedulers) {
  const schedule = takesSchedule(settings.scheduler, schedulers) ? settings.schedule : "";
  return { ...settings, schedule, spacing: schedule ? "" : settings.spacing, eta: settings.scheduler === "tcd" ? settings.eta : null };
}

/** @param {string} scheduler @param {{id: string, takesSchedule: boolean}[]} schedulers */
export function takesSchedule(scheduler, schedulers) {
  return schedulers.find(({ id }) => id === scheduler)?.takesSchedule ?? false;
}
