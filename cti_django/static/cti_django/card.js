/* The page's configuration, elements, and the card of one call. */
(() => {
  "use strict";
  const { t, isOver } = Cti;
  const { ownPath, recordUrl } = Cti.Tabs;
  const LISTED = 8;
  const NOTE_MAX = 4000;
  const ICONS = {
    phone: "M6 3h3l2 5-2 2a13 13 0 0 0 5 5l2-2 5 2v3a3 3 0 0 1-3 3A15 15 0 0 1 3 6a3 3 0 0 1 3-3z",
    hold: "M9 6v12M15 6v12",
    resume: "M8 5l11 7-11 7z",
    transfer: "M3 12h16M14 7l5 5-5 5",
    clock: "M12 7v5l3 2M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0z",
    close: "M6 6l12 12M18 6L6 18",
    down: "M6 9l6 6 6-6",
    inbound: "M18 6L7 17M7 9v8h8",
    outbound: "M6 18L17 7M9 7h8v8",
  };

  const config = JSON.parse(document.getElementById("cti-config")?.textContent ?? "{}");
  Object.assign(Cti.strings, config.strings);

  function h(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (typeof value === "function") node.addEventListener(name, value);
      else if (value) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter(Boolean));
    return node;
  }

  function icon(name) {
    const [svg, path] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    svg.setAttribute("class", `i-${name}`);
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    return svg;
  }

  const keys = (letter) => ({ title: `Alt+Shift+${letter}`, "aria-keyshortcuts": `Alt+Shift+${letter}` });

  // Only the first click of a double click counts: then another button can stand in its place.
  function button(label, iconName, click, attributes) {
    const act = (event) => event.detail > 1 || click(event);
    return h("button", { type: "button", ...attributes, click: act }, iconName && icon(iconName), label && h("span", null, label));
  }

  // Only what differs: selections and screen readers are left in peace.
  function write(node, text) {
    if (node.textContent !== text) node.textContent = text;
    node.hidden = !text;
  }

  function duration(from, to) {
    return new Date(Math.max(0, new Date(to) - new Date(from)) || 0).toISOString().slice(11, 19).replace(/^0(0:0?)?/, "");
  }

  const STATES = {
    INITIAL: t("Your phone is ringing"),
    ACCEPTED: t("Dialling"),
    RINGING: t("Ringing"),
    CONNECTED: t("Connected"),
    ON_HOLD: t("On hold"),
    HANGUP: t("Call ended"),
    CANCEL: t("Call cancelled"),
    transferred: t("Transferred"),
    elsewhere: t("Answered elsewhere"),
  };
  const dotted = (...facts) => facts.filter(Boolean).join(" · ");
  const isInbound = (call) => call.direction === Cti.DIRECTION.IN;
  const ringsIn = (call) => call.status === "RINGING" && isInbound(call);
  const stateWords = (call) => (ringsIn(call) ? t("Incoming call") : STATES[call.endReason] || STATES[call.status]);
  const named = ({ name, number }) => dotted(name, number);
  const fill = (text, who) => text.replace("{who}", () => who);

  function who(call) {
    const [contact] = call.contacts || [];
    const [said, raw] = isInbound(call) ? [call.sourceName, call.source] : [call.destinationName, call.destination];
    const number = call.display || call.number || raw;
    const bare = (text) => text.replace(/[^\p{L}\d]/gu, "");
    const name = [raw, number].some((text) => bare(text).endsWith(bare(said))) ? "" : said; // some send the number as the name
    if (call.kind === "withheld" || call.match === "withheld") return { title: t("Number withheld") };
    if (contact && (call.match === "one" || call.match === "internal")) {
      return { title: contact.label, detail: dotted(contact.detail, number), url: recordUrl(contact, config.face) };
    }
    const [fact, link] = {
      several: ["", t("Choose who it is")],
      none: ["", call.canCreate !== false && t("Create contact")],
      forbidden: [t("Known, no access")],
      pending: [t("Looking up…")],
    }[call.match] || [];
    return { title: name || number || t("Number withheld"), detail: dotted(name && number, fact), link };
  }

  class CallCard {
    #parts = {};
    #buttons;
    #panels = {}; // by the name of the button that opens it
    #listed = "[]";
    #target = "";

    constructor(call, dismiss) {
      const act = (name) => () => this.#act(name, Cti.desk.connector.command(name, { call_id: this.call.id }));
      this.call = call;
      this.#buttons = {
        answer: button(t("Answer"), "phone", act("answer"), { class: "answer", ...keys("A") }),
        hold: button(t("Hold"), "hold", act("hold"), keys("O")),
        resume: button(t("Resume"), "resume", act("resume"), keys("O")),
        transfer: button(t("Transfer"), "transfer", () => this.#toggle("transfer"), { "aria-expanded": "false", ...keys("X") }),
        dtmf: button(t("Keypad"), "", () => this.#toggle("dtmf"), { "aria-expanded": "false" }),
        complete: button(t("Connect them"), "transfer", act("complete"), { class: "primary" }),
        back: button(" ", "", act("back")),
        hangup: button(t("Hang up"), "phone", act("hangup"), { class: "hangup", ...keys("H") }),
        dismiss: button(t("Done"), "", dismiss, { class: "dismiss" }),
      };
      this.#build();
    }

    get isInUse() {
      return Cti.desk.notes.state(this.call.id) !== "" || this.element.matches(":focus-within");
    }

    get hint() {
      return this.#parts.hint.textContent;
    }

    update(call) {
      const { tabs } = Cti.desk;
      const { state, name, detail, asked, link, held, heldLink } = this.#parts;
      const pop = tabs.popPath(call) || (config.popPath && ownPath(`${config.popPath}${call.id}/`, config.face));
      const person = who(call);
      const asks = call.consult ? fill(t("Asking {who}"), named(call.consult)) : "";
      this.call = call;
      if (call.consult) this.#target = named(call.consult);
      this.news = [call.status, call.number, asks].join();
      this.element.dataset.state = call.status.toLowerCase();
      this.element.ariaLabel = dotted(stateWords(call), person.title, person.detail, asks);
      write(state, dotted(stateWords(call), call.endReason === "transferred" && this.#target));
      write(asked, asks);
      write(this.#buttons.back.lastChild, fill(t("Back to {who}"), person.title));
      write(name, person.title);
      this.#lead(name, person.url);
      write(detail, person.detail || "");
      write(link, (pop && person.link) || "");
      this.#lead(link, pop);
      this.#lead(heldLink, pop);
      held.hidden = !tabs.isHeld(call);
      this.#list(call);
      this.#offer(call);
      this.#updateNote(call);
    }

    tick(nowMs) {
      const { connectedAt, startedAt, endedAt } = this.call;
      write(this.#parts.timer, duration(connectedAt || startedAt || NaN, endedAt || nowMs));
    }

    press(name) {
      const node = this.#buttons[name];
      if (node.hidden || node.disabled) return false;
      node.click();
      return true;
    }

    closePanel() {
      const open = Object.keys(this.#panels).find((name) => !this.#panels[name].element.hidden);
      if (!open) return false;
      this.#toggle(open);
      this.#buttons[open].focus();
      return true;
    }

    handOn(how, { number, name }) {
      this.#target = name || number;
      this.closePanel();
      this.#act("transfer", Cti.desk.connector[how](this.call.id, number));
    }

    #toggle(name) {
      const { element } = this.#panels[name];
      element.hidden = !element.hidden;
      this.#buttons[name].ariaExpanded = !element.hidden;
      if (!element.hidden) this.#panels[name].open();
    }

    #build() {
      const parts = this.#parts;
      const part = (name, tag, attributes, ...children) => (parts[name] = h(tag, { class: name, ...attributes }, ...children));
      const blank = { target: "_blank", rel: "noopener" };
      const { notes } = Cti.desk;
      const input = () => notes.edit(this.call.id, parts.note.value);
      const blur = () => notes.flush(this.call.id);
      const note = { rows: "2", maxlength: NOTE_MAX, dir: "auto", input, blur };
      this.element = h(
        "article",
        { class: "card", tabindex: "-1" },
        h("div", { class: "head" }, icon(isInbound(this.call) ? "inbound" : "outbound"), part("state", "span"), part("timer", "span")),
        part("name", "a", { dir: "auto" }),
        part("detail", "div", { dir: "auto" }),
        part("asked", "div", { dir: "auto" }),
        part("hint", "p"),
        part("contacts", "ul"),
        part("link", "a"),
        part("held", "p", null, t("There are unsaved changes on this page, so it stays."), " ", part("heldLink", "a", blank, t("Open in a new tab"))),
        part("actions", "div", null, ...Object.values(this.#buttons)),
        part("noteBox", "label", null, t("Note"), part("noteState", "small"), part("note", "textarea", note)),
      );
    }

    #lead(node, href) {
      href ? node.setAttribute("href", href) : node.removeAttribute("href");
    }

    #updateNote(call) {
      const { notes } = Cti.desk;
      const { note, noteBox, noteState } = this.#parts;
      const [text, state] = [notes.text(call), notes.state(call.id)];
      if (note.value !== text) note.value = text;
      if (!state) note.defaultValue = text; // the guard counts what differs
      noteBox.hidden = ringsIn(call) && !text;
      write(noteState, { saving: t("Saving…"), unsaved: t("Not saved yet") }[state] || (text && t("Saved")));
    }

    #list({ match, contacts }) {
      const several = match === "several" ? contacts.slice(0, LISTED) : [];
      const listed = JSON.stringify(several);
      if (this.#listed === listed) return;
      this.#listed = listed;
      const link = (contact) => h("a", { href: recordUrl(contact, config.face), dir: "auto" }, contact.label);
      this.#parts.contacts.replaceChildren(
        ...several.map((contact) => h("li", null, link(contact), " ", h("small", null, contact.detail))),
      );
    }

    #offer(call) {
      const offered = isOver(call) ? ["dismiss"] : [...(call.actions || [])];
      if (offered.includes("consult")) offered.push("transfer");
      const focused = this.element.getRootNode().activeElement;
      const hint = ringsIn(call) ? t("To decline, use your telephone.") : call.status === "INITIAL" && t("Pick up or decline on your telephone.");
      write(this.#parts.hint, (!offered.includes("hangup") && hint) || "");
      for (const [name, node] of Object.entries(this.#buttons)) node.hidden = !offered.includes(name);
      for (const name of ["transfer", "dtmf"]) this.#offerPanel(name);
      this.#buttons.hangup.lastChild.textContent = ringsIn(call) ? t("Decline") : t("Hang up");
      // Not to another button: a second Enter would press what nobody meant.
      if (focused?.hidden && this.element.contains(focused)) this.element.focus();
    }

    #offerPanel(name) {
      const node = this.#buttons[name];
      const Panel = Cti.panels?.[name];
      if (!node.hidden && Panel && !this.#panels[name]) {
        this.#panels[name] = new Panel(this);
        this.#parts.actions.after(this.#panels[name].element);
      }
      const { element } = this.#panels[name] || {};
      node.hidden ||= !element;
      if (!element) return;
      element.hidden ||= node.hidden;
      node.ariaExpanded = !element.hidden;
    }

    #act(name, answer) {
      this.#buttons[name].disabled = true;
      answer.finally(() => (this.#buttons[name].disabled = false));
    }
  }

  Object.assign(Cti, {
    CallCard,
    page: { config, h, icon, button, write, duration, dotted, keys, who, stateWords, named, isInbound, ringsIn },
  });
})();
