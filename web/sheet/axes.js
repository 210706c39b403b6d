// What the axes of a sheet can be: how each reads its values, what it makes of a picture's settings and how it is
// written beside the pictures. Pure.

import { withoutTags } from "../prompt/tags.js";
import { consistent, takesSchedule } from "../schedules.js";
import { randomSeed } from "../seed.js";
import { BadValue, listOf, numbersOf, wholesOf } from "./values.js";

/**
 * @typedef {object} Card                       an adapter on the page
 * @property {string} handle
 * @property {string} name
 * @property {boolean} isOn
 * @property {import("../pictures.js").Strength} strength    as it is
 * @property {(value: number) => import("../pictures.js").Strength} at
 *
 * @typedef {{id: string, title: string, steps: number[]}} Snapshots   of a run: its steps that an adapter can be made of
 *
 * @typedef {object} Page                       what there is to choose from
 * @property {import("../pictures.js").Job} job  what the page asks for now, with nothing drawn from its choices yet
 * @property {Card[]} cards
 * @property {Record<string, {id: string, label: string}[]>} choices   of the settings that are chosen from a list
 * @property {import("../protocol.js").ModelReport["schedulers"]} schedulers
 * @property {?Snapshots} snapshots
 * @property {(job: import("../pictures.js").Job, isSet: (handle: string) => boolean) => import("../pictures.js").Job} drawn
 *   with what its seed draws from the prompt's choices; isSet: adapters whose strength is said already
 *
 * @typedef {object} Draft
 * @property {import("../pictures.js").Job} job
 * @property {Card[]} cards                     those that are on, for a strength to act on
 * @property {boolean} [mayBeNone]              an axis says which are on, and that there may be none
 * @property {string[]} [set]                   handles of adapters whose strength an axis says
 *
 * @typedef {object} Value
 * @property {string} label
 * @property {number} [gauge]                   a strength, from -2 to 2
 * @property {(draft: Draft) => Draft} put
 *
 * @typedef {object} Axis
 * @property {string} id
 * @property {string} label
 * @property {string} example                   to begin with
 * @property {number} rank                      which adapters are on is said before how strong they are, the scheduler before its levels
 * @property {(text: string) => Value[]} read
 */

const MOST_STRENGTH = 2;

/** @param {Page} page @returns {Axis[]} those that mean something now */
export function axesOf(page) {
  const { cards, job, snapshots } = page;
  const { seed } = job.settings;
  const axes = [
    (cards.length > 0 || snapshots) && strengthAxis("strength", cards.length === 1 && !snapshots ? `Strength of ${cards[0].name}` : "Strength", (draft) => draft.cards),
    ...(cards.length > 1 ? cards.map((card) => strengthAxis(`strength ${card.handle}`, `Strength of ${card.name}`, () => [card])) : []),
    cards.length > 1 && adapterAxis(cards),
    snapshots && snapshotAxis(snapshots),
    job.settings.start && startAxis(job.settings.start),
    ...(job.settings.hires ? [hiresAxis("strength", "Strength of the upscale", "0.3-0.7 (+0.2)", [0, 1]), hiresAxis("steps", "Steps of the upscale", "8, 12, 20", [0, 150])] : []),
    { id: "seed", label: "Seed", example: `${seed}-${BigInt(seed) + 2n}`, rank: 2, read: readSeeds },
    wholeAxis("steps", "Steps", "8, 12, 20", [1, 150]),
    numberAxis("guidance", "Guidance", "1, 4, 7", [1, 30]),
    choiceAxis("scheduler", "Scheduler", page.choices.scheduler, page.schedulers),
    choiceAxis("schedule", "Schedule type", page.choices.schedule, page.schedulers),
    wholeAxis("clipSkip", "Clip skip", "1, 2", [1, 12]),
    choiceAxis("emphasis", "Weights of words", page.choices.emphasis, page.schedulers),
    choiceAxis("spacing", "Timesteps", page.choices.spacing, page.schedulers),
    replaceAxis(page),
  ];
  return axes.filter(Boolean);
}

const put = (changes) => (draft) => ({ ...draft, job: { ...draft.job, settings: { ...draft.job.settings, ...changes } } });

