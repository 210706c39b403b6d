// Writes types/elements.d.ts: what the ids in the page's documents stand for, so that the type check knows what
// `querySelector("#prompt")` gives, and that an id which no document has gives perhaps nothing.

import { readFileSync, writeFileSync } from "node:fs";

const root = new URL("../../", import.meta.url);
const lines = ["index.html", "bench.html"].flatMap((document) => {
  const text = readFileSync(new URL(document, root), "utf8");
  return [...text.matchAll(/<([a-z0-9-]+)\b[^>]*?\sid="([^"]+)"/g)]
    .map(([, tag, id]) => `  querySelector(selectors: "#${id}"): HTMLElementTagNameMap["${tag}"];`);
});
if (lines.length < 100) throw new Error(`index.html and bench.html have only ${lines.length} ids: their form has changed, and elements.js must follow`);
const text = `// Made by ../elements.js.\n\ninterface ParentNode {\n${[...new Set(lines)].join("\n")}\n}\n`;
writeFileSync(new URL("types/elements.d.ts", import.meta.url), text);
