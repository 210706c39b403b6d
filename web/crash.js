// What is said when the engine's worker breaks.

import { CRASH, LOST } from "./protocol.js";

/** What every open request gets when the worker breaks. @param {{message: string, kind?: string}} cause */
export function crashError({ message, kind }) {
  const error = new Error(message || "the worker stopped without a message");
  return Object.assign(error, { name: CRASH, kind });
}

export function whileLoading({ message, kind }) {
  return new Error(kind === LOST
    ? `The GPU was lost while it loaded (${message}). Try it again, or choose less memory for the weights.`
    : `The engine stopped while it loaded (${message}). Most often that is memory: choose less memory for the weights, or close other tabs.`);
}

/** Passes over a refusal, not over the loss of the worker. */
export function onlyCrash(error) {
  if (error.name === CRASH || error.name === "AbortError") throw error;
}