function inRange(value, [least, most]) {
  if (value < least || value > most) throw new BadValue(`${value} is out of range: it goes from ${least} to ${most}`);
  return value;
}

/** @returns {Axis} */
function wholeAxis(id, label, example, range) {
  const read = (text) => wholesOf(text).map((value) => ({ label: String(value), put: put({ [id]: inRange(Number(value), range) }) }));
  return { id, label, example, rank: 2, read };
}

/** @returns {Axis} */
function numberAxis(id, label, example, range) {
  const read = (text) => numbersOf(text).map((value) => ({ label: String(value), put: put({ [id]: inRange(value, range) }) }));
  return { id, label, example, rank: 2, read };
}

/** How much of the start picture is left. @param {import("../protocol.js").Start} start @returns {Axis} */
function startAxis(start) {
  const read = (text) => numbersOf(text).map((value) => {
    return { label: String(value), gauge: inRange(value, [0, 1]), put: put({ start: { ...start, strength: value } }) };
  });
  return { id: "start", label: "Strength of the start picture", example: "0.2-1 (+0.2)", rank: 2, read };
}

/** @param {"strength"|"steps"} key @param {string} label @param {string} example @param {[number, number]} range @returns {Axis} */
function hiresAxis(key, label, example, range) {
  const values = (text) => (key === "steps" ? wholesOf(text).map(Number) : numbersOf(text));
  const read = (text) => values(text).map((value) => {
    inRange(value, range);
    return { label: String(value), put: (draft) => put({ hires: { ...draft.job.settings.hires, [key]: value } })(draft) };
  });
  return { id: `hires.${key}`, label, example, rank: 2, read };
}

/** What only some schedulers take is not asked of others. @param {Draft} draft @param {Page["schedulers"]} schedulers @returns {Draft} */
function chosen(draft, id, value, schedulers) {
  const { scheduler } = draft.job.settings;
  if (id === "schedule" && value && !takesSchedule(scheduler, schedulers)) {
    throw new BadValue(`${schedulers.find((one) => one.id === scheduler)?.label ?? scheduler} has its own noise levels: choose another scheduler`);
  }
  const changes = id === "spacing" && value ? { schedule: "" } : {};
  const { job } = put({ ...changes, [id]: value })(draft);
  return { ...draft, job: { ...job, settings: consistent(job.settings, schedulers) } };
}

/** @param {{id: string, label: string}[]} choices @param {Page["schedulers"]} schedulers @returns {Axis} */
function choiceAxis(id, label, choices, schedulers) {
  const same = (a, b) => a.toLowerCase() === b.toLowerCase();
  const written = (one) => (one.includes(",") ? `"${one}"` : one);
  const read = (text) => listOf(text).map((word) => {
    const found = choices.find((one) => same(one.label, word) || same(one.id, word));
    if (!found) throw new BadValue(`“${word}” is none of ${choices.map((one) => one.label).join(", ")}`);
    return { label: found.label, put: (draft) => chosen(draft, id, found.id, schedulers) };
  });
  return { id, label, example: choices.slice(0, 3).map((one) => written(one.label)).join(", "), rank: id === "scheduler" ? 1 : 2, read };
}

/** -1 is a random one, drawn once for the whole sheet. @returns {Value[]} */
function readSeeds(text) {
  return wholesOf(text).map((value) => {
    if (value < -1n || value >= 10n ** 19n) throw new BadValue(`${value} is no seed: it has up to 19 digits, and -1 is a random one`);
    const seed = value === -1n ? randomSeed() : String(value);
    return { label: seed, put: put({ seed }) };
  });
}

/** @param {(draft: Draft) => Card[]} of which adapters it acts on @returns {Axis} */
function strengthAxis(id, label, of) {
  const read = (text) => numbersOf(text).map((value) => {
    inRange(value, [-MOST_STRENGTH, MOST_STRENGTH]);
    return {
      label: value === 0 ? "0, base" : String(value),
      gauge: value,
      put(draft) {
        const changed = of(draft);
        if (changed.length === 0 && !draft.mayBeNone) throw new BadValue("no adapter is on: switch one on");
        const rest = draft.job.adapters.filter(({ handle }) => !changed.some((card) => card.handle === handle));
        const now = changed.map((card) => card.at(value)).filter(({ unet, textEncoder }) => unet !== 0 || textEncoder !== 0);
        const set = [...draft.set ?? [], ...changed.map(({ handle }) => handle)];
        return { ...draft, set, job: { ...draft.job, adapters: [...rest, ...now] } };
      },
    };
  });
  return { id, label, example: "0-1.5 (+0.5)", rank: 1, read };
}

