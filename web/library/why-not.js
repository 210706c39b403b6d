// Why something was not kept, in words that say what to do.

import { size } from "../format.js";

/**
 * @param {string} name
 * @param {{name: string, message: string}} error
 * @param {number} bytes
 * @param {?{quota: number, usage: number}} room
 */
export function whyNotKept(name, error, bytes, room) {
  if (error.name === "QuotaExceededError") {
    const left = room && Math.max(0, room.quota - room.usage);
    const free = left !== null && left < bytes ? `, and the browser gives this page ${size(left)} more` : ", more than there is room for";
    return `${name} was not kept: it takes ${size(bytes)}${free}. Delete something in the Library or free the disk, then tick it again.`;
  }
  if (error.name === "NotReadableError") return `${name} was not kept: its file can't be read any more. Drop it again.`;
  return `${name} was not kept: ${error.message}`;
}
