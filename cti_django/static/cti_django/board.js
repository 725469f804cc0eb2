/* What a page knows of the agent's calls, and her notes on them. No DOM. */
(() => {
  "use strict";
  const HOUR_MS = 3_600_000;
  const SKEW_MS = 3_000;
  const STORE = "cti.note.";
  const TYPING_MS = 800;
  const { isOver } = Cti;
  const byId = (calls) => new Map(calls.map((call) => [call.id, call]));
  const by = (moment) => (one, other) => String(one[moment]).localeCompare(String(other[moment]));

  Cti.Board = class Board {
    #live = new Map();
    #ended = new Map();

    session = { state: "none" };
    elected = false;
    skewMs = 0; // server's clock minus ours

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
    #save;
    #storage;
    #onChange;
    #drafts = new Map();
    #timers = new Map();
    #sending = new Map();
    #saved = new Map(); // since the last snapshot

    constructor({ save, storage, onChange }) {
      this.#save = save;
      this.#storage = storage;
      this.#onChange = onChange;
      for (const key of Object.keys(storage || {})) {
        if (key.startsWith(STORE)) this.#drafts.set(key.slice(STORE.length), storage.getItem(key));
      }
    }

    text({ id, note }) {
      return this.#drafts.get(id) ?? this.#saved.get(id) ?? note ?? "";
    }

    state(callId) {
      if (this.#sending.has(callId)) return "saving";
      return this.#drafts.has(callId) ? "unsaved" : "";
    }

    edit(callId, text) {
      this.#drafts.set(callId, text);
      clearTimeout(this.#timers.get(callId));
      this.#timers.set(callId, setTimeout(() => this.flush(callId), TYPING_MS));
      this.#storage?.setItem(STORE + callId, text);
      this.#onChange();
    }

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

    // After a snapshot: the server's notes count again, and drafts that it missed go out.
    restore(calls) {
      this.#saved.clear();
      for (const { id } of calls) this.flush(id);
    }
  };
})();
