// The scripts of tests/e2e that play runs and the library on a disk in memory, with every fault that a disk can have.
// They ask nothing of a browser that Node.js hasn't, and say here in seconds what the browser's tests say at the end.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const root = new URL("../../", import.meta.url);

globalThis.self ??= globalThis;

/** A script that is one expression, after its comment. */
function valueOf(script) {
  const text = readFileSync(new URL(`tests/e2e/${script}`, root), "utf8");
  const code = text.split("\n").filter((line) => !line.startsWith("//")).join("\n").trim().replace(/;$/, "");
  return globalThis.eval(`(${code})`);
}

for (const script of ["run_machine.js", "run_faults.js", "run_flow.js", "run_owed.js", "library_faults.js"]) {
  test(script, async () => {
    const { wrong, ...looked } = await valueOf(script)(root.href, valueOf("run_disk.js"));
    assert.deepEqual(wrong, [], JSON.stringify(looked));
  });
}
