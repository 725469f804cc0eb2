/* Cti.desk (all of it put together), numbers that dial, and <cti-call-bar>. */
(() => {
  "use strict";
  const { t, isOver, attempt, CallCard } = Cti;
  const { config, h, icon, button, write, duration, dotted, keys, who, isInbound, ringsIn } = Cti.page;
  const OFF = "cti.off"; // disconnected on purpose
  const FOLDED = "cti.folded";
  const [NOTICES, NOTICE_MS] = [3, 12_000];
  const SHOWN_BY_LINE = ["no_account", "login_refused", "misconfigured", "not_logged_in"];

  const script = document.currentScript;
  const local = attempt(() => localStorage);
  const session = attempt(() => sessionStorage);
  const redraw = () => document.dispatchEvent(new Event("cti-change"));
  const board = new Cti.Board();
  const connector = new Cti.Connector({
    socket: config.socket,
    popped: () => tabs.popped,
    onMessage(event) {
      if (event.name === "LOGGED_OUT") joined = false;
      document.dispatchEvent(new CustomEvent("cti", { detail: event }));
    },
    onEnvelope(envelope) {
      const isSnapshot = envelope.type === "snapshot";
      board.fold(envelope, Date.now());
      if (isSnapshot) notes.restore([...board.calls, ...board.recent(Date.now())]);
      if (!board.standIn) join(isSnapshot);
      tabs.consider(board);
      redraw();
    },
    onLink(link) {
      Cti.desk.link = link;
      redraw();
    },
  });
  const notes = new Cti.Notes({ save: (callId, text) => connector.note(callId, text), storage: session, onChange: redraw });
  const tabs = new Cti.Tabs({ connector, guard: new Cti.Guard(document), face: config.face, storage: local, onChange: redraw });
  let joined = false;

  Cti.desk = { board, connector, notes, tabs, link: "opening" };

  function logIn() {
    joined = true;
    connector.login().then(({ ok }) => (joined = ok));
  }

  // Never by itself with what was refused: some systems then lock the account.
  function join(mayStart) {
    const { state } = board.session;
    if (joined || state === "refused" || state === "logged_out") return;
    if (state !== "none" || (mayStart && !local?.getItem(OFF))) logIn();
  }

  const isReady = (capability) => connector.isConnected() && board.session.capabilities.includes(capability);

  // What this leaves alone is an ordinary tel: link.
  document.addEventListener("click", (event) => {
    const number = event.target.closest?.("[data-cti-number]");
    const { button: which, ctrlKey, metaKey, shiftKey, altKey, defaultPrevented } = event;
    if (!number || which || ctrlKey || metaKey || shiftKey || altKey || defaultPrevented || !isReady("dial")) return;
    event.preventDefault();
    if (number.ariaBusy === "true") return;
    number.ariaBusy = "true";
    connector.call(number.dataset.ctiNumber).finally(() => (number.ariaBusy = null));
  });
  addEventListener("pagehide", () => notes.flushAll());

  const STATES = {
    opening: t("Connecting…"),
    waiting: t("No connection, retrying…"),
    closed: t("Signed out, or not permitted"),
    none: t("Not connected"),
    connecting: t("Connecting…"),
    two_factor: t("Code needed"),
    ready: t("Ready"),
    lost: t("Line lost, reconnecting…"),
    refused: t("Log-in refused"),
    logged_out: t("Disconnected"),
    no_account: t("No telephone account"),
  };
  const SHORTCUTS = { A: ["answer"], H: ["hangup"], O: ["hold", "resume"], X: ["transfer"], D: [] };

  function lineState() {
    const { state, code, message } = board.standIn || board.session;
    if (Cti.desk.link !== "open") return Cti.desk.link;
    if (code === "taking_over" || (board.standIn && message)) return "";
    return state === "none" && code === "no_account" ? code : state;
  }

  class CallBar extends HTMLElement {
    #parts = {};
    #cards = new Map();
    #ticking;
    #standing;
    #isLoading = false;
    #listeners;

    connectedCallback() {
      if (!this.shadowRoot) this.#build();
      this.#listeners = new AbortController();
      const { signal } = this.#listeners;
      document.addEventListener("cti", ({ detail }) => this.#hear(detail), { signal });
      document.addEventListener("cti-change", () => this.#update(), { signal });
      document.addEventListener("keydown", (event) => this.#press(event), { signal });
      this.#ticking = setInterval(() => this.#tick(), 1000);
      document.documentElement.classList.add("cti-docked");
      this.#toggle("line", false);
    }

    disconnectedCallback() {
      this.#listeners.abort();
      clearInterval(this.#ticking);
      this.#ring(false);
      document.documentElement.classList.remove("cti-docked");
    }

    #part(name, tag, attributes, ...children) {
      return (this.#parts[name] = h(tag, { class: name, ...attributes }, ...children));
    }

    #build() {
      const root = this.attachShadow({ mode: "open" });
      const sheet = document.querySelector('link[rel="stylesheet"][href*="cti_django/cti."]');
      if (sheet) root.append(sheet.cloneNode());
      const stack = h(
        "div",
        { class: "stack" },
        this.#buildLine(),
        this.#buildRecent(),
        this.#part("notices", "div", { role: "status" }),
        this.#part("cards", "div"),
        this.#part("unseen", "div", { role: "status" }),
      );
      root.append(stack, this.#buildStrip());
      const reserve = ([{ contentRect }]) => document.documentElement.style.setProperty("--cti-room", `${contentRect.height}px`);
      new ResizeObserver(reserve).observe(stack);
      root.addEventListener("keydown", (event) => event.key === "Escape" && this.#close());
      this.#fold(local?.getItem(FOLDED) === "1");
    }

    #buildLine() {
      const parts = this.#parts;
      const submit = (event) => {
        event.preventDefault();
        connector.twoFactorAuth(parts.code.value, board.session.nonce);
        parts.code.value = "";
      };
      const connect = () => {
        local?.removeItem(OFF);
        logIn();
      };
      const disconnect = () => {
        local?.setItem(OFF, "1");
        connector.logout();
      };
      const code = { inputmode: "numeric", autocomplete: "one-time-code", "aria-label": t("Code"), placeholder: t("Code") };
      const form = { hidden: true, "data-cti-ignore": true, submit };
      parts.connect = button(t("Connect"), "", connect, { class: "primary" });
      parts.disconnect = button(t("Disconnect"), "", disconnect);
      parts.form = h("form", form, this.#part("code", "input", code), h("button", { class: "primary" }, t("Send")));
      const reason = this.#part("reason", "p");
      return this.#panel("line", t("Your line"), reason, parts.form, parts.connect, parts.disconnect);
    }

    #buildRecent() {
      const all = config.callsUrl && h("a", { href: config.callsUrl }, t("All calls"));
      return this.#panel("recent", t("Calls of the last hour"), this.#part("list", "ul"), all);
    }

    #panel(name, title, ...children) {
      return (this.#parts[name] = h("section", { class: `panel ${name}` }, h("h2", null, title), ...children));
    }

    #buildStrip() {
      const parts = this.#parts;
      const submit = (event) => {
        event.preventDefault();
        this.#dial(parts.number.value.trim());
      };
      const label = t("Number to call");
      const number = { type: "tel", autocomplete: "off", "aria-label": label, placeholder: label, ...keys("D") };
      const toggle = (name) => () => this.#toggle(name);
      parts.lineButton = button("", "", toggle("line"), { class: "state" });
      parts.lineButton.append(h("i"), this.#part("word", "span"));
      parts.recentButton = button(t("Recent"), "clock", toggle("recent"), { class: "toggle" });
      parts.recentButton.append(this.#part("count", "b", { title: t("Missed calls") }));
      parts.fold = button("", "down", () => this.#fold(!this.hasAttribute("folded")), { class: "fold" });
      const call = this.#part("call", "button", { class: "answer", "aria-label": t("Call") }, icon("phone"));
      const dial = { "data-cti-ignore": true, submit };
      return h(
        "div",
        { class: "strip", role: "region", "aria-label": t("Telephone") },
        parts.lineButton,
        this.#part("dial", "form", dial, this.#part("number", "input", number), call),
        parts.recentButton,
        parts.fold,
      );
    }

    #update() {
      const recent = board.recent(Date.now());
      this.#updateLine(lineState());
      this.#updateCards();
      write(this.#parts.count, `${recent.filter((call) => call.endReason === "missed").length || ""}`);
      this.#updatePanels(recent, connector.isConnected());
    }

    #updateLine(state) {
      const parts = this.#parts;
      const { number, capabilities, presence } = board.session;
      const { message } = board.standIn || board.session;
      const isUp = connector.isConnected();
      const away = isUp && dotted(presence?.paused && t("Paused"), presence?.dnd && t("Do not disturb"));
      this.dataset.state = away ? "away" : state;
      write(parts.word, dotted(STATES[state] || t(message), isUp && number, away));
      write(parts.reason, t(message || ""));
      parts.connect.hidden = !["none", "refused", "logged_out"].includes(state);
      parts.disconnect.hidden = !["connecting", "two_factor", "ready", "lost"].includes(state);
      const asks = state === "two_factor" && parts.form.hidden;
      parts.form.hidden = state !== "two_factor";
      if (asks) this.#toggle("line", true);
      parts.call.disabled = parts.number.disabled = !isUp;
      parts.dial.hidden = isUp && !capabilities.includes("dial");
    }

    // What a page without a call seldom needs is loaded when it does.
    #updatePanels(recent, isUp) {
      const { line, list, recent: panel } = this.#parts;
      const { session, calls } = board;
      const isNeeded = calls.length || !panel.hidden || session.presence;
      if (isNeeded && !this.#isLoading) {
        this.#isLoading = true;
        const { panels, panelsStyle } = script.dataset;
        const sheet = h("link", { rel: "stylesheet", href: panelsStyle });
        const error = ({ target }) => {
          for (const node of [target, sheet]) node.remove();
          this.#isLoading = false;
        };
        document.head.append(h("script", { src: panels, nonce: script.nonce, load: redraw, error }));
        this.shadowRoot.append(sheet);
      }
      if (!Cti.panels) return;
      if (!panel.hidden) Cti.panels.recent(list, recent, (number) => this.#dial(number));
      if (!this.#standing) line.append((this.#standing = new Cti.panels.Standing()).element);
      this.#standing.update(session, isUp);
    }

    #updateCards() {
      const live = board.calls;
      for (const call of live) {
        if (!this.#cards.has(call.id)) this.#addCard(call);
        this.#updateCard(this.#cards.get(call.id), call);
      }
      for (const [id, card] of this.#cards) if (!live.some((call) => call.id === id)) this.#retire(card, board.call(id), id);
      this.#tick();
      this.#ring(board.elected && live.some(ringsIn));
    }

    #addCard(call) {
      const card = new CallCard(call, () => this.#removeCard(call.id));
      this.#cards.set(call.id, card);
      this.#parts.cards.append(card.element);
    }

    #updateCard(card, call) {
      const { element, news } = card;
      card.update(call);
      const alert = element.querySelector('[role="alert"]');
      const rings = ringsIn(call);
      if (!rings || !board.elected) alert?.remove();
      else if (!alert) element.append(h("span", { class: "unseen", role: "alert" }, element.ariaLabel));
      if (news !== card.news && (news || !rings)) this.#parts.unseen.textContent = element.ariaLabel;
    }

    // A call that was spoken on waits for its note.
    #retire(card, call, id) {
      if (call && (call.connectedAt || card.isInUse)) this.#updateCard(card, call);
      else this.#removeCard(id);
    }

    #removeCard(id) {
      notes.flush(id);
      this.#cards.get(id).element.remove();
      this.#cards.delete(id);
    }

    #hear({ name, code, message, call }) {
      // Without a card to say why.
      if (call && isOver(call) && !call.connectedAt && !call.node && !isInbound(call)) [name, message] = ["INFO", call.cause];
      if (!["INFO", "ERROR"].includes(name) || !message || SHOWN_BY_LINE.includes(code)) return;
      const { notices } = this.#parts;
      if ([...notices.children].some((notice) => notice.textContent === t(message))) return;
      const notice = h("p", { class: `notice ${name.toLowerCase()}` }, h("span", { dir: "auto" }, t(message)));
      notice.append(button("", "close", () => notice.remove(), { "aria-label": t("Dismiss") }));
      notices.append(notice);
      if (notices.children.length > NOTICES) notices.firstChild.remove();
      if (name === "INFO") setTimeout(() => notice.remove(), NOTICE_MS);
    }

    #tick() {
      this.#cards.forEach((card) => card.tick(Date.now() + board.skewMs));
    }

    #ring(on) {
      if (on !== document.title.startsWith("☎")) document.title = on ? `☎ ${document.title}` : document.title.slice(2);
    }

    async #dial(number) {
      const { number: field, call } = this.#parts;
      call.disabled = true;
      const { ok } = await connector.call(number);
      call.disabled = false;
      if (ok && field.value.trim() === number) field.value = "";
    }

    #toggle(name, open = this.#parts[name].hidden) {
      for (const panel of ["line", "recent"]) {
        const shown = open && panel === name;
        this.#parts[panel].hidden = !shown;
        this.#parts[`${panel}Button`].ariaExpanded = shown;
      }
      this.#update();
    }

    #fold(folded) {
      const { fold } = this.#parts;
      this.toggleAttribute("folded", folded);
      local?.setItem(FOLDED, folded ? "1" : "");
      fold.ariaExpanded = !folded;
      fold.ariaLabel = folded ? t("Show the telephone") : t("Fold the telephone away");
    }

    #close() {
      if ([...this.#cards.values()].some((card) => card.closePanel())) return;
      const open = ["line", "recent"].find((name) => !this.#parts[name].hidden);
      if (!open) return;
      this.#toggle(open, false);
      this.#parts[`${open}Button`].focus();
    }

    #press(event) {
      const { altKey, shiftKey, ctrlKey, metaKey } = event;
      if (!altKey || !shiftKey || ctrlKey || metaKey || this.getAttribute("shortcuts") === "off") return;
      // Where Alt types another character, the key's place tells the letter.
      const key = /^[a-z]$/i.test(event.key) ? event.key.toUpperCase() : event.code.replace("Key", "");
      const presses = SHORTCUTS[key];
      if (!presses) return;
      event.preventDefault();
      const cards = [...this.#cards.values()];
      if (key === "D" || key === "X") this.#fold(false);
      if (key === "D") return this.#parts.number.focus();
      if (presses.some((name) => cards.some((card) => card.press(name)))) return;
      if (key === "H") this.#hear({ name: "INFO", message: cards.find((card) => card.hint)?.hint });
    }
  }

  customElements.define("cti-call-bar", CallBar);
  connector.connect();
})();
