import assert from "node:assert/strict";
import test from "node:test";
import { call, connect, openPage, session } from "./page.mjs";

test("the global Cti has what a page written for VoIPstudio's connector reads", () => {
  const { Cti } = openPage();
  for (const name of ["READY", "LOGGED_IN", "LOGGED_OUT", "TWO_FACTOR_AUTH", "SUBSCRIBED", "INITIAL", "ACCEPTED", "RINGING",
    "CONNECTED", "ON_HOLD", "HANGUP", "CANCEL", "INFO", "ERROR"]) assert.equal(Cti.EVENT[name], name);
  assert.deepEqual({ ...Cti.DIRECTION }, { IN: "INBOUND", OUT: "OUTBOUND" });
  assert.equal(Cti.CALL_STATUS.HANGUP, "HANGUP");
  for (const method of ["login", "twoFactorAuth", "logout", "isConnected", "call", "answer", "terminate", "transfer",
    "subscribe", "getSubscriptionURIs"]) assert.equal(typeof Cti.Connector.prototype[method], "function", method);
  Cti.log("hello");
});

test("a whole life as such a page sees it: log-in, click-to-call, incoming call, logout", async () => {
  const desk = connect();
  desk.connector.login("alice@example.com", "secret");
  assert.equal(desk.socket.url, "wss://crm.example/ws/cti/");
  desk.open();
  assert.deepEqual(desk.socket.sent.map(({ type }) => type), ["hello", "login"]);
  assert.equal(desk.sent("hello")[0].tab, desk.connector.tab);
  assert.equal(desk.sent("login")[0].password, "secret");
  desk.snapshot();
  await desk.answer("login");
  desk.tell(session("connecting"));
  desk.event({ name: "LOGGED_IN" });
  desk.event({ name: "SUBSCRIBED", uri: "user:10031" });
  desk.tell(session("ready"));
  desk.event({ name: "READY" });
  assert.deepEqual(desk.names(), ["LOGGED_IN", "SUBSCRIBED", "READY"]);
  assert.equal(desk.connector.isConnected(), true);
  assert.deepEqual([...desk.connector.getSubscriptionURIs()], ["user:10031"]);

  desk.connector.call("020 7946 0018");
  assert.equal(desk.sent("command")[0].number, "020 7946 0018");
  for (const status of ["INITIAL", "ACCEPTED", "RINGING", "CONNECTED", "HANGUP"]) {
    desk.event({ name: status, call: call("a", status, { direction: "OUTBOUND" }) });
  }
  desk.event({ name: "RINGING", call: call("b") });
  desk.connector.answer();
  desk.connector.terminate("b");
  desk.connector.transfer("b", "10032");
  desk.connector.subscribe("user:10032");
  const commands = desk.sent("command").slice(1);
  assert.deepEqual(commands.map(({ command }) => command), ["answer", "hangup", "transfer", "subscribe"]);
  assert.equal(commands[2].call_id, "b");
  assert.equal(new Set(desk.socket.sent.map(({ id }) => id).filter(Boolean)).size, 6);
  desk.connector.logout();
  desk.tell(session("logged_out"));
  desk.event({ name: "LOGGED_OUT" });
  assert.deepEqual(desk.names().slice(3), ["INITIAL", "ACCEPTED", "RINGING", "CONNECTED", "HANGUP", "RINGING", "LOGGED_OUT"]);
  assert.equal(desk.connector.isConnected(), false);
  assert.ok(desk.events.every(({ message, at }) => typeof message === "string" && at));
});

test("an API key and the stored account log in, too", () => {
  for (const [args, fields] of [[["key"], { api_key: "key" }], [[], {}], [["key", undefined], { api_key: "key" }]]) {
    const desk = connect();
    desk.connector.login(...args);
    desk.open();
    const { type, id, ...sent } = desk.sent("login")[0];
    assert.deepEqual(sent, fields);
  }
});

