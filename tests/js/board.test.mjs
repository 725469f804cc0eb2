import assert from "node:assert/strict";
import test from "node:test";
import { FakeStorage, call, openPage, session, settle } from "./page.mjs";

const NOW_MS = Date.parse("2026-01-01T10:00:00Z");
const page = () => openPage({ scripts: ["cti-connector.js", "board.js"] });
const event = (status, facts, at = "2026-01-01T10:00:00.000+00:00") => ({
  type: "event", event: { name: status, at, call: call("a", status, facts) },
});

function newBoard(facts) {
  const board = new (page().Cti.Board)();
  board.fold({ type: "snapshot", elected: false, session: session("ready"), calls: [], recent: [], ...facts }, NOW_MS);
  return board;
}
const ids = (calls) => Array.from(calls, ({ id }) => id);

test("a snapshot is everything: what it does not list is gone", () => {
  const board = newBoard({ calls: [call("b", "CONNECTED", { startedAt: "2026-01-01T09:59:00Z" }), call("a"), call("c", "HANGUP")], elected: true });
  assert.deepEqual(ids(board.calls), ["b", "a"]);
  assert.equal(board.elected, true);
  board.fold({ type: "snapshot", elected: false, session: session("ready"), calls: [call("a")], recent: [] }, NOW_MS);
  assert.deepEqual([ids(board.calls), board.elected], [["a"], false]);
});

test("a call lives from its first event to its end, and is then a recent one for an hour", () => {
  const board = newBoard();
  board.fold(event("RINGING"), NOW_MS);
  board.fold(event("CONNECTED"), NOW_MS);
  assert.equal(board.calls[0].status, "CONNECTED");
  board.fold(event("HANGUP", { endedAt: "2026-01-01T10:05:00Z" }), NOW_MS);
  assert.deepEqual([ids(board.calls), ids(board.recent(NOW_MS))], [[], ["a"]]);
  assert.equal(board.call("a").status, "HANGUP");
  assert.deepEqual(ids(board.recent(NOW_MS + 2 * 3_600_000)), []);
});

test("the end is final", () => {
  const board = newBoard();
  board.fold(event("HANGUP"), NOW_MS);
  board.fold(event("RINGING"), NOW_MS);
  assert.deepEqual(ids(board.calls), []);
});

test("calls on watched nodes are neither the agent's calls nor her recent ones", () => {
  const board = newBoard();
  board.fold(event("RINGING", { node: "user:10032" }), NOW_MS);
  board.fold(event("HANGUP", { node: "user:10032" }), NOW_MS);
  assert.deepEqual([ids(board.calls), ids(board.recent(NOW_MS))], [[], []]);
});

test("recent calls are listed newest first", () => {
  const ended = (id, minute) => call(id, "HANGUP", { endedAt: `2026-01-01T09:${minute}:00Z` });
  assert.deepEqual(ids(newBoard({ recent: [ended("x", 10), ended("z", 50), ended("y", 30)] }).recent(NOW_MS)), ["z", "y", "x"]);
});

test("the end of the session is the end of its calls, a lost line is not", () => {
  const board = newBoard({ calls: [call("a")] });
  board.fold({ type: "session", session: session("lost") }, NOW_MS);
  assert.deepEqual(ids(board.calls), ["a"]);
  board.fold({ type: "session", session: session("logged_out") }, NOW_MS);
  assert.deepEqual([ids(board.calls), board.session.state], [[], "logged_out"]);
});

test("a computer whose clock is wrong is put right, small delays are left alone", () => {
  const board = newBoard();
  board.fold(event("RINGING"), NOW_MS + 200);
  assert.equal(board.skewMs, 0);
  board.fold(event("CONNECTED"), NOW_MS + 180_000);
  assert.equal(board.skewMs, -180_000);
});

function newNotes({ storage = new FakeStorage(), ok = true } = {}) {
  const { Cti, clock } = page();
  const desk = { clock, storage, ok, saved: [] };
  const save = async (callId, text) => {
    desk.saved.push([callId, text]);
    return { ok: desk.ok };
  };
  desk.notes = new Cti.Notes({ save, storage, onChange() {} });
  return desk;
}

test("a note is saved after a pause in typing, once", async () => {
  const { notes, clock, saved, storage } = newNotes();
  notes.edit("a", "H");
  await clock.pass(500);
  notes.edit("a", "Hello");
  assert.equal(notes.state("a"), "unsaved");
  await clock.pass(700);
  assert.deepEqual(saved, []);
  await clock.pass(200);
  assert.deepEqual(saved, [["a", "Hello"]]);
  assert.equal(notes.state("a"), "");
  assert.equal(notes.text(call("a")), "Hello");
  assert.deepEqual(Object.keys(storage), []);
});

test("what the server did not take stays a draft and goes out with the next snapshot", async () => {
  const desk = newNotes({ ok: false });
  desk.notes.edit("a", "Hello");
  await desk.notes.flush("a");
  assert.equal(desk.notes.state("a"), "unsaved");
  desk.ok = true;
  desk.notes.restore([call("a"), call("b")]);
  await settle();
  assert.equal(desk.notes.state("a"), "");
  assert.equal(desk.saved.length, 2);
});

test("a draft survives the reload of the page", async () => {
  const storage = new FakeStorage();
  newNotes({ storage }).notes.edit("a", "Half a sent");
  const { notes, saved } = newNotes({ storage });
  assert.equal(notes.text(call("a", "CONNECTED", { note: "old" })), "Half a sent");
  notes.restore([call("a")]);
  await settle();
  assert.deepEqual(saved, [["a", "Half a sent"]]);
  assert.deepEqual(Object.keys(storage), []);
});

test("what is typed while a note is under way is not lost", async () => {
  const { notes, saved } = newNotes();
  notes.edit("a", "one");
  notes.flushAll();
  notes.edit("a", "one two");
  await settle();
  assert.equal(notes.state("a"), "unsaved");
  assert.equal(notes.text(call("a")), "one two");
  notes.flushAll();
  await settle();
  assert.deepEqual(saved.map(([, text]) => text), ["one", "one two"]);
});

test("without storage notes are saved all the same", async () => {
  const { notes, saved } = newNotes({ storage: null });
  notes.edit("a", "x");
  await notes.flush("a");
  assert.equal(saved.length, 1);
});
