"""``python -m tests.browser.screenshots``: takes the pictures of docs/screenshots/ from a running demo."""

import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import pack, unpack
from typing import Any

from tests.example.demo_site import Demo
from tests.programs import program
from tests.readme_project import REPOSITORY

from .agent import Agent, Window, expect
from .console import Console
from .driver import CHROMIUM_ARGUMENTS, playwright
from .house import CALLS_BACK

__all__ = ["main"]

FOLDER = REPOSITORY / "docs" / "screenshots"
NARROW = {"width": 390, "height": 800}
DANA = "+442079460018"


class Studio:
    """A demo, a browser, and the rest of the world."""

    def __init__(self, chromium: Any, demo: Demo) -> None:
        self.chromium, self.demo, self.console = chromium, demo, Console(demo.sandbox)

    @contextmanager
    def desk(self, username: str, path: str = "", **look: Any) -> Iterator[Window]:
        """A window of somebody's, with her line ready; afterwards nobody telephones."""
        agent = Agent(self.chromium, self.demo, username, **look)
        yield agent.window(path)
        self.console.reset()
        agent.close()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, playwright.sync_playwright() as driver:
        demo = Demo(Path(directory, "demo.sqlite3"))
        house = Demo(Path(directory, "house.sqlite3"), settings="tests.browser.house_settings")
        path = program("chromium", "chromium-browser", "google-chrome")
        browser = driver.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        try:
            demo.wait_until_ready()
            studio = Studio(browser, demo)
            for scene in (call, dark, chooser, narrow, admin, platform, console):
                scene(studio)
            house.wait_until_ready()
            everything(browser, house)
        finally:
            browser.close()
            demo.stop()
            house.stop()


def call(studio: Studio) -> None:
    """One call from its first ring to the call log."""
    with studio.desk("alice") as desk:
        earlier(studio, desk)
        call_id = studio.console.ring("10031", DANA, "Dana")
        desk.expect_path(r"/contacts/\d+/")
        desk.expect_card("Incoming call")
        save(desk.page, "pop")
        desk.press("Answer")
        desk.expect_card("Connected")
        note(desk, "Wants the offer for all four practices by Friday.")
        save(desk.page, "connected")
        desk.press("Transfer")
        expect(desk.bar.get_by_role("button", name="· 10032")).to_be_visible()
        save(desk.page, "transfer")
        studio.console.act(call_id, "hangup")
        desk.expect_card("Call ended")
        desk.page.reload()
        desk.expect_ready()
        save(desk.page, "contact")
        desk.open("cti/calls/").expect_ready()
        save(desk.page, "calls")


def earlier(studio: Studio, desk: Window) -> None:
    """What happened before: a call with a note, one to somebody, one that nobody took."""
    desk.expect_ready()
    call_id = studio.console.ring("10031", DANA, "Dana")
    desk.expect_path(r"/contacts/\d+/")
    desk.press("Answer")
    desk.expect_card("Connected")
    note(desk, "Asked for two more user names. Her deputy is on 020 7946 0019.")
    studio.console.act(call_id, "hangup")
    desk.expect_card("Call ended")
    desk.open("deals/").expect_ready()
    studio.console.phone("10031", behaviour="answers")
    desk.bar.get_by_label("Number to call").fill("0161 496 0100")
    desk.press("Call")
    desk.expect_card("Connected", "Pennine Bikes")
    studio.console.act(studio.console.wait_for_call(), "hangup")
    desk.expect_card("Call ended")
    studio.console.phone("10031", behaviour="manual")
    call_id = studio.console.ring("10031", "+493023125118")
    desk.expect_path(r"/contacts/\d+/")
    desk.expect_card("Incoming call")
    studio.console.act(call_id, "hangup")
    desk.expect_no_card()
    desk.open("deals/").expect_ready()


def dark(studio: Studio) -> None:
    with studio.desk("alice", color_scheme="dark") as desk:
        desk.expect_ready()
        studio.console.ring("10031", DANA, "Dana")
        desk.expect_path(r"/contacts/\d+/")
        desk.expect_card("Incoming call")
        save(desk.page, "pop-dark")