test("a two-factor code goes back with its nonce", async () => {
  const desk = connect();
  desk.connector.login();
  desk.open();
  desk.snapshot();
  await desk.answer("login");
  desk.tell(session("two_factor", { nonce: "n1", message: "Enter the code" }));
  desk.event({ name: "TWO_FACTOR_AUTH", nonce: "n1", message: "Enter the code" });
  assert.deepEqual(desk.names(), ["TWO_FACTOR_AUTH"]);
  assert.equal(desk.events[0].nonce, "n1");
  desk.connector.twoFactorAuth(123456, desk.events[0].nonce);
  const { command, code, nonce } = desk.sent("command")[0];
  assert.deepEqual({ command, code, nonce }, { command: "code", code: "123456", nonce: "n1" });
});

test("misuse is an ERROR event, never an exception", async () => {
  for (const misuse of [
    (connector) => connector.call("10032"), (connector) => connector.call(), (connector) => connector.call("  "),
    (connector) => connector.login("a", "b", "c"), (connector) => connector.login(""), (connector) => connector.login({}),
    (connector) => connector.terminate(), (connector) => connector.transfer("id"), (connector) => connector.twoFactorAuth(),
    (connector) => connector.subscribe("user:1"), (connector) => connector.subscribe(), (connector) => connector.logout(),
  ]) {
    const desk = connect();
    const { ok } = await misuse(desk.connector);
    assert.equal(ok, false);
    assert.deepEqual(desk.names(), ["ERROR"], String(misuse));
    assert.ok(desk.events[0].message && desk.events[0].code);
    assert.equal(desk.sockets.length, 0);
  }
});

test("an exception in the page's onMessage is logged and stops nothing", async () => {
  const heard = [];
  const onMessage = ({ name }) => { heard.push(name); throw new Error("page"); };
  const desk = connect({ connector: { onMessage } });
  await desk.join();
  assert.deepEqual(heard, ["LOGGED_IN", "SUBSCRIBED", "READY"]);
  assert.equal(desk.logs.length, 3);
});

test("joining a session that is ready gives its events, and the present one of each live call", async () => {
  const desk = connect();
  await desk.join({ calls: [call("a", "ON_HOLD"), call("b")] });
  assert.deepEqual(desk.names(), ["LOGGED_IN", "SUBSCRIBED", "READY", "ON_HOLD", "RINGING"]);
  assert.equal(desk.events[4].call.sourceName, "Dana");
});

test("nothing is told before login(), and each login() is told once", async () => {
  const desk = connect();
  desk.connector.connect();
  desk.open();
  desk.snapshot({ session: session("ready"), calls: [call("a")] });
  desk.event({ name: "CONNECTED", call: call("a", "CONNECTED") });
  assert.deepEqual(desk.names(), []);
  assert.equal(desk.envelopes.length, 2);
  for (const round of [1, 2]) {
    desk.connector.login();
    await desk.answer("login");
    desk.event({ name: "READY" });
    assert.deepEqual(desk.names(), Array(round).fill(["LOGGED_IN", "SUBSCRIBED", "READY", "CONNECTED"]).flat());
  }
});

test("old envelopes are dropped, and a gap asks for a snapshot that tells just what was missed", async () => {
  const desk = connect();
  await desk.join({ calls: [call("a", "CONNECTED"), call("b")] });
  desk.events.length = 0;
  desk.say({ type: "event", fence: 1, seq: 0, event: { name: "HANGUP", call: call("a", "HANGUP") } });
  desk.say({ type: "event", fence: 0, seq: 99, event: { name: "HANGUP", call: call("a", "HANGUP") } });
  assert.deepEqual(desk.names(), []);
  desk.seq = 4;
  desk.event({ name: "RINGING", call: call("c") });
  desk.event({ name: "CONNECTED", call: call("c", "CONNECTED") });
  assert.equal(desk.sent("resync").length, 1);
  desk.seq = 3; // sent before the gap was seen
  desk.snapshot({ session: session("ready"), calls: [] });
  desk.seq = 6;
  const ended = call("b", "HANGUP", { cause: "Normal clearing", endReason: "missed" });
  desk.snapshot({ session: session("ready"), calls: [call("c", "CONNECTED")], recent: [ended] });
  assert.deepEqual(desk.names(), ["RINGING", "CONNECTED", "HANGUP", "HANGUP"]);
  const causes = Object.fromEntries(desk.events.slice(2).map((event) => [event.call.id, event.call.cause]));
  assert.equal(causes.b, "Normal clearing");
  assert.match(causes.a, /not connected/);
});