/**
 * No other adapter is on, but the words of embeddings.
 * @param {import("../pictures.js").Job} job @param {import("../pictures.js").Strength[]} adapters
 */
function alone(job, adapters) {
  return { ...job, adapters: [...job.adapters.filter(({ words }) => words), ...adapters] };
}

/** Each alone. @param {Card[]} cards @returns {Axis} */
function adapterAxis(cards) {
  const quoted = (name) => (name.includes(",") ? `"${name}"` : name);
  const read = (text) => listOf(text).map((word) => {
    const card = cards.find(({ name }) => name.toLowerCase() === word.toLowerCase());
    if (!card && word !== "none") throw new BadValue(`“${word}” is none of ${[...cards.map(({ name }) => name), "none"].join(", ")}`);
    const { unet = 0, textEncoder = 0 } = card?.strength ?? {};
    const strength = card && (unet !== 0 || textEncoder !== 0 ? card.strength : card.at(1));
    return { label: card?.name ?? "none", put: (draft) => ({ cards: card ? [card] : [], mayBeNone: true, job: alone(draft.job, strength ? [strength] : []) }) };
  });
  return { id: "adapter", label: "Adapter", example: cards.map(({ name }) => quoted(name)).join(", "), rank: 0, read };
}

/** The adapter of a run as it was at each step, alone; step 0 is without. @param {Snapshots} snapshots @returns {Axis} */
function snapshotAxis({ id, title, steps }) {
  const read = (text) => wholesOf(text).map(Number).map((step) => {
    if (step !== 0 && !steps.includes(step)) throw new BadValue(`${title} has no snapshot of step ${step}: it has ${steps.join(", ")}, and 0 is without`);
    const name = `${title}, step ${step}`;
    const at = (value) => ({ handle: `run ${id} step ${step}`, name, unet: value, textEncoder: value, onePart: false, step });
    const card = { handle: `run ${id} step ${step}`, name, isOn: true, strength: at(1), at };
    const cards = step === 0 ? [] : [card];
    return {
      label: step === 0 ? "0, base" : String(step),
      put: (draft) => ({ cards, mayBeNone: true, job: alone(draft.job, cards.map((one) => one.strength)) }),
    };
  });
  const some = steps.length > 5 ? [0, 1, 2, 3, 4].map((i) => steps[Math.round(i * (steps.length - 1) / 4)]) : steps;
  return { id: "snapshot", label: `Step of ${title}`, example: some.join(", "), rank: 0, read };
}

/** Prompt S/R: the first value is searched, and each is put in its place; tags stay as they are. @param {Page} page @returns {Axis} */
function replaceAxis({ job }) {
  const { prompt, negativePrompt } = job.written;
  const words = withoutTags(prompt, () => true);
  const read = (text) => {
    const [sought, ...others] = listOf(text);
    if (sought === undefined) return [];
    if (!words.includes(sought) && !negativePrompt.includes(sought)) throw new BadValue(`“${sought}” is neither in the prompt nor in the negative one: the first value is what is replaced`);
    return [sought, ...others].map((word) => {
      const replaced = (whole) => whole.split(/(<[^>]*>)/).map((part, i) => (i % 2 === 0 ? part.replaceAll(sought, () => word) : part)).join("");
      // as the other axis has left them
      const putWord = (draft) => {
        const { settings, written } = draft.job;
        return {
          ...draft,
          job: {
            ...draft.job,
            settings: { ...settings, prompt: replaced(settings.prompt), negativePrompt: replaced(settings.negativePrompt) },
            written: { prompt: replaced(written.prompt), negativePrompt: replaced(written.negativePrompt) },
          },
        };
      };
      return { label: word, put: putWord };
    });
  };
  const [first] = words.split(/[\s,]+/).filter(Boolean);
  return { id: "replace", label: "Words of the prompt", example: first ? `${first}, ` : "", rank: 3, read };
}
