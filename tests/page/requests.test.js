// Requests to a worker, with a port that keeps what is sent.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Rpc } from "../../web/rpc.js";

function wired() {
  const sent = [];
  return { sent, rpc: new Rpc({ postMessage: (message, transfer) => sent.push({ message, transfer }) }) };
}

test("an answer goes to the request of its number, in any order", async () => {
  const { sent, rpc } = wired();
  const [one, two] = [rpc.request("first", { a: 1 }), rpc.request("second", { b: 2 })];
  assert.deepEqual(sent.map(({ message }) => message), [{ a: 1, id: 1, action: "first" }, { b: 2, id: 2, action: "second" }]);
  assert.equal(rpc.isOwed, true);
  rpc.receive({ id: 2, result: "of two" });
  rpc.receive({ id: 1, result: "of one" });
  assert.deepEqual(await Promise.all([one, two]), ["of one", "of two"]);
  assert.equal(rpc.isOwed, false);
});

test("an error keeps its name and kind; progress comes before it and not after", async () => {
  const { rpc } = wired();
  const seen = [];
  const asked = rpc.request("load", {}, { onProgress: (progress) => seen.push(progress) });
  rpc.receive({ id: 1, progress: { done: 1 } });
  rpc.receive({ id: 1, error: { name: "Error", message: "no such key", kind: "key" } });
  rpc.receive({ id: 1, progress: { done: 2 } });
  await assert.rejects(asked, { name: "Error", message: "no such key", kind: "key" });
  assert.deepEqual(seen, [{ done: 1 }]);
});

test("an abort rejects at once, is told, and its late answer is nobody's; but the other side owes it until then", async () => {
  const { sent, rpc } = wired();
  const stop = new AbortController();
  const asked = rpc.request("generate", {}, { signal: stop.signal });
  stop.abort();
  await assert.rejects(asked, { name: "AbortError" });
  assert.deepEqual(sent[1].message, { abort: 1 });
  assert.equal(rpc.isOwed, true);
  rpc.receive({ id: 1, result: "too late" });
  assert.equal(rpc.isOwed, false);
});

test("a graceful abort waits for what the other side makes of it", async () => {
  const { sent, rpc } = wired();
  const stop = new AbortController();
  const asked = rpc.request("trainRun", {}, { signal: stop.signal, graceful: true });
  stop.abort();
  rpc.receive({ id: 1, result: { outcome: "paused" } });
  assert.deepEqual(await asked, { outcome: "paused" });
  assert.deepEqual(sent.at(-1).message, { abort: 1 });
});

test("aborted before it is asked: not sent, unless it is graceful, and then the abort goes along", async () => {
  const { sent, rpc } = wired();
  await assert.rejects(rpc.request("generate", {}, { signal: AbortSignal.abort() }), { name: "AbortError" });
  assert.equal(sent.length, 0);
  const asked = rpc.request("trainRun", {}, { signal: AbortSignal.abort(), graceful: true });
  assert.deepEqual(sent.map(({ message }) => message.abort ?? message.action), ["trainRun", 1]);
  rpc.receive({ id: 1, result: "paused" });
  assert.equal(await asked, "paused");
});

test("an abort after the answer tells nobody anything", async () => {
  const { sent, rpc } = wired();
  const stop = new AbortController();
  const asked = rpc.request("memory", {}, { signal: stop.signal });
  rpc.receive({ id: 1, result: 7 });
  stop.abort();
  assert.equal(await asked, 7);
  assert.equal(sent.length, 1);
});

test("the other side's end ends every open request; what can't be sent rejects and is not owed", async () => {
  const { rpc } = wired();
  const open = [rpc.request("a", {}), rpc.request("b", {})];
  rpc.end(new Error("gone"));
  for (const asked of open) await assert.rejects(asked, { message: "gone" });
  assert.equal(rpc.isOwed, false);

  const broken = new Rpc({ postMessage: () => { throw new DOMException("a function", "DataCloneError"); } });
  await assert.rejects(broken.request("a", { f() {} }), { name: "DataCloneError" });
  assert.equal(broken.isOwed, false);
});
