// Numbers for people.

export function megabytes(bytes) {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

/** As `megabytes`, with fewer digits. */
export function gigabytes(bytes) {
  return bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

/** Without needless digits. */
export function size(bytes) {
  if (bytes < 1e5) return `${Math.ceil(bytes / 1e3)} kB`;
  return bytes < 1e9 ? `${Number((bytes / 1e6).toPrecision(2))} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

export function duration(ms, digits = 1) {
  const seconds = ms / 1000;
  if (seconds < 60) return `${digits ? seconds.toFixed(digits) : Math.ceil(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
}

/** A rough time: for what isn't known to the second. */
export function about(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export function millions(count) {
  if (count < 1e6) return `${Math.round(count / 1e3)} k`;
  return count < 1e9 ? `${(count / 1e6).toFixed(1)} M` : `${(count / 1e9).toFixed(2)} G`;
}

/** With a full stop, for another sentence to follow: not all messages have one. */
export function sentence(text) {
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}

/** "a picture", "3 pictures" */
export function counted(count, one, many = `${one}s`) {
  return count === 1 ? `1 ${one}` : `${count} ${many}`;
}
