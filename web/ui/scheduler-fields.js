// The scheduler, and the fields that hang on which one it is.

import { consistent, takesSchedule } from "../schedules.js";

/** @typedef {import("../protocol.js").ModelReport} ModelReport */

export class SchedulerFields {
  #scheduler = document.querySelector("#scheduler");
  #schedule = document.querySelector("#schedule");
  #about = document.querySelector("#scheduler-about");
  #scheduleField = document.querySelector("#schedule-field");
  #spacingField = document.querySelector("#spacing-field");
  #etaField = document.querySelector("#eta-field");
  /** @type {ModelReport["schedulers"]} */
  #schedulers = [];

  /** @param {Pick<ModelReport, "schedulers"|"schedules">} report */
  fill({ schedulers, schedules = [] }) {
    this.#schedulers = schedulers;
    const groups = [...new Set(schedulers.map(({ group }) => group))].map((label) => {
      const group = document.createElement("optgroup");
      group.label = label;
      group.append(...schedulers.filter((one) => one.group === label).map(({ id, label: name }) => new Option(name, id)));
      return group;
    });
    this.#scheduler.replaceChildren(...groups);
    const { value } = this.#schedule;
    this.#schedule.replaceChildren(this.#schedule.options[0], ...schedules.map(({ id, label, about }) => new Option(`${label}: ${about}`, id)));
    this.#schedule.value = schedules.some(({ id }) => id === value) ? value : "";
  }

  /** @template {{scheduler: string, schedule: string, spacing: string, eta: ?number}} T @param {T} settings @returns {T} */
  read(settings) {
    return consistent(settings, this.#schedulers);
  }

  /** Shows what the chosen scheduler takes, and says what it is for. @param {{scheduler: string, schedule: string}} settings as read */
  show({ scheduler, schedule }) {
    this.#about.textContent = this.#schedulers.find(({ id }) => id === scheduler)?.about ?? "";
    this.#scheduleField.hidden = !takesSchedule(scheduler, this.#schedulers);
    this.#spacingField.hidden = schedule !== "";
    this.#etaField.hidden = scheduler !== "tcd";
  }
}
