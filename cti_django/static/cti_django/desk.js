/* On the agent's desk: calls, notes, tabs, unsaved edits. Draws nothing. */
(() => {
  "use strict";
  const [HOUR_MS, SKEW_MS, TYPING_MS, LEAVING_MS] = [3_600_000, 3_000, 800, 10_000];
  const [NOTE, POPPED, KEPT] = ["cti.note.", "cti.popped", 20];
  const { isOver } = Cti;
  const byId = (calls) => new Map(calls.map((call) => [call.id, call]));
  const popKey = ({ id, pop }) => pop && (pop.key || id);
  const by = (moment) => (one, other) => String(one[moment]).localeCompare(String(other[moment]));

  // null: storage is forbidden, or no language is called so.
  const attempt = (Cti.attempt = (act) => {
    try {
      return act();
    } catch (error) {
      return null;
    }
  });

  Cti.Board = class Board {
    #live = new Map();
    #ended = new Map();

    session = { state: "none" };
    standIn = null; // what the server says while nobody runs the session
    elected = false;
    skewMs = 0; // server's clock minus ours

    fold(envelope, nowMs) {
      const { type, seq, event, session, calls, recent, elected } = envelope;
      if (elected !== undefined) this.elected = elected;
      if (type === "snapshot") {
        this.#live = byId(calls.filter((call) => !isOver(call)));
        this.#ended = byId(recent);
      }
      if (event) this.#foldEvent(event, nowMs);
      if (seq !== undefined) {
        this.standIn = null;
        this.session = session || this.session;
        if (["none", "logged_out", "refused"].includes(session?.state)) this.#live.clear();
      } else if (session) this.standIn = session;
    }

    // Her own; not those on nodes that she only watches.
    get calls() {
      return [...this.#live.values()].filter((call) => !call.node).sort(by("startedAt"));
    }

    recent(nowMs) {
      const isRecent = ({ endedAt }) => !endedAt || Date.parse(endedAt) > nowMs + this.skewMs - HOUR_MS;
      return [...this.#ended.values()].filter(isRecent).sort(by("endedAt")).reverse();
    }

    call(callId) {
      return this.#live.get(callId) || this.#ended.get(callId);
    }

    #foldEvent({ at, call }, nowMs) {
      const skewMs = Date.parse(at) - nowMs;
      this.skewMs = Math.abs(skewMs) > SKEW_MS ? skewMs : 0;
      if (!call || this.#ended.has(call.id)) return; // the end is final
      this.#live.set(call.id, call);
      if (!isOver(call)) return;
      this.#live.delete(call.id);
      if (!call.node) this.#ended.set(call.id, call);
    }
  };

  // A draft stays in storage until the server has it.
  Cti.Notes = class Notes {
    #given;
    #drafts = new Map();
    #timers = new Map();
    #sending = new Map();
    #saved = new Map(); // since the last snapshot

    constructor(given) {
      this.#given = given;
      for (const [key, text] of Object.entries(given.storage || {})) {
        if (key.startsWith(NOTE)) this.#drafts.set(key.slice(NOTE.length), text);
      }
    }

    text({ id, note }) {
      return this.#drafts.get(id) ?? this.#saved.get(id) ?? note ?? "";
    }

    state(callId) {
      return this.#sending.has(callId) ? "saving" : this.#drafts.has(callId) ? "unsaved" : "";
    }

    edit(callId, text) {
      this.#drafts.set(callId, text);
      clearTimeout(this.#timers.get(callId));
      this.#timers.set(callId, setTimeout(() => this.flush(callId), TYPING_MS));
      this.#given.storage?.setItem(NOTE + callId, text);
      this.#given.onChange();
    }

    async flush(callId) {
      clearTimeout(this.#timers.get(callId));
      const text = this.#drafts.get(callId);
      if (text === undefined || this.#sending.get(callId) === text) return;
      this.#sending.set(callId, text);
      this.#given.onChange();
      const { ok } = await this.#given.save(callId, text);
      if (this.#sending.get(callId) === text) this.#sending.delete(callId);
      if (ok) this.#saved.set(callId, text);
      if (ok && this.#drafts.get(callId) === text) {
        this.#drafts.delete(callId);
        this.#given.storage?.removeItem(NOTE + callId);
      }
      this.#given.onChange();
    }

    flushAll() {
      for (const callId of this.#drafts.keys()) this.flush(callId);
    }

    // After a snapshot the server's notes count again, and drafts that it missed go out.
    restore(calls) {
      this.#saved.clear();
      for (const { id } of calls) this.flush(id);
    }
  };

  function differs(field) {
    if (field.isContentEditable) return true;
    if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
    if (!field.options) return field.value !== (field.defaultValue ?? "");
    const options = [...field.options];
    const first = !field.multiple && !options.some((option) => option.defaultSelected);
    return options.some((option, place) => option.selected !== (first ? place === 0 : option.defaultSelected));
  }

  Cti.Guard = class Guard {
    #root;
    #touched = new Set();
    #leavingUntil = 0;

    constructor(root) {
      this.#root = root;
      for (const name of ["input", "change"]) {
        root.addEventListener(name, (event) => this.#touched.add(event.composedPath()[0]), true);
      }
      root.addEventListener("cti-saved", ({ target }) => {
        for (const field of this.#touched) if (field.form === target || target.contains(field)) this.#touched.delete(field);
      });
      root.addEventListener("submit", (event) => {
        // It must arrive, edited or not.
        if (!event.defaultPrevented) this.#leavingUntil = Date.now() + LEAVING_MS;
      });
    }

    get isDirty() {
      if (Date.now() < this.#leavingUntil || this.#root.querySelector("[data-cti-dirty]")) return true;
      const isIgnored = (node) => node?.closest?.("[data-cti-ignore]");
      return [...this.#touched].some((field) => {
        if (!field.isConnected) this.#touched.delete(field);
        else return !isIgnored(field) && !isIgnored(field.form) && differs(field);
      });
    }
  };

  Cti.Tabs = class Tabs {
    // "" unless it stays on this site.
    static ownPath(url, face) {
      if (!/^\/(?![/\\])/.test(url)) return "";
      const target = new URL(url, location.origin);
      if (target.origin !== location.origin) return "";
      if (face === "admin") target.searchParams.set("face", face);
      return target.pathname + target.search + target.hash;
    }

    // "" for javascript: and its like.
    static webLink(url) {
      return URL.canParse(url, location.href) && /^https?:$/.test(new URL(url, location.href).protocol) ? url : "";
    }

    static recordUrl({ url, adminUrl }, face) {
      return Tabs.webLink((face === "admin" && adminUrl) || url || "");
    }

    #given;
    #popped = []; // what storage should hold
    #asked = new Set();
    #held = new Set();

    constructor({ open = (path) => location.assign(path), ...given }) {
      this.#given = { open, ...given };
      const report = () => given.connector.focus(document.hasFocus() && !document.hidden);
      for (const name of ["focus", "blur", "visibilitychange"]) addEventListener(name, report);
    }

    // The keys of the newest pops that this browser has opened, in whatever tab.
    get popped() {
      return attempt(() => [...JSON.parse(this.#given.storage.getItem(POPPED))]) || this.#popped;
    }

    popPath(call) {
      return Tabs.ownPath(call.pop?.url ?? "", this.#given.face);
    }

    // Unsaved edits kept the page: the call's card says so.
    isHeld(call) {
      return this.#held.has(popKey(call));
    }

    consider({ elected, calls }) {
      for (const call of elected ? calls : []) {
        const key = popKey(call);
        if (key && !this.#asked.has(key) && !this.popped.includes(key)) this.#claim(call, key);
      }
    }

    // A call pops once for each other side, in one tab of one browser.
    async #claim(call, key) {
      this.#asked.add(key);
      const { ok, code } = await this.#given.connector.pop(call.id, key);
      if (ok) this.#pop(call, key);
      else if (code !== "popped" && code !== "over") this.#asked.delete(key);
    }

    #pop(call, key) {
      const { guard, storage, open, onChange } = this.#given;
      const path = this.popPath(call);
      this.#popped = [...this.popped, key].slice(-KEPT);
      attempt(() => storage.setItem(POPPED, JSON.stringify(this.#popped)));
      if (call.pop.action !== "open" || !path || this.#isHere(call)) return;
      if (!guard.isDirty) return open(path);
      this.#held.add(key);
      onChange();
    }

    #isHere({ match, contacts }) {
      return match === "one" && Tabs.ownPath(Tabs.recordUrl(contacts?.[0] || {}, this.#given.face)) === location.pathname;
    }
  };
})();
