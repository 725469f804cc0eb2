import assert from "node:assert/strict";
import test from "node:test";
import { call, openPage, session, settle } from "./page.mjs";

const SCRIPTS = ["cti-connector.js", "desk.js", "card.js", "panels.js"];

/** The panels on a page whose connector answers when the test lets it. */
function newPage(users = []) {
  const page = openPage({ scripts: SCRIPTS });
  const asked = [];
  const open = [];
  const answers = (name) => (...args) => {
    asked.push([name, ...args]);
    return new Promise((resolve) => open.push((ok = true) => (resolve({ ok }), settle())));
  };
  const names = ["dtmf", "queueLogin", "queueLogout", "pause", "unpause", "doNotDisturb"];
  const connector = Object.fromEntries(names.map((name) => [name, answers(name)]));
  connector.directory = async () => ({ ok: true, data: { users } });
  const board = { session: session("ready") };
  page.Cti.desk = { connector, board, notes: { text: () => "" } };
  return { ...page, asked, answer: (ok) => open.shift()(ok), panels: page.Cti.panels };
}

// The keypad.

function newKeypad() {
  const page = newPage();
  const keypad = new page.panels.dtmf({ call: call("a", "CONNECTED") });
  const type = (keys, facts) => [...keys].map((key) => keypad.element.fire("keydown", { key, ...facts }).defaultPrevented);
  return { ...page, keypad, type, digits: () => page.asked.map(([, , digits]) => digits) };
}

test("keys that are typed while one is on its way go out together, in order, none lost", async () => {
  const { type, digits, answer, asked, keypad } = newKeypad();
  type("1");
  type("23*");
  keypad.element.all("button").at(-1).fire("click", { detail: 2 }); // #, the second click of a double click counts
  assert.deepEqual(digits(), ["1"]);
  await answer();
  assert.deepEqual(digits(), ["1", "23*#"]);
  type("4".repeat(40));
  await answer();
  await answer();
  await answer();
  assert.deepEqual(digits(), ["1", "23*#", "4".repeat(32), "4".repeat(8)]);
  assert.equal(asked[0][1], "a");
  type("5");
  assert.equal(digits().at(-1), "5");
});

test("after a refusal the rest is not sent, what is pressed later is", async () => {
  const { type, digits, answer } = newKeypad();
  type("12");
  await answer(false);
  assert.deepEqual(digits(), ["1"]);
  type("3");
  assert.deepEqual(digits(), ["1", "3"]);
});

test("other keys, and shortcuts, are the page's", () => {
  const { type, digits } = newKeypad();
  assert.deepEqual(type(["a", "Enter", "Tab", "F1", "١"]), [false, false, false, false, false]);
  for (const modifier of ["ctrlKey", "altKey", "metaKey"]) assert.deepEqual(type("1", { [modifier]: true }), [false]);
  assert.deepEqual(digits(), []);
  assert.deepEqual(type("*", { shiftKey: true }), [true]);
});

test("what was pressed is shown, the newest 24", () => {
  const { type, keypad } = newKeypad();
  type("0123456789".repeat(3));
  assert.equal(keypad.element.all("output")[0].textContent, "678901234567890123456789");
});

// The queues.

const standing = (presence, capabilities = ["queues", "pause", "dnd"]) => ({ capabilities, presence });

function newStanding(told) {
  const page = newPage();
  const panel = new page.panels.Standing();
  const [group, form, dnd] = panel.element.children;
  const toggles = () => group.all("button").map((node) => [node.textContent, node.ariaPressed]);
  panel.update(told, true);
  return { ...page, panel, group, form, dnd, toggles };
}

test("each queue is a toggle, and so are all of them", async () => {
  const { panel, group, toggles, asked, answer } = newStanding(standing({ queues: { sales: false, support: true }, paused: false, dnd: false }));
  assert.deepEqual(toggles(), [["sales", "false"], ["support", "true"], ["All queues", "false"]]);
  const press = (place) => {
    const node = group.all("button")[place];
    node.fire("click", { detail: 1 });
  };
  for (const place of [0, 0, 1, 2]) press(place); // the second press of the first one waits for nobody
  assert.deepEqual(asked, [["queueLogin", "sales"], ["queueLogout", "support"], ["queueLogin", ""]]);
  for (let count = 0; count < 3; count += 1) await answer();
  const node = group.all("button")[0];
  panel.update(standing({ queues: { sales: true, support: true }, paused: false, dnd: false }), true);
  assert.equal(group.all("button")[0], node); // whoever has the focus keeps it
  assert.deepEqual(toggles().map(([, pressed]) => pressed), ["true", "true", "true"]);
  press(2);
  assert.deepEqual(asked.at(-1), ["queueLogout", ""]);
  panel.update(standing({ queues: { "<b>": true }, paused: false, dnd: false }), true);
  assert.deepEqual(toggles(), [["<b>", "true"]]);
});

test("a thousand queues are looked at once each, however they are called", () => {
  const told = Object.fromEntries(Array.from({ length: 1000 }, (_, number) => [`constructor ${number}`, true]));
  let reads = 0;
  const queues = new Proxy(told, { get: (target, name) => (reads += 1, target[name]) });
  const { toggles } = newStanding(standing({ queues, paused: false, dnd: false }));
  assert.ok(reads <= 2000, `${reads}`);
  assert.equal(toggles().filter(([, pressed]) => pressed === "true").length, 1001);
});

