"""``python -m tests.example.screenshots``: takes the README's pictures from a running demo."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from playwright.sync_api import expect, sync_playwright

from tests.programs import program
from tests.readme_project import REPOSITORY

from .demo_site import Demo

FOLDER = REPOSITORY / "docs/screenshots"
SIZE = {"width": 1280, "height": 760}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as driver:
        demo = Demo(Path(directory, "demo.sqlite3"))
        browser = driver.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox"])
        try:
            demo.wait_until_ready()
            _pop_and_contact(browser, demo)
            _chooser(browser, demo)
            _admin(browser, demo)
            _platform(browser, demo)
        finally:
            browser.close()
            demo.stop()


def _pop_and_contact(browser: Any, demo: Demo) -> None:
    with _page(browser, demo, "alice") as page:
        _ready(page)
        call_id = _ring(demo, "10031", "+442079460018", "Dana")
        page.wait_for_url("**/contacts/1/")
        page.get_by_role("button", name="Answer").wait_for()
        _save(page, "pop")
        page.get_by_role("button", name="Answer").click()
        page.get_by_role("button", name="Hang up").wait_for()
        page.get_by_role("textbox", name="Note").fill("Wants the offer for all four practices by Friday.")
        page.get_by_text("Saved", exact=True).wait_for()
        _post(demo, f"calls/{call_id}/hangup", {})
        page.get_by_role("button", name="Hang up").wait_for(state="hidden")
        page.reload()
        _ready(page)
        _save(page, "contact")


def _chooser(browser: Any, demo: Demo) -> None:
    with _page(browser, demo, "bob") as page:
        _ready(page)
        call_id = _ring(demo, "10032", "+441134960022", "Northlight")
        page.wait_for_url("**/cti/pop/**")
        page.get_by_role("button", name="Answer").wait_for()
        _save(page, "chooser")
        _post(demo, f"calls/{call_id}/hangup", {})


def _admin(browser: Any, demo: Demo) -> None:
    with _page(browser, demo, "carol", color_scheme="dark") as page:
        page.goto(f"{demo.site}admin/crm/contact/")
        _ready(page)
        call_id = _ring(demo, "10033", "+493023125118", "")
        page.wait_for_url("**/admin/crm/contact/*/change/**")
        page.get_by_role("button", name="Answer").wait_for()
        _save(page, "admin")
        _post(demo, f"calls/{call_id}/hangup", {})


def _platform(browser: Any, demo: Demo) -> None:
    with _page(browser, demo, "bob") as page:
        page.goto(f"{demo.site}platform/")
        page.locator("#login-stored").get_by_role("button").click()
        expect(page.locator("#state")).to_contain_text("Ready")
        _ring(demo, "10032", "+442079460018", "Dana")
        page.get_by_role("button", name="Answer").wait_for()
        _save(page, "platform")


@contextmanager
def _page(browser: Any, demo: Demo, username: str, **options: Any) -> Iterator[Any]:
    context = browser.new_context(viewport=SIZE, device_scale_factor=1.5, **options)
    page = context.new_page()
    page.goto(f"{demo.site}accounts/login/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Log in").click()
    yield page
    context.close()


def _ready(page: Any) -> None:
    expect(page.get_by_role("button", name="Ready")).to_be_visible(timeout=15_000)


def _save(page: Any, name: str) -> None:
    page.screenshot(path=FOLDER / f"{name}.png")


def _ring(demo: Demo, to: str, number: str, name: str) -> str:
    return str(_post(demo, "ring", {"to": to, "from": number, "name": name})["id"])


def _post(demo: Demo, path: str, body: dict[str, str]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    request = Request(f"{demo.sandbox}console/api/{path}", json.dumps(body).encode(), headers)
    with urlopen(request, timeout=15) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
