/* One of the agent's tabs opens the caller's record, and never over what she is typing. */
(() => {
  "use strict";
  const LEAVING_MS = 10_000;
  const STORE = "cti.popped";
  const KEPT = 50;

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

    #given;
    #popped = [];
    #held = new Set();

    constructor({ open = (path) => location.assign(path), ...given }) {
      this.#given = { open, ...given };
      try {
        this.#popped = [...JSON.parse(given.storage.getItem(STORE))];
      } catch (error) {
        // nothing stored, or storage forbidden
      }
      const report = () => given.connector.focus(document.hasFocus() && !document.hidden);
      for (const name of ["focus", "blur"]) addEventListener(name, report);
      document.addEventListener("visibilitychange", report);
    }

    popPath(call) {
      return Tabs.ownPath(call.pop?.url ?? "", this.#given.face);
    }

    // Unsaved edits kept the page: the call's card says so.
    isHeld(call) {
      return this.#held.has(call.id);
    }

    consider(call) {
      const { connector, guard, storage, open } = this.#given;
      const path = this.popPath(call);
      const isOurs = call.pop?.action === "open" && call.pop.tab === connector.tab;
      if (!isOurs || !path || this.#popped.includes(call.id)) return;
      this.#popped = [...this.#popped, call.id].slice(-KEPT);
      storage?.setItem(STORE, JSON.stringify(this.#popped));
      if (guard.isDirty) this.#held.add(call.id);
      else if (!this.#isHere(call)) open(path);
    }

    #isHere({ match, contacts }) {
      const { url, adminUrl } = contacts?.[0] || {};
      return match === "one" && Tabs.ownPath((this.#given.face === "admin" ? adminUrl : url) || "") === location.pathname;
    }
  };
})();
