"""The platform page in Chromium: each of its steps, against the running demo."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.programs import program

from .demo_site import Demo

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = program("chromium", "chromium-browser", "google-chrome")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_platform(chromium: Any, demo: Demo) -> Iterator[Callable[[str], Any]]:
    """A function that logs a user in and gives the platform page; afterwards nothing may stand in its console."""
    complaints: list[str] = []
    contexts = []

    def open_page(username: str) -> Any:
        context = chromium.new_context()
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{demo.site}accounts/login/?next=/platform/")
        page.get_by_label("Username").fill(username)
        page.get_by_label("Password").fill("demo")
        page.get_by_role("button", name="Log in").click()
        _expect(page, "#state", "Platform ready")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def test_a_day_on_the_platform_page(open_platform: Callable[[str], Any], demo: Demo) -> None:
    page = open_platform("carol")
    with_password = page.locator("#login-password")
    with_password.get_by_label("E-mail").fill("carol@example.com")
    with_password.get_by_label("Password").fill("sandbox")
    with_password.get_by_role("button").click()
    _expect(page, "#state", "Ready")
    _expect(page, "#subscriptions", "user:10033")
    assert with_password.get_by_label("Password").input_value() == ""

    # outbound: her own telephone first, then theirs
    page.locator("#call").get_by_label("Number").fill("020 7946 0018")
    page.locator("#call").get_by_role("button").click()
    _expect(page, "#calls .status", "INITIAL")
    _act(demo, "answer")
    _expect(page, "#calls .status", "CONNECTED")
    _expect(page, "#calls .details", "Dana Whitfield")
    page.get_by_role("button", name="Terminate").click()
    _expect_no_call(page)
    _events_in_order(page, "INITIAL", "ACCEPTED", "CONNECTED", "HANGUP")

    # inbound, with a name that is markup; answered and handed to a colleague from the list
    _ring(demo, "10033", "+442079460021", "<img src=x onerror=alert(1)>")
    _expect(page, "#calls .status", "RINGING")
    _expect(page, "#calls .details", "<img src=x onerror=alert(1)>")
    page.get_by_role("button", name="Answer").click()
    _expect(page, "#calls .status", "CONNECTED")
    colleagues = page.eval_on_selector_all("#colleagues option", "options => options.map(option => option.value)")
    assert "10032" in colleagues
    page.get_by_label("Transfer to").fill("10032")
    page.get_by_role("button", name="Transfer", exact=True).click()
    _expect_no_call(page)

    # further nodes
    page.get_by_label("Node").fill("user:10032")
    page.get_by_role("button", name="Subscribe").click()
    _expect(page, "#subscriptions", "user:10032")

    page.get_by_role("button", name="Disconnect").click()
    _expect(page, "#state", "Disconnected")
    for name in ("LOGGED_IN", "SUBSCRIBED", "READY", "LOGGED_OUT"):
        assert any(event["name"] == name for event in _events(page))


def test_two_factor_is_asked_for_and_taken(open_platform: Callable[[str], Any]) -> None:
    page = open_platform("sam")
    with_password = page.locator("#login-password")
    with_password.get_by_label("E-mail").fill("dave@example.com")
    with_password.get_by_label("Password").fill("sandbox")
    with_password.get_by_role("button").click()
    _expect(page, "#state", "A code is needed")
    page.get_by_label("Code").fill("123456")
    page.get_by_role("button", name="Send code").click()
    _expect(page, "#state", "Ready")


def test_the_stored_account_needs_no_secret_in_the_page(open_platform: Callable[[str], Any]) -> None:
    page = open_platform("bob")
    page.locator("#login-stored").get_by_role("button").click()
    _expect(page, "#state", "Ready")
    _expect(page, "#subscriptions", "user:10032")


def test_an_api_key_will_do(open_platform: Callable[[str], Any]) -> None:
    page = open_platform("sam")
    page.get_by_label("API key").fill("key-10034")
    page.locator("#login-key").get_by_role("button").click()
    _expect(page, "#state", "Ready")
    _expect(page, "#subscriptions", "user:10034")


def test_a_wrong_password_is_said_in_words(open_platform: Callable[[str], Any]) -> None:
    page = open_platform("admin")
    with_password = page.locator("#login-password")
    with_password.get_by_label("E-mail").fill("alice@example.com")
    with_password.get_by_label("Password").fill("wrong")
    with_password.get_by_role("button").click()
    _expect(page, "#state", "Not connected")
    assert page.locator("#message").inner_text()
    assert _events(page)[-1]["name"] == "ERROR"


def _expect(page: Any, selector: str, text: str) -> None:
    playwright.expect(page.locator(selector)).to_contain_text(text, timeout=15_000)


def _expect_no_call(page: Any) -> None:
    playwright.expect(page.locator("#no-calls")).to_be_visible(timeout=15_000)


def _events(page: Any) -> list[dict[str, Any]]:
    """The events that the page shows, the oldest first."""
    return [json.loads(text) for text in reversed(page.locator("#log pre").all_text_contents())]


def _events_in_order(page: Any, *names: str) -> None:
    told = " ".join(event["name"] for event in _events(page) if "call" in event)
    assert re.search(" .*".join(names), told), told


def _ring(demo: Demo, to: str, number: str, name: str) -> None:
    _post(demo, "ring", {"to": to, "from": number, "name": name})


def _act(demo: Demo, action: str) -> None:
    """What somebody does with the one telephone that rings."""
    state = _state(demo)
    while not state["calls"]:  # INITIAL is said before the telephone system has been asked
        state = _state(demo, f"?since={state['revision']}")
    (call,) = state["calls"]
    _post(demo, f"calls/{call['id']}/{action}", {})


def _state(demo: Demo, query: str = "") -> dict[str, Any]:
    with urlopen(f"{demo.sandbox}console/api/state{query}", timeout=30) as answer:
        return json.load(answer)


def _post(demo: Demo, path: str, body: dict[str, str]) -> None:
    headers = {"Content-Type": "application/json"}
    urlopen(Request(f"{demo.sandbox}console/api/{path}", json.dumps(body).encode(), headers), timeout=15).close()