test("a higher fence is followed, and asked for a snapshot", async () => {
  const desk = connect();
  await desk.join();
  [desk.fence, desk.seq] = [2, 0];
  desk.event({ name: "RINGING", call: call("a") });
  assert.equal(desk.names().at(-1), "RINGING");
  assert.equal(desk.sent("resync").length, 1);
});

test("what has no number is of this server alone: it is taken as it comes and counts for nothing", async () => {
  const desk = connect();
  await desk.join({ calls: [call("a", "CONNECTED")] });
  desk.say({ type: "session", session: session("connecting", { message: "Your session is being taken over." }) });
  desk.say({ type: "event", event: { name: "INFO", code: "timed_out", message: "No answer.", at: "2026-01-01T10:00:00.000+00:00" } });
  assert.deepEqual(desk.envelopes.slice(-2).map(({ type }) => type), ["session", "event"]);
  assert.deepEqual([desk.names().at(-1), desk.sent("resync").length], ["INFO", 0]);
  assert.equal(desk.connector.isConnected(), true); // commands go on: the next server may take them
  desk.event({ name: "HANGUP", call: call("a", "HANGUP") });
  assert.deepEqual([desk.names().at(-1), desk.sent("resync").length], ["HANGUP", 0]);
  [desk.fence, desk.seq] = [2, 3];
  desk.snapshot({ session: session("ready"), calls: [] });
  assert.equal(desk.names().at(-1), "HANGUP");
});

test("what a server says before it has a snapshot is shown, and logs nobody in or out", async () => {
  const desk = connect();
  desk.connector.login();
  desk.open();
  assert.equal(desk.links.at(-1)[0], "opening");
  desk.say({ type: "session", session: session("none", { code: "no_database", message: "It is tried again." }) });
  assert.deepEqual([desk.links.at(-1)[0], desk.envelopes.length, desk.names(), desk.connector.isConnected()], ["open", 1, [], false]);
  await desk.clock.pass(2_000);
  assert.equal(desk.sent("resync").length, 1);
  desk.snapshot({ session: session("ready") });
  await desk.answer("login");
  assert.deepEqual(desk.names(), ["LOGGED_IN", "SUBSCRIBED", "READY"]);
});

test("a command carries the fence that its page showed, also when a new socket sends it again", async () => {
  const desk = connect();
  desk.connector.login();
  desk.connector.hold("a");
  desk.open();
  desk.fence = 3;
  desk.snapshot({ session: session("ready") });
  await desk.answer("login");
  desk.connector.resume("a");
  desk.close();
  desk.connector.terminate("a");
  await desk.clock.pass(600);
  desk.open();
  desk.connector.answer("b");
  desk.fence = 5;
  desk.snapshot({ session: session("ready") });
  desk.connector.answer("c");
  const fences = desk.sent("command").map(({ command, fence }) => [command, fence]);
  assert.deepEqual(fences, [["hold", undefined], ["resume", 3], ["hangup", 3], ["answer", 3], ["answer", 5]]);
});

test("a command that came too late is an INFO", async () => {
  for (const code of ["outdated", "timed_out"]) {
    const desk = connect();
    await desk.join();
    desk.connector.hold("a");
    await desk.answer("command", { ok: false, code, message: "Another server runs your session now." });
    await desk.clock.pass(300);
    assert.deepEqual([desk.names().at(-1), desk.events.at(-1).code], ["INFO", code]);
  }
});

test("hello says what this browser has popped at that moment, and a refused pop is no ERROR", async () => {
  const popped = ["a"];
  const desk = connect({ connector: { popped: () => popped } });
  await desk.join();
  const { popped: told, connection: first } = desk.sent("hello")[0];
  assert.deepEqual(told, ["a"]);
  const asked = desk.connector.pop("b", "b-1");
  assert.deepEqual([desk.sent("pop")[0].call_id, desk.sent("pop")[0].key], ["b", "b-1"]);
  await desk.answer("pop", { ok: false, code: "popped", message: "Another tab has it." });
  assert.equal((await asked).code, "popped");
  await desk.clock.pass(1_000);
  assert.equal(desk.names().at(-1), "READY");
  popped.push("b");
  desk.close();
  await desk.clock.pass(600);
  desk.open();
  assert.deepEqual(desk.sent("hello")[0].popped, ["a", "b"]);
  assert.ok(desk.sent("hello")[0].connection > first);
});

