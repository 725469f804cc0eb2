// A page for the scripts to live on: a fake WebSocket, a clock that the test winds, and just enough of a DOM.
import fs from "node:fs";
import vm from "node:vm";

const STATIC = new URL("../../cti_django/static/cti_django/", import.meta.url);

export class FakeStorage {
  setItem(key, value) { this[key] = String(value); }
  getItem(key) { return Object.hasOwn(this, key) ? this[key] : null; }
  removeItem(key) { delete this[key]; }
}

class Clock {
  now = 1_700_000_000_000;
  beatMs = 1; // a page that nobody looks at has its timers only at each full beat
  #timers = new Map();
  #count = 0;

  set(act, ms, every = 0) {
    this.#timers.set(++this.#count, { act, at: this.#beat(this.now + ms), every });
    return this.#count;
  }
  clear(id) { this.#timers.delete(id); }
  #beat(ms) { return Math.ceil(ms / this.beatMs) * this.beatMs; }

  async pass(ms) {
    const end = this.now + ms;
    for (;;) {
      await settle();
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      const [id, timer] = due;
      this.now = timer.at;
      if (timer.every) timer.at = this.#beat(timer.at + timer.every);
      else this.#timers.delete(id);
      timer.act();
    }
    this.now = end;
    await settle();
  }
}

export const settle = () => new Promise((resolve) => setImmediate(resolve));

/** An element, as far as panels.js needs one. */
class FakeElement extends EventTarget {
  constructor(tag) {
    super();
    Object.assign(this, { tag, children: [], attributes: {}, dataset: {}, hidden: false, value: "", text: "", parent: null, isFocused: false });
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
    if (name.startsWith("data-")) this.dataset[name.slice(5)] = value;
    if (name === "hidden") this.hidden = true;
    if (name === "value") this.value = value;
  }
  get ariaPressed() { return this.attributes["aria-pressed"] ?? null; }
  set ariaPressed(pressed) { this.attributes["aria-pressed"] = String(pressed); }
  get textContent() { return this.text + this.children.map((child) => child.textContent).join(""); }
  set textContent(text) { [this.text, this.children] = [text, []]; }
  append(...nodes) {
    for (const node of nodes) this.children.push(typeof node === "object" ? Object.assign(node, { parent: this }) : { textContent: `${node}` });
  }
  replaceChildren(...nodes) {
    this.children = [];
    this.append(...nodes);
  }
  remove() { this.parent.children = this.parent.children.filter((node) => node !== this); }
  focus() { this.isFocused = true; }
  all(tag) { return this.children.flatMap((child) => (child.all ? [...(child.tag === tag ? [child] : []), ...child.all(tag)] : [])); }
  fire(name, facts) {
    const event = Object.assign(new Event(name, { cancelable: true }), facts);
    this.dispatchEvent(event);
    return event;
  }
}

/** Load scripts into a new page; returns what a test needs of it. */
export function openPage({ scripts = ["cti-connector.js"], dataset = {}, url = "https://crm.example/contacts/" } = {}) {
  const clock = new Clock();
  const sockets = [];
  const logs = [];
  const document = new EventTarget();
  Object.assign(document, { hidden: false, hasFocus: () => true, querySelector: () => null, getElementById: () => null, currentScript: { dataset } });
  document.createElement = document.createElementNS = (...names) => new FakeElement(names.at(-1));
  document.documentElement = { lang: "en" };

  class WebSocket {
    constructor(address) {
      if (page.refusesSockets) throw new Error("SecurityError");
      Object.assign(this, { url: address, readyState: 0, sent: [], closed: false });
      sockets.push(this);
    }
    send(text) { this.sent.push(JSON.parse(text)); }
    close() { this.closed = true; }
  }

  const events = new EventTarget();
  const target = new URL(url);
  class PageDate extends Date {
    constructor(...args) { args.length ? super(...args) : super(clock.now); }
    static now() { return clock.now; }
  }
  const context = vm.createContext({
    document, WebSocket, URL, Event, CustomEvent, crypto: globalThis.crypto, Date: PageDate,
    location: { href: target.href, origin: target.origin, pathname: target.pathname, assign() {} },
    addEventListener: (...args) => events.addEventListener(...args),
    console: { info: (...args) => logs.push(args.join(" ")), error: (...args) => logs.push(args.join(" ")) },
    setTimeout: (act, ms) => clock.set(act, ms), clearTimeout: (id) => clock.clear(id),
    setInterval: (act, ms) => clock.set(act, ms, ms), clearInterval: (id) => clock.clear(id),
  });
  const load = (name) => vm.runInContext(fs.readFileSync(new URL(name, STATIC), "utf8"), context, { filename: name });
  const page = { clock, context, document, load, logs, pageEvents: events, sockets, refusesSockets: false };
  scripts.forEach(load);
  page.Cti = context.Cti;
  return page;
}

/** A page with a connector, and its server. */
export function connect(options = {}) {
  const page = openPage(options);
  const events = [];
  const envelopes = [];
  const links = [];
  const connector = new page.Cti.Connector({
    apiEndpoint: "https://l7api.example/v1.2/voipstudio",
    onMessage: (event) => events.push(event),
    onEnvelope: (envelope) => envelopes.push(envelope),
    onLink: (state, code) => links.push([state, code]),
    ...options.connector,
  });
  const desk = { ...page, connector, events, envelopes, links, fence: 1, seq: 0 };
  Object.defineProperty(desk, "socket", { get: () => page.sockets.at(-1) });
  return Object.assign(desk, {
    names: () => events.map((event) => event.name),
    sent: (type) => desk.socket.sent.filter((message) => message.type === type),
    say: (message) => desk.socket.onmessage({ data: JSON.stringify(message) }),
    open() {
      desk.socket.readyState = 1;
      desk.socket.onopen();
    },
    close(code = 1006) { desk.socket.onclose({ code }); },
    snapshot: (facts) => desk.say({ type: "snapshot", fence: desk.fence, seq: desk.seq, elected: true, session: session("none"), calls: [], recent: [], ...facts }),
    event: (event) => desk.say({ type: "event", fence: desk.fence, seq: ++desk.seq, event: { message: "", at: "2026-01-01T10:00:00.000+00:00", ...event } }),
    tell: (facts) => desk.say({ type: "session", fence: desk.fence, seq: ++desk.seq, session: facts }),
    async answer(type, facts) {
      const { id } = desk.sent(type).at(-1);
      desk.say({ type: "answer", id, ok: true, message: "", code: "", data: {}, ...facts });
      await settle();
    },
    /** Log in to a session that has been ready for a while. */
    async join(facts = {}) {
      connector.login();
      desk.open();
      desk.snapshot({ session: session("ready"), ...facts });
      await desk.answer("login");
    },
  });
}

export const session = (state, facts) => ({
  state, message: "", code: "", nonce: "", number: "10031", capabilities: ["dial"], retryAt: null,
  subscriptions: state === "ready" ? ["user:10031"] : [], ...facts,
});

export const call = (id, status = "RINGING", facts) => ({
  id, cid: "leg", cause: "", direction: "INBOUND", destination: "10031", destinationName: "", source: "442079460018",
  sourceName: "Dana", status, node: "", endReason: "", startedAt: "2026-01-01T10:00:00.000+00:00", connectedAt: null,
  endedAt: null, actions: [], match: "none", contacts: [], pop: null, note: "", ...facts,
});
