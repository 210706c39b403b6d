// What is done to a prompt by keys: the weights of words.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MOST, Walk, readPairs, readPresets, withNewest, withPreset } from "../../web/prompt-history.js";
import { weigh } from "../../web/prompt-weights.js";
import { inserted } from "../../web/prompt-words.js";
import { TextHistory } from "../../web/text-history.js";

/** "|" is the cursor, or two of them a selection. @returns {?string} the same of what comes of it */
function pressed(marked, sign) {
  const [before, ...rest] = marked.split("|");
  const start = before.length;
  const end = rest.length === 2 ? start + rest[0].length : start;
  const text = marked.replaceAll("|", "");
  const edit = weigh(text, start, end, sign);
  if (!edit) return null;
  const after = text.slice(0, edit.start) + edit.text + text.slice(edit.end);
  const [from, to] = edit.selection;
  return `${after.slice(0, from)}|${after.slice(from, to)}|${after.slice(to)}`;
}

test("a word gets brackets with a number, and loses them at 1", () => {
  for (const [text, sign, wanted] of /** @type {const} */ ([
    ["a red c|at on a mat", 1, "a red (|cat|:1.1) on a mat"],
    ["cat|", -1, "(|cat|:0.9)"],
    ["|red cat| on", 1, "(|red cat|:1.1) on"],
    ["a| red cat |on", 1, "a (|red cat|:1.1) on"],
    ["(|cat|:1.1)", 1, "(|cat|:1.2)"],
    ["(|cat|:1.1)", -1, "|cat|"],
    ["(|cat|:0.9)", 1, "|cat|"],
    ["(|cat|:0.1)", -1, "(|cat|:0)"],
    ["|(cat:1.25)|", 1, "(|cat|:1.35)"],
    ["(c|at)", 1, "(|cat|:1.2)"],
    ["(c|at)", -1, "|cat|"],
    ["(a (b|ig:1.3) cat:1.1)", 1, "(a (|big|:1.4) cat:1.1)"],
    ["(a (big:1.3) c|at:1.1)", 1, "(|a (big:1.3) cat|:1.2)"],
    ["(a |big| cat:1.1)", 1, "(a (|big|:1.1) cat:1.1)"],
    ["a smile \\(ha|ppy\\)", 1, "a smile \\((|happy|:1.1)\\)"],
    ["日本|の猫, 犬", 1, "(|日本の猫|:1.1), 犬"],
    ["cat (|", 1, null],
    ["cat |, dog", 1, null],
    ["|", 1, null],
    ["(open c|at", 1, "(open (|cat|:1.1)"],
  ])) assert.equal(pressed(text, sign), wanted === null ? null : wanted, text);
});

test("a tag's number is its adapter's strength", () => {
  for (const [text, sign, wanted] of /** @type {const} */ ([
    ["cat <lora:in|k:0.8>", 1, "cat <lora:ink:|0.85|>"],
    ["cat <lora:in|k>", -1, "cat <lora:ink:|0.95|>"],
    ["<lora:ink:|0.8|:0.5>", 1, "<lora:ink:|0.85|:0.5>"],
    ["a |<lora:ink:1>|", 1, "a <lora:ink:|1.05|>"],
    ["<lora:in|k:lbw=OUTS>", 1, "<lora:ink:|1.05|:lbw=OUTS>"],
    ["<lora:ink:lbw=OUTS:|0.8:start=3>", -1, "<lora:ink:lbw=OUTS:|0.75|:start=3>"],
    ["<lora:ink:-0|.05>", 1, "<lora:ink:|0|>"],
    ["cat| <lora:ink:1>", 1, "(|cat|:1.1) <lora:ink:1>"],
  ])) assert.equal(pressed(text, sign), wanted, text);
});

test("up and then down is what it was, wherever the cursor stands", () => {
  const text = "a (big:1.3) cat, <lora:ink:0.8> [old] \\(x\\) ((deep)) end";
  for (let start = 0; start <= text.length; start++) {
    for (const end of new Set([start, Math.min(text.length, start + 4)])) {
      const up = weigh(text, start, end, 1);
      if (!up) continue;
      const after = text.slice(0, up.start) + up.text + text.slice(up.end);
      const down = weigh(after, ...up.selection, -1);
      const back = after.slice(0, down.start) + down.text + after.slice(down.end);
      // a number that was not written, or that brackets alone stood for, is written then
      assert.equal(back.replace("(deep:1.1)", "(deep)").replace("(deep):1.1", "(deep)"), text, `${start} to ${end}: ${after} and back ${back}`);
    }
  }
});

