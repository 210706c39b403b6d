// Makes the icons in web/icons of web/icon.svg, for what takes no SVG (an installed page's icon, a phone's home screen):
// LORAKEET_CHROME=/path/to/chromium node tests/page/icons.js

import { readFileSync, writeFileSync } from "node:fs";
import { Chrome } from "./stage/chrome.js";

const WEB = new URL("../../web/", import.meta.url);
/** As style.css has it in the light. */
const GROUND = "#f4f7f3";

/**
 * Name to its size, how much of it the picture takes, and what lies behind. A system cuts a maskable icon to a form of
 * its own, which leaves a circle of four fifths (https://www.w3.org/TR/appmanifest/#icon-masks).
 */
const ICONS = {
  "any-192.png": [192, 1, null],
  "any-512.png": [512, 1, null],
  "maskable-512.png": [512, 0.62, GROUND],
  "touch-180.png": [180, 0.76, GROUND],
};

/** Run in the browser. @returns {Promise<string>} base64 of a PNG */
async function draw(svg, edge, share, ground) {
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([svg.replace("<svg ", `<svg width="${edge}" height="${edge}" `)], { type: "image/svg+xml" }));
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: edge, height: edge });
  const context = canvas.getContext("2d");
  if (ground) {
    context.fillStyle = ground;
    context.fillRect(0, 0, edge, edge);
  }
  const size = edge * share;
  context.drawImage(image, (edge - size) / 2, (edge - size) / 2, size, size);
  return canvas.toDataURL("image/png").split(",")[1];
}

const chrome = new Chrome(process.env.LORAKEET_CHROME ?? "chromium");
const { targetId } = await chrome.send("Target.createTarget", { url: "about:blank" });
const { sessionId } = await chrome.send("Target.attachToTarget", { targetId, flatten: true });
const svg = readFileSync(new URL("icon.svg", WEB), "utf8");
for (const [name, [edge, share, ground]] of Object.entries(ICONS)) {
  const expression = `(${draw})(...${JSON.stringify([svg, edge, share, ground])})`;
  const { result, exceptionDetails } = await chrome.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true }, sessionId);
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  writeFileSync(new URL(`icons/${name}`, WEB), Buffer.from(result.value, "base64"));
}
await chrome.close();
