// Small things remembered between visits. Storage may be off or full: then nothing is remembered.

const PREFIX = "lorakeet.";

export function recall(key, otherwise = null) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** @returns {boolean} false in private windows and full storage: the page works without */
export function remember(key, value) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
