// The line of pictures: what is drawn, what waits, and what leads from one to another. Pure: drawing is pictures.js' matter.
//
// Asked: somebody pressed Generate. It waits its turn, and only Stop, its ✕ and Empty take it away.
// Live:  the picture on show with what the page says now, since a slider moved. Only the newest counts; it goes before
//        those that wait, but not before the one in hand, if that was asked for.
// Base:  the picture on show at strength 0, to compare. It is drawn when nothing else is to be.

/**
 * @typedef {"asked"|"live"|"base"} Kind
 *
 * @typedef {object} Entry
 * @property {number} id
 * @property {string} key                      its picture's fingerprint
 * @property {import("./pictures.js").Job} job
 * @property {?object} group                   what asked for it together with others, and shows them itself
 *
 * @typedef {object} State
 * @property {?{kind: Kind, entry: Entry}} hand   what is drawn
 * @property {readonly Entry[]} waiting
 * @property {?Entry} live
 * @property {?Entry} base
 * @property {boolean} resting                 a slider is held, and its picture will be live
 */

/** @type {State} */
export const NOTHING = Object.freeze({ hand: null, waiting: Object.freeze([]), live: null, base: null, resting: false });

/** What nobody asked for by itself makes way. @param {State} state */
function withoutLive({ hand, ...state }) {
  return { ...state, hand: hand?.kind === "asked" ? hand : null, live: null, base: null };
}

/** By event: what becomes of the state. */
export const EVENTS = Object.freeze(/** @satisfies {Record<string, (state: State, told: any) => State>} */ ({
  /** @param {Entry[]} entries */
  ask(state, entries) {
    const { hand, waiting } = state;
    const isThere = (one, entry) => one.key === entry.key && one.group === entry.group;
    const isNew = (entry, i) => !waiting.some((one) => isThere(one, entry)) && !(hand?.kind === "asked" && isThere(hand.entry, entry))
      && entries.findIndex((one) => isThere(one, entry)) === i;
    const added = entries.filter(isNew);
    // what a slider began goes on as what is asked for now
    const same = hand?.kind === "live" && added.find((entry) => isThere(hand.entry, entry));
    const rest = { ...state, resting: false, waiting: [...waiting, ...added.filter((entry) => entry !== same)] };
    if (same) return { ...rest, hand: { kind: "asked", entry: hand.entry } };
    return hand?.kind === "base" && added.length > 0 ? { ...rest, hand: null, base: hand.entry } : rest;
  },
  /** @param {Entry} entry */
  live(state, entry) {
    const isInHand = state.hand?.entry.key === entry.key && state.hand.kind !== "base";
    return isInHand ? { ...state, live: null, resting: false } : { ...withoutLive(state), live: entry, resting: false };
  },
  /** A slider moved: its picture comes when it rests. */
  rest: (state) => ({ ...withoutLive(state), resting: true }),
  /** What is seen needs no drawing. */
  seen: (state) => ({ ...withoutLive(state), resting: false }),
  /** @param {Entry} entry */
  compare: (state, entry) => ({ ...state, base: entry }),
  /** What is drawn is not wanted. */
  stop: (state) => ({ ...withoutLive(state), hand: null, resting: false }),
  /** @param {(entry: Entry) => boolean} test  which are not wanted any more; in hand only those of a group */
  cancel(state, test) {
    const { hand, waiting } = state;
    const gone = hand?.kind === "asked" && hand.entry.group && test(hand.entry);
    return { ...state, hand: gone ? null : hand, waiting: waiting.filter((entry) => !test(entry)) };
  },
  /** What waits is not wanted; what is in hand is another matter. */
  empty: (state) => ({ ...state, waiting: [] }),
  /** Something else needs the engine at once: what was asked for is drawn afterwards. */
  putBack(state) {
    const { hand, waiting } = state;
    return { ...withoutLive(state), hand: null, resting: false, waiting: hand?.kind === "asked" ? [hand.entry, ...waiting] : waiting };
  },
  /** Something else needs the engine soon. */
  clearLive: (state) => ({ ...withoutLive(state), resting: false }),
  /** The next one is taken in hand, if there is one. */
  begin(state) {
    const { hand, waiting, live, base, resting } = state;
    if (hand || resting) return state;
    if (live) return { ...state, live: null, hand: { kind: "live", entry: live } };
    if (waiting.length > 0) return { ...state, waiting: waiting.slice(1), hand: { kind: "asked", entry: waiting[0] } };
    return base ? { ...state, base: null, hand: { kind: "base", entry: base } } : state;
  },
  /** What was in hand is through, however it ended. @param {Entry} entry */
  done: (state, entry) => (state.hand?.entry === entry ? { ...state, hand: null } : state),
}));

/** @param {State} state @param {keyof typeof EVENTS} event @returns {State} */
export function next(state, event, told = undefined) {
  return Object.freeze(EVENTS[event](state, told));
}

/** How many were asked for and aren't there yet. @param {State} state */
export function owed({ hand, waiting }) {
  return waiting.length + (hand?.kind === "asked" ? 1 : 0);
}
