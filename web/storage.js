// Small things remembered between visits. Storage may be off or full: then nothing is remembered.

const PREFIX = "lorakeet.";

const lasting = () => localStorage;
/** What one tab remembers over a reload. */
export const ofTab = () => sessionStorage;

/** @param {() => Storage} [where]   asking for it may fail already */
export function recall(key, otherwise = null, where = lasting) {
  try {
    return JSON.parse(where().getItem(PREFIX + key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** @returns {boolean} false in private windows and full storage: the page works without */
export function remember(key, value, where = lasting) {
  try {
    where().setItem(PREFIX + key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