test("a snapshot that does not come is asked for again", async () => {
  const desk = connect();
  await desk.join();
  desk.seq = 7;
  desk.event({ name: "INFO", message: "x" });
  await desk.clock.pass(5_000);
  assert.equal(desk.sent("resync").length, 3);
});

test("after a lost socket the page hears only differences, and the session is joined without credentials", async () => {
  const desk = connect();
  desk.connector.login("alice@example.com", "secret");
  desk.open();
  desk.snapshot({ session: session("ready"), calls: [call("a"), call("b", "CONNECTED")] });
  await desk.answer("login");
  desk.events.length = 0;
  desk.close();
  assert.equal(desk.connector.isConnected(), false);
  await desk.clock.pass(600);
  desk.open();
  assert.deepEqual(desk.socket.sent.map(({ type }) => type), ["hello"]);
  desk.fence = 0; // the server's database began anew: a new socket is a new count
  desk.snapshot({ session: session("ready"), calls: [call("a", "CONNECTED"), call("b", "CONNECTED")] });
  assert.deepEqual(desk.sent("login").map(({ password }) => password), [undefined]);
  assert.deepEqual(desk.names(), ["CONNECTED"]);
  desk.event({ name: "READY" });
  assert.deepEqual(desk.names(), ["CONNECTED"]);
});

test("a server that has forgotten the session gets the whole log-in again", async () => {
  const desk = connect();
  desk.connector.login("key");
  desk.open();
  desk.snapshot({ session: session("ready") });
  await desk.answer("login");
  desk.close();
  await desk.clock.pass(600);
  desk.open();
  desk.snapshot();
  assert.equal(desk.sent("login")[0].api_key, "key");
});

test("a session that ended meanwhile is one LOGGED_OUT and no new log-in", async () => {
  const desk = connect();
  await desk.join({ calls: [call("a")] });
  desk.close();
  await desk.clock.pass(600);
  desk.open();
  desk.snapshot({ session: session("logged_out", { message: "Your session has expired." }) });
  assert.equal(desk.names().at(-1), "LOGGED_OUT");
  assert.equal(desk.names().filter((name) => name === "LOGGED_OUT").length, 1);
  assert.equal(desk.sent("login").length, 0);
});

test("the waits between attempts double, with jitter, up to half a minute", async () => {
  const desk = connect();
  desk.connector.connect();
  const waits = [];
  for (let attempt = 0; attempt < 9; attempt += 1) {
    const before = desk.clock.now;
    desk.close();
    while (desk.sockets.length === attempt + 1) await desk.clock.pass(50);
    waits.push(desk.clock.now - before);
  }
  waits.forEach((wait, attempt) => {
    const full = Math.min(30_000, 500 * 2 ** attempt);
    assert.ok(wait >= full / 2 && wait <= full + 50, `${attempt}: ${wait}`);
  });
});

test("the network's return and a look at the page end the wait", () => {
  for (const wake of [
    (desk) => desk.pageEvents.dispatchEvent(new Event("online")),
    (desk) => desk.document.dispatchEvent(new Event("visibilitychange")),
  ]) {
    const desk = connect();
    desk.connector.connect();
    desk.close();
    assert.equal(desk.sockets.length, 1);
    wake(desk);
    assert.equal(desk.sockets.length, 2);
  }
});

test("a look at the page after a sleep finds a dead socket within seconds", async () => {
  const desk = connect();
  await desk.join();
  desk.document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(desk.sent("ping").length, 1);
  await desk.clock.pass(6_000);
  assert.equal(desk.sockets.length, 2);
});

