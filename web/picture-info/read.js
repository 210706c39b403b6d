// A picture's file, whichever program wrote it: what it says about how it was made.

import { readA1111 } from "./a1111.js";
import { readGraph, readWorkflow } from "./comfy.js";
import { exifTexts } from "./exif.js";
import { found, parseJson } from "./found.js";
import { readInvoke, readNovelAi, readSwarm } from "./others.js";
import { isPng, pngSize, textsOf } from "./png.js";
import { KEYWORD, readRecord } from "./record.js";

/** A file that is larger is no picture of these programs'. */
const LARGEST = 512 << 20;

/** @param {Blob} file @returns {Promise<?import("./found.js").Found>} null: it says nothing that can be read */
export async function readPicture(file) {
  if (file.size > LARGEST) return null;
  const bytes = new Uint8Array(await file.arrayBuffer());
  return isPng(bytes) ? readTexts(await textsOf(bytes), pngSize(bytes)) : readExif(exifTexts(bytes));
}

/** @param {Map<string, string>} texts by keyword */
function readTexts(texts, size) {
  const of = (keyword, read) => (texts.has(keyword) ? read(texts.get(keyword)) : null);
  return of(KEYWORD, readParameters)
    ?? of("prompt", graphOf)
    ?? of("workflow", workflowOf)
    ?? of("invokeai_metadata", readInvoke)
    ?? (texts.get("Software") === "NovelAI" ? readNovelAi(texts, size) : null);
}

/** @param {string} text under A1111's keyword, where a prompt may stand alone */
function readParameters(text) {
  if (text.trimStart().startsWith("{")) return readSwarm(text);
  return readRecord(text) ?? readA1111(text) ?? (text.trim() ? found("A1111", { prompt: text.trim() }) : null);
}

/** @param {?Map<string, string>} texts by tag: a camera writes there as well, so that a text counts if it has settings */
function readExif(texts) {
  const { UserComment = "", ImageDescription = "", comment = "", Model = "", Make = "" } = Object.fromEntries(texts ?? []);
  for (const text of [UserComment, ImageDescription, comment]) {
    const read = text.trimStart().startsWith("{") ? readSwarm(text) : readRecord(text) ?? readA1111(text);
    if (read) return read;
  }
  const after = (text, word) => (text.startsWith(`${word}:`) ? text.slice(word.length + 1) : "");
  return graphOf(after(Model, "prompt") || after(Make, "prompt")) ?? workflowOf(after(Make, "workflow") || after(Model, "workflow"));
}

function graphOf(text) {
  const graph = parseJson(text);
  return graph && readGraph(graph);
}

function workflowOf(text) {
  const workflow = parseJson(text);
  return workflow && readWorkflow(workflow);
}
