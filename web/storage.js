// Small things remembered between visits. Storage may be off or full: then nothing is remembered.

const PREFIX = "lorakeet.";

export function recall(key, otherwise = null) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // private windows and full storage: the page works without
  }
}
