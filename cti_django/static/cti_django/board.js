/* cti_django: what the page knows of the agent's calls, and of her notes on them. No DOM. */
(() => {
  "use strict";
  const HOUR_MS = 3_600_000;
  const SKEW_MS = 3_000; // less is the network's delay
  const STORE = "cti.note.";
  const TYPING_MS = 800;
  const isOver = (call) => call.status === "HANGUP" || call.status === "CANCEL";
  const byId = (calls) => new Map(calls.map((call) => [call.id, call]));
  const by = (moment) => (one, other) => String(one[moment]).localeCompare(String(other[moment]));

  /** Folds the server's envelopes. No clock: `nowMs` is passed in. */
  Cti.Board = class Board {
    #live = new Map();
    #ended = new Map();
    #listeners = new Set();

    session = { state: "none" };
    elected = false;
    skewMs = 0; // the server's clock minus this computer's: timers must not start at minus three minutes

    fold(envelope, nowMs) {
      const { type, event, session, calls, recent, elected } = envelope;
      if (type === "snapshot") {
        this.#live = byId(calls.filter((call) => !isOver(call)));
        this.#ended = byId(recent);
      }
      if (event) this.#foldEvent(event, nowMs);
      if (session) this.session = session;
      if (["none", "logged_out", "refused"].includes(session?.state)) this.#live.clear();
      if (elected !== undefined) this.elected = elected;
      for (const listener of this.#listeners) listener(this, envelope);
    }

    /** Call listener(board, envelope) at each change; returns a function that ends that. */
    onChange(listener) {
      this.#listeners.add(listener);
      return () => this.#listeners.delete(listener);
    }

    /** The agent's own live calls, oldest first. */
    get calls() {
      return [...this.#live.values()].filter((call) => !call.node).sort(by("startedAt"));
    }

    /** Her calls that ended within the last hour, newest first. */
    recent(nowMs) {
      const isRecent = ({ endedAt }) => !endedAt || Date.parse(endedAt) > nowMs + this.skewMs - HOUR_MS;
      return [...this.#ended.values()].filter(isRecent).sort(by("endedAt")).reverse();
    }

    /** A call by its id, live or ended. */
    call(callId) {
      return this.#live.get(callId) || this.#ended.get(callId);
    }

    #foldEvent({ at, call }, nowMs) {
      const skewMs = Date.parse(at) - nowMs;
      this.skewMs = Math.abs(skewMs) > SKEW_MS ? skewMs : 0;
      if (!call || this.#ended.has(call.id)) return; // the end is final, whatever comes late
      this.#live.set(call.id, call);
      if (!isOver(call)) return;
      this.#live.delete(call.id);
      if (!call.node) this.#ended.set(call.id, call);
    }
  };

  /** Notes on their way to the server: a draft stays in storage until the server has it.
      save(callId, text) -> Promise of {ok}; storage: sessionStorage or null; onChange(): some note's state changed. */
  Cti.Notes = class Notes {
    #save;
    #storage;
    #onChange;
    #drafts = new Map();
    #timers = new Map();
    #sending = new Map(); // call id -> the text under way
    #saved = new Map(); // what was saved since the server last told its calls

    constructor({ save, storage, onChange }) {
      this.#save = save;
      this.#storage = storage;
      this.#onChange = onChange;
      for (const key of Object.keys(storage || {})) {
        if (key.startsWith(STORE)) this.#drafts.set(key.slice(STORE.length), storage.getItem(key));
      }
    }

    /** What the note field shows. */
    text({ id, note }) {
      return this.#drafts.get(id) ?? this.#saved.get(id) ?? note ?? "";
    }

    /** "saving", "unsaved", or "" if nothing waits. */
    state(callId) {
      if (this.#sending.has(callId)) return "saving";
      return this.#drafts.has(callId) ? "unsaved" : "";
    }

    edit(callId, text) {
      this.#drafts.set(callId, text);
      clearTimeout(this.#timers.get(callId));
      this.#timers.set(callId, setTimeout(() => this.flush(callId), TYPING_MS));
      this.#storage?.setItem(STORE + callId, text);
    }

    /** Send the draft of a call, if it has one, without waiting for a pause in typing. */
    async flush(callId) {
      clearTimeout(this.#timers.get(callId));
      this.#timers.delete(callId);
      const text = this.#drafts.get(callId);
      if (text === undefined || this.#sending.get(callId) === text) return;
      this.#sending.set(callId, text);
      this.#onChange();
      const { ok } = await this.#save(callId, text);
      if (this.#sending.get(callId) === text) this.#sending.delete(callId);
      if (ok) this.#saved.set(callId, text);
      if (ok && this.#drafts.get(callId) === text) {
        this.#drafts.delete(callId);
        this.#storage?.removeItem(STORE + callId);
      }
      this.#onChange();
    }

    flushAll() {
      for (const callId of [...this.#timers.keys()]) this.flush(callId);
    }

    /** The server has told its calls anew: its notes count again, and drafts that it missed go out. */
    restore(calls) {
      this.#saved.clear();
      for (const { id } of calls) this.flush(id);
    }
  };
})();
