/* The global `Cti`; needs no other file. API: docs/javascript.md. Wire: docs/architecture.md. */
(() => {
  "use strict";
  if (globalThis.Cti?.Connector) return;

  const [PING_MS, PATIENCE_MS, AWAKE_MS, OPENING_MS] = [15_000, 12_000, 5_000, 15_000];
  const [ANSWER_MS, QUEUE_MS] = [15_000, 5_000]; // offline: dialling minutes later would only surprise
  const [RESYNC_MS, ECHO_MS, BACKOFF_MS, BACKOFF_MAX_MS] = [2_000, 2_000, 500, 30_000];
  const LATE = ["outdated", "timed_out"]; // perhaps carried out all the same
  const NODE = /^(user|ivr|queue|conf):[1-9][0-9]+$/;

  const same = (names) => Object.fromEntries(names.split(" ").map((name) => [name, name]));
  const CALL_STATUS = same("INITIAL ACCEPTED RINGING CONNECTED ON_HOLD HANGUP CANCEL");
  const EVENT = { ...CALL_STATUS, ...same("UPDATED MATCHED READY LOGGED_IN LOGGED_OUT TWO_FACTOR_AUTH SUBSCRIBED INFO ERROR") };
  const DIRECTION = { IN: "INBOUND", OUT: "OUTBOUND" };

  const script = document.currentScript;
  const isOver = (call) => call.status === "HANGUP" || call.status === "CANCEL";
  const side = ({ number, consult }) => `${number} ${consult?.number}`;
  const keep = (calls, call) => (isOver(call) ? calls.delete(call.id) : calls.set(call.id, call));
  const t = (text) => (Object.hasOwn(Cti.strings, text) ? Cti.strings[text] : text);
  const refusal = (code, message) => ({ ok: false, code, message, data: {} });

  class Connector {
    #options;
    #url;
    #socket = null;
    #link = "closed"; // closed | opening | open | waiting
    #attempts = 0;
    #timers = {}; // retry; ping, dead; resync: a snapshot is awaited
    #pending = new Map(); // by id; a new socket sends them again
    #count = 0;
    #focused = document.hasFocus();

    #fence = -1;
    #seq = -1;
    #seen; // the newest fence, of any socket
    #session = { state: "none" };
    #calls = new Map(); // live, as the server tells them

    #login = null; // what the page logged in with
    #joined = false; // the server said yes to it
    #rejoin = false; // a new socket has not said it yet
    #once = new Set(); // told once per login()
    #told = new Map(); // live, as the page was told
    #notice = { message: "", at: 0 };
    #dialling = false;

    constructor(options) {
      this.#options = options || {};
      this.#url = this.#options.socket || script?.dataset.socket || "/ws/cti/";
      this.tab = crypto.getRandomValues(new Uint32Array(4)).join("");
      for (const name of ["online", "pageshow"]) addEventListener(name, () => this.#wake());
      document.addEventListener("visibilitychange", () => document.hidden || this.#wake());
    }

    // For pages: nothing throws, and each promise gives {ok, message, code, data}.

    login(...args) {
      while (args.length && args.at(-1) === undefined) args.pop();
      if (args.length > 2 || !args.every((text) => typeof text === "string" && text.trim())) {
        return this.#misuse("login", t("Log in with an e-mail address and a password, or with an API key."));
      }
      const [first, second] = args;
      this.#forget();
      this.#login = second ? { username: first, password: second } : first ? { api_key: first } : {};
      this.connect();
      return this.#sendLogin(this.#login);
    }

    twoFactorAuth(code, nonce) { return code ? this.command("code", { code, nonce }) : this.#misuse("code", t("Enter the code.")); }
    logout() { return this.command("logout"); }
    isConnected() { return this.#link === "open" && this.#login !== null && this.#session.state === "ready"; }
    getSubscriptionURIs() { return [...(this.#session.subscriptions || [])]; }

    call(number) {
      if (!String(number ?? "").trim()) return this.#misuse("number", t("Enter a number."));
      if (this.#dialling) return this.#misuse("dialling", t("A call is already being started."), "INFO");
      this.#dialling = this.#login !== null;
      return this.command("call", { number }).finally(() => (this.#dialling = false));
    }

    answer(callId) { return this.command("answer", { call_id: callId }); }
    terminate(callId) { return this.#onCall("hangup", callId); }
    hold(callId) { return this.#onCall("hold", callId); }
    resume(callId) { return this.#onCall("resume", callId); }
    transfer(callId, number) { return this.#onCall("transfer", callId, { number }); }
    consult(callId, number) { return this.#onCall("consult", callId, { number }); }
    complete(callId) { return this.#onCall("complete", callId); }
    back(callId) { return this.#onCall("back", callId); }
    dtmf(callId, digits) { return this.#onCall("dtmf", callId, { digits }); }
    link(callId, url, text) { return this.#onCall("link", callId, { url, text }); }
    queueLogin(queue) { return this.command("queue_login", { queue }); }
    queueLogout(queue) { return this.command("queue_logout", { queue }); }
    pause(reason) { return this.command("pause", { reason }); }
    unpause() { return this.command("unpause"); }
    doNotDisturb(on) { return this.command("dnd", { state: on ? "on" : "off" }); }

    subscribe(node) {
      if (NODE.test(node)) return this.command("subscribe", { node });
      return this.#misuse("node", t("Subscribe to user:<id>, ivr:<id>, queue:<id> or conf:<id>."));
    }

    note(callId, text) { return this.#ask({ type: "note", call_id: String(callId), text: String(text) }); }
    directory() { return this.#ask({ type: "directory" }); }
    connect() { if (!this.#socket && !this.#timers.retry) this.#open(); }
    pop(callId, key) { return this.#ask({ type: "pop", call_id: callId, key }); }

    command(name, fields) {
      if (!this.#login) return this.#misuse("not_logged_in", t("Log in first."));
      const texts = Object.entries(fields || {}).map(([key, value]) => [key, String(value ?? "")]);
      const message = { ...Object.fromEntries(texts), type: "command", command: name, fence: this.#seen };
      return this.#ask(message).then((answer) => this.#complain(answer));
    }

    focus(focused) {
      this.#focused = focused;
      this.#send({ type: "focus", focused });
    }

    #open() {
      this.#clear("retry");
      this.#setLink("opening");
      let socket;
      try {
        const url = new URL(this.#url, location.href);
        url.protocol = url.protocol.replace(/^http/, "ws");
        socket = this.#socket = new WebSocket(url.href);
      } catch (error) {
        return this.#closed(0);
      }
      this.#expectFrame(OPENING_MS);
      socket.onopen = () => socket === this.#socket && this.#opened();
      socket.onmessage = (frame) => socket === this.#socket && this.#receive(frame.data);
      socket.onclose = (close) => socket === this.#socket && this.#closed(close.code);
    }

    #opened() {
      const pending = [...this.#pending.values()].map(({ message }) => message);
      this.#fence = this.#seq = -1;
      this.#rejoin = this.#login !== null && !pending.some((message) => message.type === "login");
      const hello = { type: "hello", tab: this.tab, focused: this.#focused, connection: ++this.#count };
      for (const message of [{ ...hello, popped: this.#options.popped?.() }, ...pending]) this.#send(message);
      this.#awaitSnapshot();
      this.#clear("dead");
      this.#timers.ping = setInterval(() => this.#ping(PATIENCE_MS), PING_MS);
    }

    #closed(code) {
      this.#socket = null;
      for (const name of ["ping", "dead", "resync"]) this.#clear(name);
      if (code === 4401 || code === 4403) return this.#refusedBySite(code);
      const delay = Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** this.#attempts++);
      this.#timers.retry = setTimeout(() => this.#open(), delay * (0.5 + Math.random() / 2));
      this.#setLink("waiting");
    }

    #refusedBySite(code) {
      const why = code === 4401 ? t("You are logged out of this site.") : t("You have no permission to use the telephone.");
      this.#setLink("closed", code);
      const wasLoggedIn = this.#loggedOut(why);
      for (const id of [...this.#pending.keys()]) this.#settle(id, refusal("closed", why));
      if (wasLoggedIn) this.#misuse("closed", why);
    }

    #wake() {
      if (this.#timers.retry) this.#open();
      else if (this.#link === "open") this.#ping(AWAKE_MS); // it may have died in a sleep
    }

    #ping(patience) {
      this.#send({ type: "ping" });
      this.#expectFrame(patience);
    }

    #expectFrame(patience) {
      this.#timers.dead ||= setTimeout(() => {
        const socket = this.#socket;
        this.#closed(0);
        socket.close();
      }, patience);
    }

    #clear(name) { this.#timers[name] = clearTimeout(this.#timers[name]); }

    #setLink(state, closeCode = 0) {
      if (state === this.#link) return;
      this.#link = state;
      this.#callPage("onLink", state, closeCode);
    }

    #send(message) { if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message)); }

    #ask(message, limit = this.#link === "open" ? ANSWER_MS : QUEUE_MS) {
      const id = String(++this.#count);
      return new Promise((resolve) => {
        const late = refusal("timeout", t("The server did not answer in time."));
        const timer = setTimeout(() => this.#settle(id, late), limit);
        this.#pending.set(id, { message: { ...message, id }, resolve, timer });
        this.#send({ ...message, id });
      });
    }

    #settle(id, answer) {
      const pending = this.#pending.get(id);
      if (!pending) return;
      this.#pending.delete(id);
      clearTimeout(pending.timer);
      pending.resolve(answer);
    }

    #receive(text) {
      this.#clear("dead");
      let message;
      try {
        message = JSON.parse(text);
      } catch (error) {
        return; // not of our server
      }
      const { type, id, fence, seq } = message || {};
      if (type === "answer") this.#settle(id, message);
      else if (type === "elected") this.#callPage("onEnvelope", message);
      else if (type === "snapshot" && this.#isNews(fence, seq)) this.#takeSnapshot(message);
      else if (type !== "event" && type !== "session") return;
      else if (fence === undefined || this.#isNews(fence, seq - 1)) this.#takeEnvelope(message);
    }

    #isNews(fence, seq) { return fence > this.#fence || (fence === this.#fence && seq >= this.#seq); }

    #follow(fence, seq, session = this.#session) {
      this.#fence = this.#seen = fence;
      [this.#seq, this.#session] = [seq, session];
    }

    #takeEnvelope(envelope) {
      const { fence, seq, session, event } = envelope;
      if (fence !== undefined) {
        const gap = fence > this.#fence || seq > this.#seq + 1;
        this.#follow(fence, seq, session);
        if (gap && !this.#timers.resync) this.#resync();
      } else if (session) this.#setLink("open"); // whoever runs the session is silent, the server is not
      this.#callPage("onEnvelope", envelope);
      // Even behind a gap: an event is whole in itself.
      if (event) this.#hear(event);
      else this.#followSession();
    }

    #takeSnapshot(snapshot) {
      const { fence, seq, session, calls, recent } = snapshot;
      this.#follow(fence, seq, session);
      this.#attempts = 0;
      this.#clear("resync");
      this.#calls = new Map(calls.filter((call) => !isOver(call)).map((call) => [call.id, call]));
      this.#setLink("open");
      this.#callPage("onEnvelope", snapshot);
      this.#followSession(recent); // a snapshot may overtake the envelopes, which are dropped then
      if (this.#rejoin) this.#joinAgain();
    }

    #resync() {
      this.#send({ type: "resync" });
      this.#awaitSnapshot();
    }

    // Another server may first have to notice that the session's is gone.
    #awaitSnapshot() { this.#timers.resync ||= setInterval(() => this.#resync(), RESYNC_MS); }

    #sendLogin(fields) {
      return this.#ask({ type: "login", ...fields }, ANSWER_MS).then((answer) => {
        const { ok, code } = answer;
        if (this.#login !== fields) return answer; // overtaken
        this.#joined = ok;
        if (ok) this.#tellDifferences([]);
        else if (code !== "timeout" && !LATE.includes(code)) this.#login = null;
        return this.#complain(answer);
      });
    }

    #joinAgain() {
      this.#rejoin = false;
      const { state } = this.#session;
      if (!this.#login || state === "refused" || state === "logged_out") return;
      // Credentials could start a living session anew, in the middle of a call.
      if (state === "none") this.#sendLogin(this.#login);
      else this.#ask({ type: "login" });
    }

    #hear(event) {
      const { name, call } = event;
      if (call) keep(this.#calls, call);
      if (name === "LOGGED_OUT") this.#loggedOut(event.message);
      else if (!this.#login) return;
      else if (call) this.#tellCall(call, event);
      else if (name === "INFO" || name === "ERROR") this.#tellNotice(event);
      else if (name === "READY") this.#tellReady(event);
      else this.#tellOnce(event);
    }

    #followSession(recent = []) {
      const { state, code, message } = this.#session;
      if (this.#joined && (state === "refused" || (state === "none" && code))) {
        this.#forget();
        this.#tellNotice({ name: "ERROR", code, message });
      }
      this.#tellDifferences(recent);
    }

    #tellDifferences(recent) {
      if (!this.#joined) return;
      const { state, nonce, message } = this.#session;
      if (state === "logged_out" && this.#once.has("LOGGED_IN")) return this.#loggedOut(message);
      if (state === "ready") this.#tellReady({ name: "READY" });
      if (state === "two_factor") this.#tellOnce({ name: "TWO_FACTOR_AUTH", nonce, message });
      for (const call of this.#calls.values()) {
        const known = this.#told.get(call.id);
        if (known?.status !== call.status) this.#tellCall(call);
        else if (side(known) !== side(call)) this.#tellCall(call, { name: "UPDATED", call });
      }
      for (const [id, known] of this.#told) {
        if (this.#calls.has(id)) continue;
        const cause = t("It ended while this page was not connected.");
        const lost = { ...known, status: "HANGUP", cause, endReason: "inferred", actions: [] };
        this.#tellCall(recent.find((call) => call.id === id) || lost);
      }
    }

    #tellCall(call, event = { name: call.status, call }) {
      keep(this.#told, call);
      if (event.name === "INITIAL") this.#dialling = false;
      this.#tell(event);
    }

    #tellReady(event) {
      this.#tellOnce({ name: "LOGGED_IN" });
      for (const uri of this.getSubscriptionURIs()) this.#tellOnce({ name: "SUBSCRIBED", uri, message: uri });
      this.#tellOnce(event);
    }

    #tellOnce(event) {
      const key = event.name + (event.uri || event.nonce || "");
      if (!this.#once.has(key)) this.#tell(event);
      this.#once.add(key);
    }

    // A refusal comes twice, as answer and as event.
    #tellNotice(event) {
      const now = Date.now();
      const isEcho = event.message === this.#notice.message && now - this.#notice.at < ECHO_MS;
      this.#notice = { message: event.message, at: now };
      if (!isEcho) this.#tell(event);
    }

    #forget() {
      this.#login = null;
      this.#joined = this.#rejoin = this.#dialling = false;
      this.#once.clear();
      this.#told.clear();
    }

    #loggedOut(message) {
      const wasLoggedIn = this.#login !== null;
      this.#forget();
      this.#calls.clear();
      if (wasLoggedIn) this.#tell({ name: "LOGGED_OUT", message });
      return wasLoggedIn;
    }

    #onCall(name, callId, fields = {}) {
      if (!callId) return this.#misuse("call_id", t("Say which call."));
      if ("number" in fields && !fields.number) return this.#misuse("number", t("Enter a number."));
      return this.command(name, { ...fields, call_id: callId });
    }

    #misuse(code, message, name = "ERROR") {
      this.#tellNotice({ name, code, message });
      return Promise.resolve(refusal(code, message));
    }

    #complain(answer) {
      const { ok, code, message } = answer;
      // Later than the event, which knows better.
      if (!ok) setTimeout(() => this.#tellNotice({ name: LATE.includes(code) ? "INFO" : "ERROR", code, message }), 250);
      return answer;
    }

    #tell({ name, message, at, ...facts }) {
      this.#callPage("onMessage", { name, message: message || "", at: at || new Date().toISOString(), ...facts });
    }

    #callPage(callback, ...args) {
      try {
        this.#options[callback]?.(...args);
      } catch (error) {
        console.error("CTI:", callback, error);
      }
    }
  }

  const Cti = (globalThis.Cti = { EVENT, DIRECTION, CALL_STATUS, Connector, strings: {}, t, isOver, log: (message) => console.info("CTI:", message) });
})();
