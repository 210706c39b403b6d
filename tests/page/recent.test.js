// What was used last, within a number and a size.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Recent } from "../../web/recent.js";

const held = (recent, names) => names.filter((name) => recent.has(name)).join("");

test("what was used longest ago goes first, by number and by size; what comes stays, and what is in use", () => {
  const byNumber = new Recent((text) => text.length, { mostBytes: 100, most: 3 });
  for (const name of ["a", "b", "c"]) byNumber.put(name, name);
  byNumber.get("a");
  byNumber.put("d", "d");
  assert.equal(held(byNumber, ["a", "b", "c", "d"]), "acd");
  const bySize = new Recent((text) => text.length, { mostBytes: 10, isInUse: (name) => name === "a" });
  for (const name of ["a", "b", "c"]) bySize.put(name, "four");
  assert.equal(held(bySize, ["a", "b", "c"]), "ac");
  bySize.put("c", "six666");
  assert.equal(held(bySize, ["a", "c"]), "ac", "the same name twice is one");
  bySize.put("e", "more than there is room for");
  assert.equal(held(bySize, ["a", "c", "e"]), "ae");
  assert.deepEqual([bySize.get("e"), bySize.get("c")], ["more than there is room for", undefined]);
});