def chooser(studio: Studio) -> None:
    with studio.desk("bob") as desk:
        desk.expect_ready()
        studio.console.ring("10032", "+441134960022", "Northlight")
        expect(desk.heading()).to_have_text("Who is it?")
        desk.expect_card("Incoming call")
        save(desk.page, "chooser")


def narrow(studio: Studio) -> None:
    with studio.desk("alice", viewport=NARROW) as desk:
        desk.expect_ready()
        studio.console.ring("10031", DANA, "Dana")
        desk.expect_path(r"/contacts/\d+/")
        desk.press("Answer")
        desk.expect_card("Connected")
        save(desk.page, "narrow")


def admin(studio: Studio) -> None:
    with studio.desk("carol", "admin/crm/contact/") as desk:
        desk.expect_ready()
        studio.console.ring("10033", DANA, "Dana")
        desk.expect_path(r"/admin/crm/contact/\d+/change/")
        desk.expect_card("Incoming call")
        save(desk.page, "admin")


def platform(studio: Studio) -> None:
    with studio.desk("bob", "platform/") as desk:
        desk.page.locator("#login-stored").get_by_role("button").click()
        expect(desk.page.locator("#state")).to_contain_text("Ready")
        studio.console.ring("10032", DANA, "Dana")
        desk.page.get_by_role("button", name="Answer").click()
        expect(desk.page.locator("#calls .status")).to_have_text("CONNECTED")
        save(desk.page, "platform")


def console(studio: Studio) -> None:
    with studio.desk("alice") as desk:
        desk.expect_ready()
        studio.console.ring("10031", DANA, "Dana")
        desk.expect_path(r"/contacts/\d+/")
        desk.press("Answer")
        desk.expect_card("Connected")
        studio.console.ring("10032", "+441614960021")
        for name, scheme in (("console", "light"), ("console-dark", "dark")):
            visitor = Agent(studio.chromium, studio.demo, color_scheme=scheme)
            page = visitor.window(f"{studio.demo.sandbox}console/").page
            page.get_by_text("live", exact=True).wait_for()
            save(page, name)
            visitor.close()


def everything(browser: Any, house: Demo) -> None:
    """What a telephone system shows that can do everything."""
    bob = Agent(browser, house, "bob")
    bob.window("deals/").expect_ready()
    for name, look in (("consult", {}), ("keypad-dark", {"color_scheme": "dark"})):
        alice = Agent(browser, house, "alice", **look)
        desk = alice.window("deals/").expect_ready()
        desk.bar.get_by_label("Number to call").fill(CALLS_BACK)
        desk.press("Call")
        desk.expect_path(r"/contacts/\d+/")
        desk.press("Answer")
        desk.expect_card("Connected")
        if name == "consult":
            desk.press("Transfer")
            desk.press("Ask first: Bob Agent · 10032")
            desk.expect_card("Asking Bob Agent · 10032")
        else:
            desk.press("Keypad")
            desk.page.keyboard.type("12#")
            desk.line.click()
            expect(desk.button("All queues")).to_be_visible()
        save(desk.page, name)
        if name == "consult":
            desk.press("Back to Dana Whitfield")
            desk.expect_card("Connected")
        desk.press("Hang up")
        desk.expect_card("Call ended")
        alice.close()
    bob.close()


def note(desk: Window, text: str) -> None:
    desk.bar.get_by_label("Note").fill(text)
    expect(desk.cards.locator(".noteState")).to_have_text("Saved")


def save(page: Any, name: str) -> None:
    # Nothing that moves or blinks, so that a picture differs only if what it shows does.
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    picture = page.screenshot(animations="disabled", caret="hide")
    (FOLDER / f"{name}.png").write_bytes(_smaller(picture))


def _smaller(png: bytes) -> bytes:
    """The same picture, its pixels compressed as well as zlib can. Source: PNG (ISO/IEC 15948), 5.3 and 11.2."""
    chunks, place = [], 8
    while place < len(png):
        (length,) = unpack(">I", png[place : place + 4])
        chunks.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + length]))
        place += length + 12
    pixels = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    kept = [chunk for chunk in chunks if chunk[0] not in (b"IDAT", b"IEND")]
    kept += [(b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b"")]
    return png[:8] + b"".join(_chunk(kind, data) for kind, data in kept)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))


if __name__ == "__main__":
    main()
