/* The reference for your own user interface on the Cti API. It uses cti-connector.js and nothing else.
   Read it from top to bottom: each numbered part is one step of the page.

   Whatever comes with an event was said by a caller somewhere. It goes into the page as textContent, never as HTML. */
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const calls = new Map(); // call id -> its list item
  let nonce = ""; // of the two-factor question that is open

  // 1. The platform: one connector for the page. Everything that happens comes to onMessage.
  const connector = new Cti.Connector({ onMessage: (event) => { log(event); follow(event); } });
  show("Platform ready, not connected", "idle");

  function follow(event) {
    const { READY, LOGGED_IN, LOGGED_OUT, TWO_FACTOR_AUTH, SUBSCRIBED, INFO, ERROR } = Cti.EVENT;
    if (event.call) return showCall(event.call);
    if (event.name === LOGGED_IN) show("Connected, not ready yet", "waiting");
    else if (event.name === READY) ready();
    else if (event.name === LOGGED_OUT) loggedOut(event.message);
    else if (event.name === TWO_FACTOR_AUTH) askForCode(event);
    else if (event.name === SUBSCRIBED) showSubscriptions();
    else if (event.name === INFO) say(event.message);
    else if (event.name === ERROR) { say(event.message); if (!connector.isConnected()) show("Not connected", "error"); }
  }

  // 2. Connect: with e-mail and password, with an API key, or with the account that the server keeps.
  onSubmit("login-password", ({ email, password }) => connect(email, password));
  onSubmit("login-key", ({ key }) => connect(key));
  onSubmit("login-stored", () => connect());

  function connect(...credentials) {
    say("");
    show("Connecting …", "waiting");
    connector.login(...credentials);
  }

  function askForCode(event) {
    nonce = event.nonce;
    $("two-factor").hidden = false;
    $("two-factor").elements.code.focus();
    show("A code is needed", "waiting");
  }
  onSubmit("two-factor", ({ code }) => connector.twoFactorAuth(code, nonce));

  // 3. Ready: calls are followed, and may be made.
  async function ready() {
    $("two-factor").hidden = true;
    $("connect").hidden = true;
    show("Ready", "ready");
    say("");
    enable(true);
    showSubscriptions();
    const { ok, data } = await connector.directory();
    if (!ok) return;
    $("colleagues").replaceChildren(...data.users.map((user) => option(user.number, user.name)));
    $("nodes").replaceChildren(...data.users.map((user) => option(user.node, user.name)));
  }

  function loggedOut(message) {
    show("Disconnected", "idle");
    say(message);
    enable(false);
    $("two-factor").hidden = true;
    $("connect").hidden = false;
    for (const item of calls.values()) item.remove();
    calls.clear();
    $("no-calls").hidden = false;
    showSubscriptions();
  }
  onSubmit("logout", () => connector.logout());

  function showSubscriptions() {
    $("subscriptions").textContent = connector.getSubscriptionURIs().join(", ") || "nothing yet";
  }

  // 4. Call somebody. Your own telephone rings first (INITIAL); pick it up, and theirs rings.
  onSubmit("call", ({ number }) => connector.call(number));

  // 5. Calls. A call keeps its id from the first event to the last, so its item in the list is found by it.
  function showCall(call) {
    if (call.status === Cti.CALL_STATUS.HANGUP || call.status === Cti.CALL_STATUS.CANCEL) {
      calls.get(call.id)?.remove();
      calls.delete(call.id);
      say(call.cause ? `The call has ended: ${call.cause}` : "The call has ended.");
    } else {
      if (!calls.has(call.id)) calls.set(call.id, newItem(call.id));
      fillItem(calls.get(call.id), call);
    }
    $("no-calls").hidden = calls.size > 0;
  }

  function newItem(callId) {
    const item = $("call-template").content.firstElementChild.cloneNode(true);
    item.querySelector(".answer").addEventListener("click", () => connector.answer(callId));
    item.querySelector(".terminate").addEventListener("click", () => connector.terminate(callId));
    item.querySelector(".transfer").addEventListener("submit", (submit) => {
      submit.preventDefault();
      connector.transfer(callId, submit.target.elements.number.value);
    });
    $("calls").append(item);
    return item;
  }

  function fillItem(item, call) {
    const inbound = call.direction === Cti.DIRECTION.IN;
    const [name, number] = inbound
      ? [call.sourceName, call.source]
      : [call.destinationName, call.destination];
    item.querySelector(".party").textContent = `${inbound ? "From" : "To"} ${call.display || name || number || "somebody"}`;
    item.querySelector(".status").textContent = call.status;
    // Beyond VoIPstudio's own fields: who the CRM says it is, and which actions would work now.
    const known = (call.contacts || []).map((contact) => contact.label);
    item.querySelector(".details").textContent = [name, number, ...known]
      .filter((text, position, all) => text && all.indexOf(text) === position).join(" · ");
    const actions = call.actions || ["answer", "hangup", "transfer"];
    item.querySelector(".answer").hidden = !actions.includes("answer");
    item.querySelector(".terminate").hidden = !actions.includes("hangup");
    item.querySelector(".transfer").hidden = !actions.includes("transfer");
  }

  // 6. Watch another user, a queue, an IVR or a conference: its calls come as events, too.
  onSubmit("subscribe", ({ node }) => connector.subscribe(node));

  // Every event, as it came.
  const KEPT = 200;
  function log(event) {
    const entry = document.createElement("li");
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    const time = document.createElement("time");
    const body = document.createElement("pre");
    time.textContent = new Date().toLocaleTimeString();
    const about = event.message || (event.call && (event.call.display || event.call.id)) || "";
    summary.append(time, ` ${event.name} ${about}`);
    body.textContent = JSON.stringify(event, null, 2);
    details.append(summary, body);
    details.open = true;
    entry.append(details);
    $("log").prepend(entry);
    $("log").children[KEPT]?.remove();
  }
  $("clear").addEventListener("click", () => $("log").replaceChildren());

  function onSubmit(id, act) {
    $(id).addEventListener("submit", (submit) => {
      submit.preventDefault();
      act(Object.fromEntries(new FormData(submit.target)));
      for (const secret of submit.target.querySelectorAll('[type="password"], [name="code"]')) secret.value = "";
    });
  }

  function enable(isReady) {
    for (const id of ["logout", "call", "subscribe"]) $(id).querySelector("button").disabled = !isReady;
  }

  function option(value, label) {
    const element = document.createElement("option");
    element.value = value;
    element.label = label;
    return element;
  }

  function show(text, state) {
    $("state").textContent = text;
    $("state").dataset.state = state;
  }

  function say(text) { $("message").textContent = text || ""; }
})();
