import assert from "node:assert/strict";
import test from "node:test";
import { FakeStorage, call, openPage, session, settle } from "./page.mjs";

const NOW_MS = Date.parse("2026-01-01T10:00:00Z");
const page = () => openPage({ scripts: ["cti-connector.js", "desk.js"] });
const event = (status, facts, at = "2026-01-01T10:00:00.000+00:00") => ({
  type: "event", fence: 1, seq: 1, event: { name: status, at, call: call("a", status, facts) },
});

function newBoard(facts) {
  const board = new (page().Cti.Board)();
  board.fold({ type: "snapshot", fence: 1, seq: 0, elected: false, session: session("ready"), calls: [], recent: [], ...facts }, NOW_MS);
  return board;
}
const ids = (calls) => Array.from(calls, ({ id }) => id);

test("a snapshot is everything: what it does not list is gone", () => {
  const board = newBoard({ calls: [call("b", "CONNECTED", { startedAt: "2026-01-01T09:59:00Z" }), call("a"), call("c", "HANGUP")], elected: true });
  assert.deepEqual(ids(board.calls), ["b", "a"]);
  assert.equal(board.elected, true);
  board.fold({ type: "snapshot", fence: 1, seq: 1, elected: false, session: session("ready"), calls: [call("a")], recent: [] }, NOW_MS);
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
  board.fold({ type: "session", fence: 1, seq: 1, session: session("lost") }, NOW_MS);
  assert.deepEqual(ids(board.calls), ["a"]);
  board.fold({ type: "session", fence: 1, seq: 2, session: session("logged_out") }, NOW_MS);
  assert.deepEqual([ids(board.calls), board.session.state], [[], "logged_out"]);
});