test("a pause takes a reason, and ends without one", async () => {
  const { panel, form, asked, answer } = newStanding(standing({ queues: {}, paused: false, dnd: false }));
  const [reason] = form.all("input");
  reason.value = " Lunch ";
  assert.ok(form.fire("submit").defaultPrevented);
  await answer();
  panel.update(standing({ queues: {}, paused: true, dnd: false }), true);
  assert.deepEqual([reason.hidden, reason.value, form.all("button")[0].ariaPressed], [true, "", "true"]);
  form.fire("submit");
  assert.deepEqual(asked, [["pause", "Lunch"], ["unpause"]]);
});

test("do not disturb is what the system says, or what was asked where it says nothing", async () => {
  for (const [told, after] of [[false, "false"], [null, "true"]]) {
    const { panel, dnd, asked, answer } = newStanding(standing({ queues: {}, paused: false, dnd: told }));
    dnd.fire("click", { detail: 1 });
    await answer();
    panel.update(standing({ queues: {}, paused: false, dnd: told }), true);
    assert.equal(dnd.ariaPressed, after);
    dnd.fire("click", { detail: 1 });
    assert.deepEqual(asked, [["doNotDisturb", true], ["doNotDisturb", after === "false"]]);
  }
});

test("only what the system can do is shown, and nothing while the line is away", () => {
  const presence = { queues: { sales: true }, paused: false, dnd: false };
  const { panel, group, form, dnd } = newStanding(standing(presence, ["dnd"]));
  const hidden = () => [group.hidden, form.hidden, dnd.hidden, panel.element.hidden];
  assert.deepEqual(hidden(), [true, true, false, false]);
  panel.update(standing(presence, ["queues", "pause"]), true);
  assert.deepEqual(hidden(), [false, false, true, false]);
  panel.update(standing(presence), false);
  assert.deepEqual(hidden(), [true, true, true, true]);
  panel.update(standing(null), true);
  assert.equal(group.hidden, true);
});

// Whom to hand a call to.

async function newTransfer(actions, users) {
  const page = newPage(users);
  const handed = [];
  const panel = new page.panels.transfer({ call: call("a", "CONNECTED", { actions }), handOn: (how, user) => handed.push([how, user.number]) });
  await panel.open();
  const [target] = panel.element.all("input");
  const rows = () => panel.element.all("li").map((row) => row.all("button").map((node) => node.textContent));
  const write = (text) => {
    target.value = text;
    target.fire("input");
  };
  return { ...page, panel, handed, rows, write };
}

const USERS = [
  { number: "10034", name: "Abel", presence: "offline" }, { number: "10031", name: "Alice", presence: "busy" },
  { number: "10032", name: "Bob", presence: "idle" }, { number: "10033", name: "Carol" }, { number: "10035", name: "Dora", presence: "constructor" },
];

test("colleagues are listed with how they stand, without oneself, and who is off comes last", async () => {
  const { rows } = await newTransfer(["transfer"], USERS);
  assert.deepEqual(rows(), [["Bob · 10032Free"], ["Carol · 10033"], ["Dora · 10035"], ["Abel · 10034Offline"]]);
});

test("a colleague is asked first where the system can do that, and only asked where it can do nothing else", async () => {
  for (const [actions, texts, handed] of [
    [["transfer", "consult"], ["Bob · 10032Free", "Ask first"], [["transfer", "10032"], ["consult", "10032"]]],
    [["consult"], ["Bob · 10032Free", "Ask first"], [["consult", "10032"], ["consult", "10032"]]],
    [["transfer"], ["Bob · 10032Free"], [["transfer", "10032"]]],
  ]) {
    const page = await newTransfer(actions, USERS);
    assert.deepEqual(page.rows()[0], texts);
    for (const node of page.panel.element.all("li")[0].all("button")) node.fire("click", { detail: 1 });
    assert.deepEqual(page.handed, handed);
  }
});

test("what is typed is a number, or all but one colleague's name", async () => {
  const { panel, write, handed, rows } = await newTransfer(["transfer", "consult"], USERS);
  const submit = (value) => panel.element.fire("submit", { submitter: { value } });
  write("o"); // Bob, Carol, Dora
  assert.equal(rows().length, 3);
  submit("transfer");
  write("");
  submit("transfer");
  write("zoe");
  submit("consult");
  assert.deepEqual(handed, []);
  write("bob");
  submit("consult");
  write("020 7946-0018");
  submit("transfer");
  assert.deepEqual(handed, [["consult", "10032"], ["transfer", "020 7946-0018"]]);
});

// Recent calls.

test("a call that was answered elsewhere is not a missed one", () => {
  const { panels, context } = newPage();
  const list = context.document.createElement("ul");
  panels.recent(list, [call("a", "HANGUP", { endReason: "elsewhere" }), call("b", "HANGUP", { endReason: "missed" })], () => {});
  const rows = list.children;
  assert.deepEqual(rows.map(({ attributes }) => attributes.class), [undefined, "missed"]);
  assert.match(rows[0].textContent, /Answered elsewhere/);
  assert.match(rows[1].textContent, /Missed/);
  panels.recent(list, []);
  assert.match(list.textContent, /No calls yet/);
});
