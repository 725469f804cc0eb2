"use strict";
// The console page. The PBX's state is asked for by long polling and painted; whatever callers sent becomes text only.

const API = "api/";
const MAX_PHONES = 24;
const BEHAVIOURS = {
  manual: "just rings", answers: "answers", declines: "declines", busy: "is busy", no_answer: "does not answer",
};
const FAULTS = {
  clear: "Clear all", drop_line: "Drop the line", expire_token: "Expire the token", malformed_sip: "Malformed SIP",
  malformed_xml: "Malformed XML", entity_bomb: "Entity bomb", oversized: "Oversized NOTIFY",
  end_subscription: "End subscription", refuse_sockets: "Refuse sockets", duplicate: "Duplicate NOTIFY",
  delay: "Delay NOTIFY", reorder: "Reorder NOTIFY", gap: "Skip a version", lose: "Lose NOTIFY", slow: "Answer slowly",
  html: "HTML with 200", empty: "Empty body", huge: "Huge answer", no_token: "Log-in without token",
  server_error: "Server error", disconnect: "Drop the connection",
};

const $ = (id) => document.getElementById(id);
let state = null;

function element(tag, properties = {}, ...children) {
  const { data, aria, ...rest } = properties;
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.dataset, data || {});
  for (const [name, value] of Object.entries(aria || {})) made.setAttribute(`aria-${name}`, value);
  made.append(...children);
  return made;
}

