// Asks the script, which plays in the test's own process (site.js), what comes next.

const SCRIPT = new URL("./play", import.meta.url);

/**
 * Waits until it is told, in the middle of a call as the real module would be busy in it.
 * @returns {any} what the script has to say at this point
 */
export function say(point, details = {}) {
  const request = new XMLHttpRequest();
  request.open("POST", SCRIPT, false);
  request.send(JSON.stringify({ point, ...details }));
  return JSON.parse(request.responseText);
}