test("a silent line is given up within 30 s, one that answers pings is kept", async () => {
  const desk = connect();
  await desk.join();
  for (let i = 0; i < 5; i += 1) {
    await desk.clock.pass(15_000);
    desk.say({ type: "pong" });
  }
  assert.equal(desk.sent("ping").length, 5);
  assert.equal(desk.sockets.length, 1);
  const silent = desk.socket;
  await desk.clock.pass(26_900);
  assert.equal(silent.closed, false);
  await desk.clock.pass(700);
  assert.equal(silent.closed, true);
  assert.equal(desk.sockets.length, 2);
  silent.onclose({ code: 1006 }); // late, of a socket that is ours no more
  await desk.clock.pass(100);
  assert.equal(desk.sockets.length, 2);
});

test("a hidden page, whose timers come once a minute, keeps a living line, and has a new one as soon as it is shown", async () => {
  const desk = connect();
  await desk.join();
  const { sent } = desk.socket;
  desk.socket.send = (text) => {
    sent.push(JSON.parse(text));
    desk.say({ type: "pong" });
  };
  desk.clock.beatMs = 60_000;
  await desk.clock.pass(600_000);
  assert.ok(desk.sent("ping").length >= 9);
  assert.equal(desk.sockets.length, 1);
  desk.close();
  await desk.clock.pass(1_000);
  assert.equal(desk.sockets.length, 1);
  desk.document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(desk.sockets.length, 2);
});

test("a socket on which nobody has a snapshot for a while is kept, and asked every 2 s", async () => {
  const desk = connect();
  await desk.join({ calls: [call("a", "CONNECTED")] });
  desk.close();
  await desk.clock.pass(600);
  desk.open();
  await desk.clock.pass(14_900);
  assert.equal(desk.sent("resync").length, 7);
  await desk.clock.pass(10_000);
  desk.say({ type: "pong" });
  await desk.clock.pass(10_000);
  assert.equal(desk.sockets.length, 2);
  desk.fence = 2;
  desk.events.length = 0;
  desk.snapshot({ session: session("ready"), calls: [call("a", "CONNECTED"), call("b")] });
  assert.deepEqual(desk.events.map(({ name, call }) => [name, call.id]), [["RINGING", "b"]]);
  const asked = desk.sent("resync").length;
  await desk.clock.pass(5_000);
  assert.equal(desk.sent("resync").length, asked);
});

test("a socket that never opens, or cannot be made, is tried again", async () => {
  const desk = connect();
  desk.connector.connect();
  await desk.clock.pass(16_000);
  assert.equal(desk.sockets.length, 2);
  const other = openPage();
  other.refusesSockets = true;
  const connector = new other.Cti.Connector({});
  connector.connect();
  other.refusesSockets = false;
  await other.clock.pass(600);
  assert.equal(other.sockets.length, 1);
});

for (const code of [4401, 4403]) {
  test(`close code ${code} is LOGGED_OUT and one ERROR, and no more attempts`, async () => {
    const desk = connect();
    await desk.join();
    desk.events.length = 0;
    desk.connector.call("10032");
    desk.close(code);
    await desk.clock.pass(60_000);
    assert.deepEqual(desk.names(), ["LOGGED_OUT", "ERROR"]);
    assert.equal(desk.sockets.length, 1);
    assert.deepEqual(desk.links.at(-1), ["closed", code]);
  });
}

test("close code 4400 is tried again", async () => {
  const desk = connect();
  await desk.join();
  desk.close(4400);
  await desk.clock.pass(600);
  assert.equal(desk.sockets.length, 2);
});

test("a refusal that comes as answer and as event is told once, by the event's name", async () => {
  for (const eventFirst of [true, false]) {
    const desk = connect();
    await desk.join();
    desk.events.length = 0;
    desk.connector.hold("a");
    const event = () => desk.event({ name: "INFO", code: "not_now", message: "Not now." });
    if (eventFirst) event();
    await desk.answer("command", { ok: false, code: "not_now", message: "Not now." });
    if (!eventFirst) event();
    await desk.clock.pass(1_000);
    assert.deepEqual(desk.names(), ["INFO"]);
  }
});

