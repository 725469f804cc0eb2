"""Somebody who sits before the site: the windows that are open, and what can be seen and done in them."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from tests.example.demo_site import Demo, Visitor

from .driver import SECONDS, playwright

__all__ = ["Agent", "Window", "expect"]

expect = playwright.expect
RELOADS = 20
NAMED_ROLES = {"button", "link", "textbox", "searchbox", "combobox", "checkbox", "radio"}

# Reported through the console, where everything else that may go wrong is reported as well.
WATCH = """
addEventListener("securitypolicyviolation", (violation) =>
  console.error(`CSP ${violation.violatedDirective} ${violation.blockedURI}`));
globalThis.ctiEvents = [];
document.addEventListener("cti", ({ detail }) => ctiEvents.push(detail));
"""


class Window:
    """One tab of an agent's browser."""

    def __init__(self, page: Any, site: str) -> None:
        self.page, self.site = page, site
        self.bar = page.locator("cti-call-bar")
        self.line = self.bar.locator("button.state")
        self.cards = self.bar.get_by_role("article")
        self.notices = self.bar.locator(".notice")

    @property
    def path(self) -> str:
        return urlsplit(self.page.url).path

    def open(self, path: str = "") -> "Window":
        self.page.goto(urljoin(self.site, path))
        return self

    def expect_after_reload(self, place: Any, text: str) -> None:
        """Load the page anew until `place` holds the text: the call log is written behind the call."""
        for _ in range(RELOADS):
            self.page.reload()
            if place.count() and text in place.inner_text():
                return
        expect(place).to_contain_text(text)

    def expect_ready(self) -> "Window":
        expect(self.line).to_contain_text("Ready")
        return self

    def expect_path(self, pattern: str) -> None:
        """Wait until the path of the page's address matches the whole pattern."""
        self.page.wait_for_url(lambda url: re.fullmatch(pattern, urlsplit(url).path))

    def expect_card(self, *texts: str) -> Any:
        """The one card there is, once it holds all these texts."""
        expect(self.cards).to_have_count(1)
        for text in texts:
            expect(self.cards).to_contain_text(text)
        return self.cards

    def expect_no_card(self) -> None:
        expect(self.cards).to_have_count(0)

    def button(self, name: str) -> Any:
        """A button of the call bar, by its whole name."""
        return self.bar.get_by_role("button", name=name, exact=True)

    def press(self, name: str) -> None:
        self.button(name).click()

    def heading(self) -> Any:
        return self.page.get_by_role("heading", level=1)

    def event_names(self) -> list[str]:
        """What the page has heard since it was loaded, but for what was said to it about its log-in."""
        names = self.page.evaluate("ctiEvents.map((event) => event.name)")
        return [name for name in names if name not in ("LOGGED_IN", "SUBSCRIBED", "READY")]

    def wait_for_event(self, name: str) -> None:
        self.page.wait_for_function("(name) => ctiEvents.some((event) => event.name === name)", arg=name)

    def wait_until_elected(self) -> None:
        """Return when this is the tab that rings and pops."""
        self.page.wait_for_function("() => Cti.desk.board.elected")

    def nameless(self, within: str = "body") -> list[str]:
        """What a screen reader could not name: buttons, links and fields."""
        client = self.page.context.new_cdp_session(self.page)
        root = client.send("DOM.getDocument")["root"]["nodeId"]
        node = client.send("DOM.querySelector", {"nodeId": root, "selector": within})["nodeId"]
        found = client.send("Accessibility.queryAXTree", {"nodeId": node})["nodes"]
        client.detach()
        things = [each for each in found if not each["ignored"] and each["role"]["value"] in NAMED_ROLES]
        assert things, within
        return [str(thing) for thing in things if not thing.get("name", {}).get("value", "").strip()]

    def is_wider_than_the_window(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth > innerWidth")


class Agent:
    """One user in a browser of her own, with as many windows as she likes.

    Args:
        look: options of the browser's context: `color_scheme`, `viewport`.
    """

    def __init__(self, chromium: Any, demo: Demo, username: str = "", **look: Any) -> None:
        self.demo, self.username = demo, username
        self.complaints: list[str] = []
        look = {"viewport": {"width": 1280, "height": 800}, **look}
        self.context = chromium.new_context(locale="en-GB", timezone_id="Europe/London", **look)
        self.context.set_default_timeout(SECONDS * 1000)
        self.context.add_init_script(WATCH)
        self.context.on("console", self._hear)
        self.context.on("weberror", lambda problem: self.complaints.append(str(problem.error)))
        self.context.on("dialog", self._dismiss)
        if username:
            self._log_in()

    def window(self, path: str = "") -> Window:
        """A further tab, on that page."""
        return Window(self.context.new_page(), self.demo.site).open(path)

    def close(self, screenshots: Path | None = None) -> None:
        """Close the browser; before that save what it shows, if anybody wants to see it."""
        if screenshots is not None:
            for place, page in enumerate(self.context.pages):
                path = screenshots / f"{self.username or 'nobody'}-{place}.png"
                page.screenshot(path=path)
                print(f"screenshot: {path}")
        self.context.close()

    def _log_in(self) -> None:
        visitor = Visitor(self.demo.site)
        visitor.login(self.username)
        cookies = [{"name": each.name, "value": each.value or "", "url": self.demo.site} for each in visitor.cookies]
        assert any(cookie["name"] == "sessionid" for cookie in cookies), self.username
        self.context.add_cookies(cookies)

    def _hear(self, message: Any) -> None:
        is_icon = message.location.get("url", "").endswith("/favicon.ico")  # asked for by Chromium itself
        if message.type in ("error", "warning") and not is_icon:
            self.complaints.append(message.text)

    def _dismiss(self, dialog: Any) -> None:
        self.complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()
