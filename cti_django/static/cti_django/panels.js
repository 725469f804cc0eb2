/* What is opened now and then: whom to hand a call to, its keypad, recent calls, how she stands with her queues. */
(() => {
  "use strict";
  const { t, attempt } = Cti;
  const { h, icon, button, write, duration, dotted, who, named, isInbound } = Cti.page;
  const [LISTED, SHOWN, AT_ONCE] = [8, 24, 32];
  const PRESENCE = { idle: t("Free"), ringing: t("Ringing"), busy: t("Busy"), hold: t("On hold"), offline: t("Offline") };
  const SPOKEN = { "*": t("Star"), "#": t("Hash") };

  let colleagues = [];

  class Transfer {
    #card;
    #target;
    #now = h("button", { class: "primary", value: "transfer" }, t("Transfer"));
    #ask = h("button", { value: "consult" }, t("Ask first"));
    #users = h("ul", { class: "users" });

    constructor(card) {
      const label = t("Colleague or number");
      const field = { autocomplete: "off", "aria-label": label, placeholder: label, input: () => this.#list() };
      const form = { class: "transfer", "data-cti-ignore": true, hidden: true, submit: (event) => this.#submit(event) };
      this.#card = card;
      this.#target = h("input", field);
      this.element = h("form", form, this.#target, this.#now, this.#ask, this.#users);
    }

    async open() {
      this.#target.value = "";
      this.#target.focus();
      this.#list();
      const { ok, data } = await Cti.desk.connector.directory();
      if (ok) colleagues = data.users;
      this.#list();
    }

    #can(how) {
      return this.#card.call.actions.includes(how);
    }

    #submit(event) {
      event.preventDefault();
      const typed = this.#target.value.trim();
      const [only, another] = this.#fitting();
      const how = event.submitter?.value;
      if (/^\+?[\d\s().\/-]+$/.test(typed)) this.#handOn(how, { number: typed });
      else if (typed && only && !another) this.#handOn(how, only);
    }

    #handOn(how, user) {
      this.#card.handOn(this.#can(how) ? how : "consult", user);
    }

    #fitting() {
      const wanted = this.#target.value.trim().toLowerCase();
      const { number } = Cti.desk.board.session;
      const fits = (user) => user.number !== number && `${user.name} ${user.number}`.toLowerCase().includes(wanted);
      const isOff = (user) => user.presence === "offline";
      return colleagues.filter(fits).sort((one, other) => isOff(one) - isOff(other)).slice(0, LISTED);
    }

    #list() {
      this.#now.hidden = !this.#can("transfer");
      this.#ask.hidden = !this.#can("consult");
      this.#users.replaceChildren(...this.#fitting().map((user) => this.#entry(user)));
    }

    #entry(user) {
      const ask = { "aria-label": `${t("Ask first")}: ${named(user)}` };
      const main = button(named(user), "", () => this.#handOn("transfer", user));
      const { presence } = user;
      if (Object.hasOwn(PRESENCE, presence ?? "")) main.append(h("small", { "data-presence": presence }, h("i"), PRESENCE[presence]));
      return h("li", null, main, this.#can("consult") && button(t("Ask first"), "", () => this.#handOn("consult", user), ask));
    }
  }

  // What is typed while one command is on its way goes into the next one, in order.
  class Keypad {
    #card;
    #shown;
    #waiting = "";
    #isSending = false;

    constructor(card) {
      const key = (digit) => h("button", { type: "button", "aria-label": SPOKEN[digit], click: () => this.#press(digit) }, digit);
      const group = { class: "keypad", role: "group", "aria-label": t("Keypad"), tabindex: "-1", hidden: true };
      this.#card = card;
      this.#shown = h("output", { hidden: true });
      this.element = h("div", { ...group, keydown: (event) => this.#type(event) }, this.#shown, ...[..."123456789*0#"].map(key));
    }

    open() {
      this.element.focus();
    }

    #type(event) {
      const { key, ctrlKey, altKey, metaKey } = event;
      if (!/^[\d*#]$/.test(key) || ctrlKey || altKey || metaKey) return;
      event.preventDefault();
      this.#press(key);
    }

    async #press(digit) {
      write(this.#shown, (this.#shown.textContent + digit).slice(-SHOWN));
      this.#waiting += digit;
      if (this.#isSending) return;
      this.#isSending = true;
      while (this.#waiting) {
        const digits = this.#waiting.slice(0, AT_ONCE);
        this.#waiting = this.#waiting.slice(AT_ONCE);
        const { ok } = await Cti.desk.connector.dtmf(this.#card.call.id, digits);
        if (!ok) this.#waiting = ""; // a menu would take the rest for something else
      }
      this.#isSending = false;
    }
  }

  class Standing {
    #queues = h("div", { class: "toggles", role: "group", "aria-label": t("Queues") }, h("h2", null, t("Queues")));
    #toggles = [];
    #reason = h("input", { "aria-label": t("Reason (optional)"), placeholder: t("Reason (optional)"), maxlength: 80 });
    #form;
    #pause;
    #dnd;
    #names = "";
    #known = {}; // the presence that was told last
    #asked; // whether not to be disturbed, where the system does not tell

    constructor() {
      this.#pause = h("button", null, t("Pause"));
      this.#form = h("form", { "data-cti-ignore": true, submit: (event) => this.#submit(event) }, this.#reason, this.#pause);
      this.#dnd = button(t("Do not disturb"), "", () => this.#disturb());
      this.element = h("div", { class: "standing" }, this.#queues, this.#form, this.#dnd);
    }

    update({ capabilities, presence }, isUp) {
      const { queues = {}, paused, dnd } = (this.#known = presence || {});
      const names = Object.keys(queues);
      const can = (name) => isUp && capabilities.includes(name);
      const servesAll = names.every((name) => queues[name]);
      this.#list(names);
      for (const node of this.#toggles) {
        const { queue } = node.dataset;
        node.ariaPressed = queue ? Boolean(queues[queue]) : servesAll;
      }
      this.#queues.hidden = !can("queues") || !names.length;
      this.#form.hidden = !can("pause");
      this.#reason.hidden = Boolean(paused);
      this.#pause.ariaPressed = Boolean(paused);
      this.#dnd.hidden = !can("dnd");
      this.#dnd.ariaPressed = dnd ?? Boolean(this.#asked);
      this.element.hidden = [...this.element.children].every((node) => node.hidden);
    }

    #list(names) {
      const key = JSON.stringify(names);
      if (key === this.#names) return;
      this.#names = key;
      const serve = ({ currentTarget }) => this.#serve(currentTarget);
      for (const node of this.#toggles) node.remove();
      this.#toggles = names.map((name) => button(name, "", serve, { "data-queue": name }));
      if (names.length > 1) this.#toggles.push(button(t("All queues"), "", serve));
      this.#queues.append(...this.#toggles);
    }

    #serve(node) {
      const { queue = "" } = node.dataset;
      const log = node.ariaPressed === "true" ? "queueLogout" : "queueLogin";
      this.#once(node, () => Cti.desk.connector[log](queue));
    }

    #submit(event) {
      event.preventDefault();
      const reason = this.#reason.value.trim();
      this.#reason.value = "";
      this.#pause.focus(); // the reason goes when she is paused
      this.#once(this.#pause, () => (this.#known.paused ? Cti.desk.connector.unpause() : Cti.desk.connector.pause(reason)));
    }

    #disturb() {
      const on = this.#dnd.ariaPressed !== "true";
      this.#once(this.#dnd, async () => {
        const { ok } = await Cti.desk.connector.doNotDisturb(on);
        if (ok) this.#asked = on;
        this.#dnd.ariaPressed = this.#known.dnd ?? Boolean(this.#asked);
      });
    }

    // A second press while the first is on its way would undo it.
    async #once(node, act) {
      if (node.ariaBusy === "true") return;
      node.ariaBusy = "true";
      await act();
      node.ariaBusy = null;
    }
  }

  const languages = attempt(() => Intl.getCanonicalLocales(document.documentElement.lang)) || [];
  const OUTCOMES = { missed: t("Missed"), elsewhere: t("Answered elsewhere") };

  function recentCall(call, dial) {
    const { title, detail } = who(call);
    const talked = call.connectedAt && duration(call.connectedAt, call.endedAt);
    const facts = dotted(OUTCOMES[call.endReason] || talked, detail, Cti.desk.notes.text(call));
    return h(
      "li",
      { class: call.endReason === "missed" && "missed" },
      icon(isInbound(call) ? "inbound" : "outbound"),
      h("div", null, h("strong", { dir: "auto" }, title), h("small", { dir: "auto" }, facts)),
      h("time", null, new Date(call.endedAt).toLocaleTimeString(languages, { timeStyle: "short" })),
      call.number && button("", "phone", () => dial(call.number), { "aria-label": `${t("Call back")}: ${title}` }),
    );
  }

  // Only what differs: whoever is in the list stays there.
  function recent(list, calls, dial) {
    const rows = calls.length ? calls.map((call) => recentCall(call, dial)) : [h("li", null, t("No calls yet."))];
    const { children } = list;
    if (rows.length !== children.length || rows.some((row, place) => !row.isEqualNode(children[place]))) list.replaceChildren(...rows);
  }

  Cti.panels = { transfer: Transfer, dtmf: Keypad, Standing, recent };
})();