test("a refusal without an event is an ERROR", async () => {
  const desk = connect();
  await desk.join();
  desk.connector.call("10032");
  await desk.answer("command", { ok: false, code: "vetoed", message: "Not allowed." });
  await desk.clock.pass(300);
  assert.equal(desk.names().at(-1), "ERROR");
  assert.equal(desk.events.at(-1).code, "vetoed");
});

test("a refused log-in is one ERROR, and so is a missing account", async () => {
  for (const facts of [session("refused", { code: "login_refused", message: "No." }), session("none", { code: "no_account", message: "No." })]) {
    const desk = connect();
    desk.connector.login();
    desk.open();
    desk.snapshot();
    await desk.answer("login");
    desk.tell(facts);
    desk.event({ name: "ERROR", code: facts.code, message: "No." });
    await desk.clock.pass(1_000);
    assert.deepEqual(desk.names(), ["ERROR"]);
    await desk.connector.call("10032");
    assert.equal(desk.events.at(-1).code, "not_logged_in");
  }
});

test("a refused log-in is told although a snapshot overtook its envelopes", async () => {
  const desk = connect();
  desk.connector.login();
  desk.open();
  desk.snapshot();
  await desk.answer("login");
  desk.seq = 2;
  desk.snapshot({ session: session("refused", { code: "login_refused", message: "No." }) });
  desk.seq = 0;
  desk.tell(session("refused", { code: "login_refused", message: "No." }));
  desk.event({ name: "ERROR", code: "login_refused", message: "No." });
  await desk.clock.pass(1_000);
  assert.deepEqual(desk.names(), ["ERROR"]);
  assert.equal(desk.events[0].code, "login_refused");
  assert.equal(desk.connector.isConnected(), false);
});

test("a log-in as another line tells nothing of the session that it ends", async () => {
  const desk = connect();
  desk.connector.login("carol@example.com", "secret");
  desk.open();
  desk.snapshot({ session: session("ready"), calls: [call("a", "CONNECTED")] });
  desk.tell(session("connecting"));
  await desk.answer("login");
  assert.deepEqual(desk.names().filter((name) => name !== "CONNECTED"), []);
  assert.equal(desk.connector.isConnected(), false);
  [desk.fence, desk.seq] = [2, 0];
  desk.snapshot({ session: session("ready", { subscriptions: ["user:10033"] }) });
  assert.deepEqual(desk.events.filter(({ call }) => !call).map(({ name, uri }) => uri || name), ["LOGGED_IN", "user:10033", "READY"]);
});

test("one dial at a time: a second click is an INFO and no second command", async () => {
  const desk = connect();
  await desk.join();
  const first = desk.connector.call("10032");
  const second = await desk.connector.call("10032");
  assert.deepEqual([second.ok, desk.names().at(-1)], [false, "INFO"]);
  assert.equal(desk.sent("command").length, 1);
  await desk.answer("command", { data: { call_id: "a" } });
  assert.equal((await first).data.call_id, "a");
  desk.connector.call("10033");
  assert.equal(desk.sent("command").length, 2);
});

test("what is asked while the socket is away goes out under the same id, or is refused soon", async () => {
  const desk = connect();
  await desk.join();
  const answered = desk.connector.hold("a");
  const { id } = desk.sent("command")[0];
  desk.close();
  const kept = desk.connector.resume("a");
  await desk.clock.pass(600);
  desk.open();
  assert.deepEqual(desk.sent("command").map((message) => [message.id, message.command]), [[id, "hold"], [String(Number(id) + 1), "resume"]]);
  await desk.clock.pass(4_500);
  assert.equal((await kept).code, "timeout");
  await desk.clock.pass(300);
  assert.equal(desk.names().at(-1), "ERROR");
  desk.say({ type: "answer", id, ok: true });
  assert.equal((await answered).ok, true);
});

test("frames that make no sense are dropped", async () => {
  const desk = connect();
  await desk.join();
  for (const data of ["", "{", "null", "[]", "1", '{"type":"event"}', '{"type":"snapshot"}', '{"type":"event","fence":"x","seq":{}}', '{"type":"answer","id":"999"}']) {
    desk.socket.onmessage({ data });
  }
  desk.event({ name: "RINGING", call: call("a") });
  assert.equal(desk.names().at(-1), "RINGING");
});