test("what this server says for want of the session's own word holds until that is heard, and ends no call", () => {
  for (const [state, heard] of [
    ["connecting", { type: "session", fence: 2, seq: 1, session: session("connecting") }],
    ["none", event("CONNECTED")],
  ]) {
    const board = newBoard({ calls: [call("a")], elected: true });
    board.fold({ type: "session", session: session(state, { message: "Your session is being taken over." }) }, NOW_MS);
    board.fold({ type: "elected", elected: false, fence: 2 }, NOW_MS);
    board.fold({ type: "event", event: { name: "INFO", at: "2026-01-01T10:00:00.000+00:00" } }, NOW_MS);
    assert.deepEqual([board.standIn.state, board.session.state, ids(board.calls), board.elected], [state, "ready", ["a"], false]);
    board.fold(heard, NOW_MS);
    assert.deepEqual([board.standIn, board.session.state, ids(board.calls)], [null, heard.session?.state ?? "ready", ["a"]]);
  }
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

// The tabs.

const pop = (facts) => ({ action: "open", url: "/cti/pop/a/", ...facts });

function newTabs({ storage = new FakeStorage(), face = "site", isDirty = false, url, answer = { ok: true } } = {}) {
  const opened = openPage({ scripts: ["cti-connector.js", "desk.js"], url });
  const desk = { ...opened, storage, answer, guard: { isDirty }, asked: [], opened: [], focused: [], changes: 0 };
  const connector = {
    focus: (value) => desk.focused.push(value),
    pop: async (callId, key) => {
      desk.asked.push(key === callId ? callId : `${callId} ${key}`);
      return desk.answer;
    },
  };
  const onChange = () => (desk.changes += 1);
  const open = (path) => desk.opened.push(path);
  desk.tabs = new opened.Cti.Tabs({ connector, guard: desk.guard, face, storage, open, onChange });
  desk.offer = (...calls) => desk.show({ elected: true, calls });
  desk.show = (board) => {
    desk.tabs.consider(board);
    return settle();
  };
  return desk;
}

test("the elected tab asks for a call's pop, and opens it when that is granted, once for all of the call's events", async () => {
  const { offer, asked, opened, tabs } = newTabs();
  const asking = offer(call("a", "RINGING", { pop: pop() }));
  assert.deepEqual([asked, opened], [["a"], []]);
  await asking;
  await offer(call("a", "CONNECTED", { pop: pop() }));
  assert.deepEqual([asked, opened, [...tabs.popped]], [["a"], ["/cti/pop/a/"], ["a"]]);
});

test("a tab that is not elected asks for nothing, and for what is live as soon as it is", async () => {
  const { show, asked, opened } = newTabs();
  const calls = [call("a", "CONNECTED", { pop: pop() }), call("b", "RINGING", { pop: null }), call("c")];
  await show({ elected: false, calls });
  assert.deepEqual(asked, []);
  await show({ elected: true, calls });
  assert.deepEqual([asked, opened], [["a"], ["/cti/pop/a/"]]);
});

for (const code of ["popped", "over"]) {
  test(`a pop that is refused because it is ${code} is not opened, and not asked for again`, async () => {
    const { offer, asked, opened, tabs } = newTabs({ answer: { ok: false, code } });
    await offer(call("a", "RINGING", { pop: pop() }));
    await offer(call("a", "CONNECTED", { pop: pop() }));
    assert.deepEqual([asked, opened, [...tabs.popped]], [["a"], [], []]);
  });
}

test("a claim without an answer is made again with the next event, and never twice at once", async () => {
  const desk = newTabs({ answer: new Promise(() => {}) });
  await desk.offer(call("a", "RINGING", { pop: pop() }));
  await desk.offer(call("a", "RINGING", { pop: pop() }));
  assert.deepEqual(desk.asked, ["a"]);
  for (const code of ["timeout", "timed_out", "busy"]) {
    const later = newTabs({ answer: { ok: false, code } });
    await later.offer(call("a", "RINGING", { pop: pop() }));
    later.answer = { ok: true };
    await later.offer(call("a", "CONNECTED", { pop: pop() }));
    assert.deepEqual([later.asked, later.opened], [["a", "a"], ["/cti/pop/a/"]], code);
  }
});

test("a call pops once for each other side, each under its own key", async () => {
  const { offer, asked, opened, tabs } = newTabs();
  const sides = [pop({ key: "a-1" }), pop({ key: "a-2", url: "/cti/pop/a/?side=2" })];
  for (const place of [0, 0, 1, 1, 0]) await offer(call("a", "CONNECTED", { pop: sides[place] }));
  assert.deepEqual([asked, opened], [["a a-1", "a a-2"], ["/cti/pop/a/", "/cti/pop/a/?side=2"]]);
  assert.deepEqual([...tabs.popped], ["a-1", "a-2"]);
});

test("unsaved edits hold the pop of one other side, not of the next", async () => {
  const desk = newTabs({ isDirty: true });
  const [first, next] = ["a-1", "a-2"].map((key) => call("a", "CONNECTED", { pop: pop({ key }) }));
  await desk.offer(first);
  desk.guard.isDirty = false;
  await desk.offer(next);
  assert.deepEqual([desk.tabs.isHeld(first), desk.tabs.isHeld(next), desk.opened], [true, false, ["/cti/pop/a/"]]);
});

test("what this browser has popped is popped for all its tabs and after every page load", async () => {
  const storage = new FakeStorage();
  const other = newTabs({ storage });
  await newTabs({ storage }).offer(call("a", "RINGING", { pop: pop() }));
  for (const tab of [other, newTabs({ storage })]) {
    await tab.offer(call("a", "CONNECTED", { pop: pop() }), call("b", "RINGING", { pop: pop({ url: "/cti/pop/b/" }) }));
  }
  assert.deepEqual([other.asked, other.opened], [["b"], ["/cti/pop/b/"]]);
  assert.deepEqual([...other.tabs.popped], ["a", "b"]);
});

test("the newest 20 calls are remembered", async () => {
  const { offer, tabs } = newTabs();
  for (let place = 1; place <= 25; place += 1) await offer(call(`c${place}`, "RINGING", { pop: pop() }));
  assert.deepEqual([tabs.popped.length, tabs.popped[0], tabs.popped.at(-1)], [20, "c6", "c25"]);
});

test("a card is asked for like a page, and opens nothing", async () => {
  for (const other of [pop({ action: "card" }), pop({ action: "none" }), {}]) {
    const { offer, asked, opened, tabs } = newTabs();
    await offer(call("a", "RINGING", { pop: other }));
    assert.deepEqual([asked, opened, [...tabs.popped]], [["a"], [], ["a"]]);
  }
});

test("in the admin the pop asks for the admin's face", async () => {
  const { offer, opened } = newTabs({ face: "admin" });
  await offer(call("a", "RINGING", { pop: pop({ url: "/cti/pop/a/?x=1" }) }));
  assert.deepEqual(opened, ["/cti/pop/a/?x=1&face=admin"]);
});

test("only paths of this site are opened", async () => {
  const { offer, opened, Cti } = newTabs();
  let count = 0;
  for (const url of ["javascript:alert(1)", "//evil.example/", "/\\evil.example", "/\t/evil.example", "https://evil.example/",
    "https://crm.example/x", "data:text/html,x", "cti/pop", "", " /x", null, 7, {}]) {
    await offer(call(`c${(count += 1)}`, "RINGING", { pop: pop({ url }) }));
  }
  assert.deepEqual(opened, []);
  assert.equal(Cti.Tabs.ownPath("/a/../b?c#d"), "/b?c#d");
});

test("a link may lead to web pages only", () => {
  const { webLink } = newTabs().Cti.Tabs;
  for (const good of ["/contacts/7/", "https://other.example/7", "contacts/7"]) assert.equal(webLink(good), good);
  for (const bad of ["javascript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "vbscript:x", "https://["]) {
    assert.equal(webLink(bad), "");
  }
});

test("unsaved edits hold the page; the card learns it, and the call does not open later", async () => {
  const desk = newTabs({ isDirty: true });
  const ringing = call("a", "RINGING", { pop: pop() });
  await desk.offer(ringing);
  assert.deepEqual([desk.opened, desk.tabs.isHeld(ringing), desk.changes], [[], true, 1]);
  desk.guard.isDirty = false;
  await desk.offer(call("a", "CONNECTED", { pop: pop() }));
  assert.deepEqual(desk.opened, []);
});

test("a record that is open already is not opened again", async () => {
  const known = { match: "one", contacts: [{ label: "Dana", url: "/contacts/7/", adminUrl: "/admin/crm/contact/7/" }] };
  for (const [face, url] of [["site", "https://crm.example/contacts/7/?tab=2"], ["admin", "https://crm.example/admin/crm/contact/7/"]]) {
    const { offer, opened, tabs } = newTabs({ face, url });
    await offer(call("a", "RINGING", { pop: pop(), ...known }));
    assert.deepEqual([opened, [...tabs.popped]], [[], ["a"]]);
  }
});

test("the server hears whether the agent looks at the tab", () => {
  const { focused, pageEvents, document } = newTabs();
  pageEvents.dispatchEvent(new Event("focus"));
  document.hidden = true;
  pageEvents.dispatchEvent(new Event("visibilitychange")); // bubbles up to the window
  assert.deepEqual(focused, [true, false]);
});

test("storage that is missing, forbidden, full or holds nonsense does no harm", async () => {
  const refuse = () => {
    throw new Error("SecurityError");
  };
  const nonsense = ["{", "7", "null", "{}"].map((stored) => Object.assign(new FakeStorage(), { "cti.popped": stored }));
  for (const storage of [...nonsense, null, { getItem: refuse, setItem: refuse }, { getItem: () => null, setItem: refuse }]) {
    const { offer, asked, opened, tabs } = newTabs({ storage });
    await offer(call("a", "RINGING", { pop: pop() }));
    await offer(call("a", "CONNECTED", { pop: pop() }));
    assert.deepEqual([asked, opened, [...tabs.popped]], [["a"], ["/cti/pop/a/"], ["a"]]);
  }
});

// The guard.

function newGuard() {
  const page = openPage({ scripts: ["cti-connector.js", "desk.js"] });
  const root = new EventTarget();
  root.querySelector = () => root.marked || null;
  const guard = new page.Cti.Guard(root);
  const touch = (field, name = "input") => {
    const event = new Event(name);
    event.composedPath = () => [field];
    root.dispatchEvent(event);
  };
  return { ...page, guard, root, touch };
}
const field = (facts) => ({ isConnected: true, type: "text", form: null, closest: () => null, value: "", defaultValue: "", ...facts });
const option = (selected, defaultSelected) => ({ selected, defaultSelected });

test("a page nobody has typed into is not dirty; one with an edit is, until it is undone", () => {
  const { guard, touch } = newGuard();
  assert.equal(guard.isDirty, false);
  const name = field({ value: "Dana S", defaultValue: "Dana" });
  touch(name);
  assert.equal(guard.isDirty, true);
  name.value = "Dana";
  assert.equal(guard.isDirty, false);
});

test("every kind of field tells whether it differs", () => {
  for (const [dirty, facts] of [
    [true, { type: "checkbox", checked: true, defaultChecked: false }],
    [false, { type: "radio", checked: true, defaultChecked: true, value: "x" }],
    [true, { type: "select-one", options: [option(false, true), option(true, false)] }],
    [false, { type: "select-one", options: [option(true, false), option(false, false)] }],
    [true, { type: "select-multiple", multiple: true, options: [option(true, false)] }],
    [false, { type: "select-multiple", multiple: true, options: [option(false, false)] }],
    [true, { type: "file", value: "C:\\fakepath\\a.pdf", defaultValue: "" }],
    [true, { isContentEditable: true, value: undefined }],
  ]) {
    const { guard, touch } = newGuard();
    touch(field(facts), "change");
    assert.equal(guard.isDirty, dirty, JSON.stringify(facts));
  }
});

test("ignored fields, ignored forms and fields that have left the page do not count", () => {
  const ignored = { closest: () => ({}) };
  for (const facts of [ignored, { form: ignored }, { isConnected: false }]) {
    const { guard, touch } = newGuard();
    touch(field({ value: "x", ...facts }));
    assert.equal(guard.isDirty, false);
  }
});

test("a page can say itself that it is dirty", () => {
  const { guard, root } = newGuard();
  root.marked = {};
  assert.equal(guard.isDirty, true);
});

test("a form on its way to the server is not cut off", async () => {
  const { guard, root, clock } = newGuard();
  root.dispatchEvent(new Event("submit"));
  assert.equal(guard.isDirty, true);
  await clock.pass(11_000);
  assert.equal(guard.isDirty, false);
});

test("a form that a script sends is still dirty until it says that it was saved", () => {
  const { guard, root, touch } = newGuard();
  root.contains = () => true;
  touch(field({ value: "x" }));
  const submit = new Event("submit", { cancelable: true });
  submit.preventDefault();
  root.dispatchEvent(submit);
  assert.equal(guard.isDirty, true);
  root.dispatchEvent(new Event("cti-saved"));
  assert.equal(guard.isDirty, false);
});
