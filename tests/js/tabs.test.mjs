import assert from "node:assert/strict";
import test from "node:test";
import { FakeStorage, call, openPage } from "./page.mjs";

const pop = (facts) => ({ action: "open", url: "/cti/pop/a/", tab: "me", ...facts });

function newTabs({ storage = new FakeStorage(), face = "site", isDirty = false, url } = {}) {
  const page = openPage({ scripts: ["cti-connector.js", "tabs.js"], url });
  const opened = [];
  const focused = [];
  const connector = { tab: "me", focus: (value) => focused.push(value) };
  const guard = { isDirty };
  const tabs = new page.Cti.Tabs({ connector, guard, face, storage, open: (path) => opened.push(path) });
  return { ...page, tabs, guard, opened, focused, storage };
}

test("the tab that the server names opens the record, once for all of a call's events", () => {
  const { tabs, opened } = newTabs();
  tabs.consider(call("a", "RINGING", { pop: pop() }));
  tabs.consider(call("a", "CONNECTED", { pop: pop() }));
  assert.deepEqual(opened, ["/cti/pop/a/"]);
});

test("the page that opened does not open it again, not even after a reload", () => {
  const storage = new FakeStorage();
  newTabs({ storage }).tabs.consider(call("a", "RINGING", { pop: pop() }));
  const next = newTabs({ storage });
  next.tabs.consider(call("a", "CONNECTED", { pop: pop() }));
  next.tabs.consider(call("b", "RINGING", { pop: pop({ url: "/cti/pop/b/" }) }));
  assert.deepEqual(next.opened, ["/cti/pop/b/"]);
});

test("other tabs, cards, and calls without a pop open nothing", () => {
  const { tabs, opened } = newTabs();
  for (const other of [pop({ tab: "other" }), pop({ action: "card" }), pop({ action: "none" }), null, {}, undefined]) {
    tabs.consider(call("a", "RINGING", { pop: other }));
  }
  assert.deepEqual(opened, []);
});

test("in the admin the pop asks for the admin's face", () => {
  const { tabs, opened } = newTabs({ face: "admin" });
  tabs.consider(call("a", "RINGING", { pop: pop({ url: "/cti/pop/a/?x=1" }) }));
  assert.deepEqual(opened, ["/cti/pop/a/?x=1&face=admin"]);
});

test("only paths of this site are opened", () => {
  const { tabs, opened, Cti } = newTabs();
  for (const url of ["javascript:alert(1)", "//evil.example/", "/\\evil.example", "/\t/evil.example", "https://evil.example/",
    "https://crm.example/x", "data:text/html,x", "cti/pop", "", " /x", null, 7, {}]) {
    tabs.consider(call("a", "RINGING", { pop: pop({ url }) }));
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

test("unsaved edits hold the page; the card knows, and the call does not open later", () => {
  const { tabs, guard, opened } = newTabs({ isDirty: true });
  const ringing = call("a", "RINGING", { pop: pop() });
  tabs.consider(ringing);
  assert.deepEqual([opened, tabs.isHeld(ringing)], [[], true]);
  guard.isDirty = false;
  tabs.consider(call("a", "CONNECTED", { pop: pop() }));
  assert.deepEqual(opened, []);
});

test("a record that is open already is not opened again", () => {
  const { tabs, opened } = newTabs({ url: "https://crm.example/contacts/7/" });
  const known = { match: "one", contacts: [{ label: "Dana", url: "/contacts/7/", adminUrl: "/admin/crm/contact/7/" }] };
  tabs.consider(call("a", "RINGING", { pop: pop(), ...known }));
  assert.deepEqual(opened, []);
});

test("the server hears whether the agent looks at the tab", () => {
  const { focused, pageEvents, document } = newTabs();
  pageEvents.dispatchEvent(new Event("focus"));
  document.hidden = true;
  document.dispatchEvent(new Event("visibilitychange"));
  assert.deepEqual(focused, [true, false]);
});

test("storage that is missing or holds nonsense does no harm", () => {
  for (const stored of ["{", "7", "null", undefined]) {
    const storage = stored && new FakeStorage();
    storage?.setItem("cti.popped", stored);
    const { tabs, opened } = newTabs({ storage });
    tabs.consider(call("a", "RINGING", { pop: pop() }));
    assert.equal(opened.length, 1);
  }
});

// The guard.

function newGuard() {
  const page = openPage({ scripts: ["cti-connector.js", "tabs.js"] });
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