async function post(path, body = {}) {
  try {
    const response = await fetch(API + path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const answer = await response.json();
    complain(response.ok ? "" : answer.message);
  } catch {
    complain("The sandbox does not answer.");
  }
}

function complain(message) {
  $("alert").textContent = message;
  $("alert").hidden = !message;
}

function button(text, act, kind = "", label = text) {
  const made = element("button", { type: "button", textContent: text, className: kind, data: { key: label } });
  if (label !== text) made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

// Replaces only the children whose value has changed, and keeps the keyboard where it was.
function paint(container, items, keyOf, build) {
  const old = new Map([...container.children].map((child) => [child.dataset.item, child]));
  const next = items.map((item) => {
    const key = String(keyOf(item)), print = JSON.stringify(item), standing = old.get(key);
    if (standing && standing.print === print) return standing;
    const made = build(item);
    made.dataset.item = key;
    made.print = print;
    if (standing && standing.contains(document.activeElement)) made.focusKey = document.activeElement.dataset.key;
    return made;
  });
  if (next.length === container.children.length && next.every((child, at) => child === container.children[at])) return;
  container.replaceChildren(...next);
  for (const child of next) {
    if (child.focusKey === undefined) continue;
    const controls = [...child.querySelectorAll("[data-key]")];
    (controls.find((one) => one.dataset.key === child.focusKey) || controls[0] || child).focus();
    delete child.focusKey;
  }
}

function who(number, name) {
  if (number === "anonymous") return "Number withheld";
  return name && name !== number ? `${name} (${number})` : number;
}

function legWords(call, leg) {
  if (leg.state === "summoned") return `rings: pick up to call ${call.to}`;
  if (leg.state === "early") return leg.direction === "receiver" ? "rings" : "hears the ringing tone";
  return leg.on_hold ? "holds the call" : "talks";
}

function legButtons(call, leg) {
  const side = leg.node || "remote", name = leg.name || leg.number;
  const act = (action, text, kind) =>
    button(text, () => post(`calls/${call.id}/${action}`, { side }), kind, `${text}: ${name}, call ${call.id}`);
  if (leg.state === "summoned" || (leg.state === "early" && leg.direction === "receiver")) {
    return [act("answer", "Pick up", "good"), act("decline", "Decline", "bad"), act("busy", "Busy")];
  }
  if (leg.state === "early") return [act("hangup", "Give up", "bad")];
  const hold = leg.on_hold ? act("resume", "Resume") : act("hold", "Hold");
  return [hold, act("hangup", "Hang up", "bad")];
}

const live = (call) => call.legs.filter((leg) => leg.state !== "terminated");
const isRinging = (leg) => leg.state === "summoned" || (leg.state === "early" && leg.direction === "receiver");
const mood = (legs) => (legs.some(isRinging) ? " ringing" : legs.length ? " talking" : "");

function callCard(call) {
  const legs = live(call).filter((leg) => !(leg.node in state.nodes));
  const head = element("p", {}, element("strong", { textContent: who(call.from, call.from_name) }), " → ",
    element("strong", { textContent: who(call.to, call.to_name) }),
    element("span", { className: "quiet", textContent: `  ${call.id}  ${call.state.toLowerCase().replace("_", " ")}` }));
  const card = element("article", { className: `card${mood(legs)}`, aria: { label: `Call ${call.id}` } }, head);
  for (const leg of legs) {
    card.append(element("div", { className: "leg" },
      element("p", { textContent: `${who(leg.number, leg.name)} ${legWords(call, leg)}` }),
      element("div", { className: "row" }, ...legButtons(call, leg))));
  }
  if (call.link) card.append(element("p", { className: "quiet", textContent: `Link: ${call.link.text} ${call.link.url}` }));
  return card;
}

function phoneCard({ user, calls }) {
  const legs = calls.map(({ leg }) => leg), phone = user.phone;
  const className = `card${mood(legs)}${phone.registered ? "" : " off"}`;
  const note = phone.registered ? (legs.length ? "" : "idle") : "no phone registered";
  const card = element("article", { className, aria: { label: `Phone ${user.id}` } },
    element("p", {}, element("strong", { textContent: user.name }), ` ${user.id} `,
      element("span", { className: "quiet", textContent: note + (user.two_factor ? " · two-factor" : "") })));
  for (const { call, leg } of calls) {
    const other = leg.state === "summoned" ? "" : ` · ${leg.remote}`;
    card.append(element("div", { className: "leg" }, element("p", { textContent: legWords(call, leg) + other }),
      element("div", { className: "row" }, ...legButtons(call, leg))));
  }
  card.append(phoneSettings(user));
  return card;
}

function phoneSettings(user) {
  const { phone } = user, path = `phones/${user.id}`;
  const plugged = element("input", { type: "checkbox", checked: phone.registered, data: { key: "registered" } });
  plugged.addEventListener("change", () => post(path, { registered: plugged.checked }));
  const conduct = element("select", { data: { key: "behaviour" }, aria: { label: `When called, ${user.name}'s phone` } });
  for (const [value, text] of Object.entries(BEHAVIOURS)) {
    conduct.append(element("option", { value, textContent: text, selected: value === phone.behaviour }));
  }
  const seconds = element("input", {
    type: "number", min: 0, max: 600, step: 0.5, value: phone.seconds, data: { key: "seconds" }, hidden: phone.behaviour === "manual",
    aria: { label: `Seconds until ${user.name}'s phone does that` },
  });
  const settle = () => post(path, { behaviour: conduct.value, seconds: Number(seconds.value) || 0 });
  conduct.addEventListener("change", settle);
  seconds.addEventListener("change", settle);
  const number = element("input", {
    type: "text", placeholder: "click to call", maxLength: 20, data: { key: "dial" },
    aria: { label: `Number that ${user.name} calls` },
  });
  const dial = element("form", { className: "row" }, number, button("Call", () => dial.requestSubmit(), "", `Call as ${user.name}`));
  dial.addEventListener("submit", (event) => {
    event.preventDefault();
    if (number.value.trim()) post("dial", { from: user.id, to: number.value.replace(/[^0-9]/g, "") });
  });
  return element("div", { className: "settings" },
    element("label", { className: "check" }, plugged, "plugged in"), conduct, seconds, dial);
}

function paintPhones() {
  const wanted = $("find").value.trim().toLowerCase();
  const legsOf = new Map();
  for (const call of state.calls) {
    for (const leg of live(call)) {
      if (!legsOf.has(leg.node)) legsOf.set(leg.node, []);
      legsOf.get(leg.node).push({ call: { id: call.id, to: call.to }, leg });
    }
  }
  const found = state.users.filter((user) => `${user.id} ${user.name} ${user.email}`.toLowerCase().includes(wanted));
  const busy = found.filter((user) => legsOf.has(user.id));
  const shown = found.length > MAX_PHONES ? [...new Set([...busy, ...found])].slice(0, MAX_PHONES) : found;
  paint($("phones"), shown.map((user) => ({ user, calls: legsOf.get(user.id) || [] })), ({ user }) => user.id, phoneCard);
  $("more-phones").hidden = shown.length === found.length;
  $("more-phones").textContent = `${found.length - shown.length} more phones: find them by name or extension.`;
}

function endedLine(call) {
  const seconds = call.connected_at ? ` · ${Math.round(call.ended_at - call.connected_at)} s` : "";
  const text = `${who(call.from, call.from_name)} → ${who(call.to, call.to_name)}: ${call.cause.replace(/_/g, " ")}${seconds}`;
  return element("li", { textContent: text });
}

function faultButton(name) {
  return button(FAULTS[name] || name, () => {
    const form = $("faults"), body = { fault: name, user: form.user.value.trim(), seconds: Number(form.seconds.value) || 0 };
    if (form.count.value) body.count = Number(form.count.value);
    post("faults", body);
  }, name === "clear" ? "good" : "");
}

function conductWords(number, { behaviour, seconds }) {
  const text = { ...BEHAVIOURS, unobtainable: "does not exist" }[behaviour];
  return `${number || "All others"}: ${text}${seconds ? ` after ${seconds} s` : ""}`;
}

function accessLines({ urls, login, users }) {
  const names = users.slice(0, 4).map((user) => `${user.email}${user.two_factor ? " (two-factor)" : ""}`).join(", ");
  return [["REST API", urls.api], ["SIP over WebSocket", urls.sip], ["SIP domain", urls.sip_domain], ["Log in as", names],
    ["Password", login.password], ["Two-factor code", login.two_factor_code], ["API key", "key-<extension>"]];
}

function paintAll() {
  const list = (items) => items.map((item) => ({ item }));
  paint($("calls"), state.calls, (call) => call.id, callCard);
  $("no-calls").hidden = state.calls.length > 0;
  paint($("ended"), state.ended.slice(-12).reverse(), (call) => call.id, endedLine);
  paintPhones();
  paint($("numbers"), Object.entries(state.outside), ([number]) => `n${number}`,
    ([number, conduct]) => element("li", { textContent: conductWords(number, conduct) }));
  paint($("at-once"), list(state.known_faults.at_once), ({ item }) => item, ({ item }) => faultButton(item));
  paint($("armed"), list(state.known_faults.armed), ({ item }) => item, ({ item }) => faultButton(item));
  paint($("waiting"), state.faults, (fault) => fault.fault + fault.user, (fault) => element("li", {
    textContent: `${FAULTS[fault.fault]} waits for ${fault.user || "everybody"}` +
      (fault.remaining ? `, ${fault.remaining} times` : ", until cleared"),
  }));
  paint($("extensions"), state.users.slice(0, 200), (user) => user.id,
    (user) => element("option", { value: user.id, label: user.name }));
  paint($("access"), accessLines(state).flatMap(([term, text]) => [["dt", term], ["dd", text]]), (pair) => pair.join(),
    ([tag, text]) => element(tag, { textContent: text }));
  const via = $("ring").via;
  for (const [node, name] of Object.entries(state.nodes)) {
    if (![...via.options].some((option) => option.value === node)) via.append(new Option(`${name} (${node})`, node));
  }
  $("facts").textContent = `${state.users.length} users, ${state.sockets} SIP sockets, ${state.subscriptions.length} subscriptions`;
}

function announce(before) {
  const known = new Set(before ? before.calls.map((call) => call.id) : []);
  const fresh = before ? state.calls.filter((call) => !known.has(call.id)) : [];
  if (fresh.length) {
    const [call] = fresh;
    $("spoken").textContent = `Call from ${who(call.from, call.from_name)} to ${who(call.to, call.to_name)}`;
  }
}

function setLine(isLive) {
  const text = isLive ? "live" : "no connection to the sandbox";
  if ($("line").textContent !== text) $("line").textContent = text;
  $("line").classList.toggle("live", isLive);
}

async function follow() {
  for (;;) {
    try {
      const response = await fetch(`${API}state${state ? `?since=${state.revision}` : ""}`);
      if (!response.ok) throw new Error(response.statusText);
      const before = state;
      state = await response.json();
      setLine(true);
      paintAll();
      announce(before);
    } catch {
      setLine(false);
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
  }
}

$("ring").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = $("ring"), withheld = event.submitter && event.submitter.name === "withheld";
  post("ring", {
    to: form.to.value.trim(), from: withheld ? "" : form.from.value.trim(), name: withheld ? "" : form.elements.name.value,
    via: form.via.value,
  });
});
$("outside").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = $("outside"), number = form.number.value.replace(/[^0-9]/g, "") || "default";
  post(`outside/${number}`, { behaviour: form.behaviour.value, seconds: Number(form.seconds.value) || 0 });
});
$("outside").behaviour.addEventListener("change", ({ target }) => {
  $("outside").seconds.closest("label").hidden = target.value === "manual";
});
$("faults").addEventListener("submit", (event) => event.preventDefault());
$("find").addEventListener("input", () => state && paintPhones());
follow();