test("the socket's address: option, script attribute, default; ws on a plain page", () => {
  for (const [options, expected] of [
    [{}, "wss://crm.example/ws/cti/"],
    [{ dataset: { socket: "/x/ws/" } }, "wss://crm.example/x/ws/"],
    [{ dataset: { socket: "/x/" }, connector: { socket: "wss://other.example/ws" } }, "wss://other.example/ws"],
    [{ url: "http://127.0.0.1:8000/" }, "ws://127.0.0.1:8000/ws/cti/"],
  ]) {
    const desk = connect(options);
    desk.connector.connect();
    assert.equal(desk.socket.url, expected);
  }
});

test("loading the script twice keeps the first Cti", () => {
  const page = openPage();
  const first = page.Cti;
  page.load("cti-connector.js");
  assert.equal(page.context.Cti, first);
});

test("notes, directory and focus speak the contract", async () => {
  const desk = connect();
  await desk.join();
  desk.connector.note("a", "<b>");
  desk.connector.link("a", "https://crm.example/7/", "Dana");
  const directory = desk.connector.directory();
  desk.connector.focus(true);
  await desk.answer("directory", { data: { users: [{ number: "10032" }] } });
  assert.equal((await directory).data.users[0].number, "10032");
  assert.deepEqual(desk.sent("note").map(({ call_id, text }) => [call_id, text]), [["a", "<b>"]]);
  assert.deepEqual(desk.sent("focus"), [{ type: "focus", focused: true }]);
  assert.equal(desk.sent("command")[0].url, "https://crm.example/7/");
});

test("what only some systems can do goes out as texts", async () => {
  const desk = connect();
  await desk.join();
  const { connector } = desk;
  connector.consult("a", 10032);
  connector.complete("a");
  connector.back("a");
  connector.dtmf("a", 12);
  for (const queue of [undefined, "sales"]) [connector.queueLogin(queue), connector.queueLogout(queue)];
  connector.pause();
  connector.pause("Lunch");
  connector.unpause();
  for (const on of [true, false]) connector.doNotDisturb(on);
  const told = desk.sent("command").map(({ type, id, fence, ...fields }) => fields);
  assert.deepEqual(told, [
    { command: "consult", call_id: "a", number: "10032" }, { command: "complete", call_id: "a" },
    { command: "back", call_id: "a" }, { command: "dtmf", call_id: "a", digits: "12" },
    { command: "queue_login", queue: "" }, { command: "queue_logout", queue: "" },
    { command: "queue_login", queue: "sales" }, { command: "queue_logout", queue: "sales" },
    { command: "pause", reason: "" }, { command: "pause", reason: "Lunch" }, { command: "unpause" },
    { command: "dnd", state: "on" }, { command: "dnd", state: "off" },
  ]);
  for (const misuse of [() => connector.consult("a"), () => connector.consult(), () => connector.complete(), () => connector.dtmf()]) {
    assert.equal((await misuse()).ok, false);
  }
});

test("another side of a call is told like any other event, also if it came in a gap, and once", async () => {
  const desk = connect();
  await desk.join({ calls: [call("a", "CONNECTED", { number: "10032" })] });
  desk.events.length = 0;
  desk.event({ name: "UPDATED", call: call("a", "CONNECTED", { number: "+442079460018" }) });
  desk.event({ name: "MATCHED", call: call("a", "CONNECTED", { number: "+442079460018", match: "one" }) });
  assert.deepEqual(desk.names(), ["UPDATED", "MATCHED"]);
  assert.equal(desk.Cti.EVENT.UPDATED, "UPDATED");
  const asking = call("a", "CONNECTED", { number: "+442079460018", consult: { number: "10033", name: "Carol" } });
  for (const calls of [[asking], [asking], [call("a", "CONNECTED", { number: "+442079460018" })]]) {
    desk.seq += 1;
    desk.snapshot({ session: session("ready"), calls });
  }
  assert.deepEqual(desk.names(), ["UPDATED", "MATCHED", "UPDATED", "UPDATED"]);
  assert.deepEqual(desk.events.slice(2).map((event) => event.call.consult?.number), ["10033", undefined]);
});