test("words come in at the cursor, once, parted by commas, and never into a tag or a word", () => {
  const put = (marked, words = "night style") => {
    const at = marked.indexOf("|");
    const text = marked.replace("|", "");
    const edit = inserted(text, words, at);
    if (!edit) return null;
    const after = text.slice(0, edit.start) + edit.text + text.slice(edit.end);
    assert.equal(after.slice(0, edit.selection[0]).endsWith(words), true, `the cursor stands behind them: ${after}`);
    return after;
  };
  for (const [text, wanted] of [
    ["|", "night style"],
    ["cat|", "cat, night style"],
    ["cat |", "cat, night style"],
    ["cat, |", "cat, night style"],
    ["cat,|", "cat, night style"],
    ["|cat", "night style, cat"],
    ["c|at on a mat", "cat, night style, on a mat"],
    ["cat|, dog", "cat, night style, dog"],
    ["cat, |dog", "cat, night style, dog"],
    ["(c|at:1.2)", "(cat, night style:1.2)"],
    ["(|cat)", "(night style, cat)"],
    ["cat <lora:i|nk:1> dog", "cat <lora:ink:1>, night style, dog"],
    ["{red|", "{red, night style"],
    ["first line\n|", "first line\nnight style"],
    ["a Night Style of cat|", null],
  ]) assert.equal(put(text), wanted, text);
});

test("undo knows of every change, joins what is typed at once, and forgets what was undone when something new comes", () => {
  const history = new TextHistory("a");
  const at = (text) => [text.length, text.length];
  const typed = (text, time) => history.note(text, at(text), "insertText", time);
  typed("ab", 0);
  typed("abc", 500);
  typed("abcd", 2000);
  history.note("set by a chip", [3, 3]);
  typed("set by a chip!", 2100);
  assert.equal(history.undo().text, "set by a chip");
  assert.deepEqual(history.undo(), { text: "abcd", selection: [4, 4] });
  assert.equal(history.undo().text, "abc");
  assert.equal(history.redo().text, "abcd");
  assert.equal(history.undo().text, "abc");
  assert.equal(history.undo().text, "a");
  assert.equal(history.undo(), null);
  typed("ax", 9000);
  assert.equal(history.redo(), null);
  assert.equal(history.undo().text, "a");
  for (let i = 0; i < 1000; i++) history.note(`text ${i}`, [0, 0]);
  let steps = 0;
  while (history.undo()) steps++;
  assert.ok(steps > 100 && steps < 300, `${steps} are kept`);
});

test("the last 50 different prompts are kept with their negatives, and what a browser gives back is looked at", () => {
  let list = [];
  for (let i = 0; i < 60; i++) list = withNewest(list, { prompt: `cat ${i}`, negative: "" });
  assert.equal(list.length, MOST);
  assert.deepEqual(list[0], { prompt: "cat 59", negative: "" });
  list = withNewest(list, { prompt: "cat 40", negative: "" });
  assert.deepEqual([list[0].prompt, list[1].prompt, list.length], ["cat 40", "cat 59", MOST]);
  list = withNewest(list, { prompt: "cat 40", negative: "blurry" });
  assert.equal(list.filter(({ prompt }) => prompt === "cat 40").length, 2, "another negative is another prompt");
  assert.equal(withNewest(list, { prompt: "", negative: "blurry" }), list);
  for (const kept of [null, "text", 7, {}, [null, 3, { prompt: 4, negative: "" }, { prompt: "", negative: "" }]]) assert.deepEqual(readPairs(kept), []);
  assert.deepEqual(readPairs([{ prompt: "a", negative: "", more: 1 }]), [{ prompt: "a", negative: "" }]);
  for (const kept of [null, [{ name: "", text: "a" }, { name: "a", text: 1 }]]) assert.deepEqual(readPresets(kept), []);
  const presets = withPreset(withPreset([{ name: "b", text: "1" }], { name: "a", text: "2" }), { name: "b", text: "3" });
  assert.deepEqual(presets, [{ name: "a", text: "2" }, { name: "b", text: "3" }]);
});

test("going through them begins at what is written, comes back to it, and stops at the ends", () => {
  const list = ["c", "b", "a"].map((prompt) => ({ prompt, negative: "" }));
  const walk = new Walk();
  let now = { prompt: "draft", negative: "n" };
  const seen = [];
  for (const by of /** @type {const} */ ([-1, 1, 1, 1, 1, -1, -1, -1, -1])) {
    now = walk.step(list, now, by) ?? now;
    seen.push(now.prompt);
  }
  assert.deepEqual(seen, ["draft", "c", "b", "a", "a", "b", "c", "draft", "draft"]);
  assert.deepEqual(now, { prompt: "draft", negative: "n" });
  const drawn = new Walk();
  assert.equal(drawn.step(list, list[0], 1)?.prompt, "b", "what was just drawn is its own first one");
  assert.equal(drawn.step(list, { prompt: "b, changed", negative: "" }, 1)?.prompt, "c", "a change is a new beginning");
  assert.equal(drawn.step(list, list[0], -1)?.prompt, "b, changed");
  assert.equal(drawn.step([], list[0], 1), null);
});
