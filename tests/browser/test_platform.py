"""The platform page: each of its steps, against the running demo."""

import json
import re
from typing import Any

import pytest

from .agent import Agent, expect
from .console import Console

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def open_platform(hire) -> Any:
    """A function that logs a user in and gives the platform page."""

    def open_page(username: str) -> Any:
        page = hire(username).window("platform/").page
        expect(page.locator("#state")).to_contain_text("Platform ready")
        return page

    return open_page


def test_a_day_on_the_platform_page(open_platform, bob: Agent, console: Console) -> None:
    colleague = bob.window("deals/").expect_ready()
    page = open_platform("sam")
    _log_in(page, "carol@example.com", "sandbox")
    expect(page.locator("#state")).to_contain_text("Ready")
    expect(page.locator("#subscriptions")).to_contain_text("user:10033")
    assert page.locator("#login-password").get_by_label("Password").input_value() == ""

    # outbound: her own telephone first, then theirs
    page.locator("#call").get_by_label("Number").fill("020 7946 0018")
    page.locator("#call").get_by_role("button").click()
    expect(page.locator("#calls .status")).to_have_text("INITIAL")
    call_id = console.wait_for_call()  # INITIAL is said before the telephone system has been asked
    console.act(call_id, "answer", "agent")
    console.wait_for_state(call_id, "RINGING")
    console.act(call_id, "answer", "remote")
    expect(page.locator("#calls .status")).to_have_text("CONNECTED")
    expect(page.locator("#calls .details")).to_contain_text("Dana Whitfield")
    page.get_by_role("button", name="Terminate").click()
    expect(page.locator("#no-calls")).to_be_visible()
    told = " ".join(event["name"] for event in _events(page) if "call" in event)
    assert re.search("INITIAL .*ACCEPTED .*CONNECTED .*HANGUP", told), told

    # inbound, with a name that is markup; answered and handed to a colleague from the list
    console.ring("10033", "+442079460021", HOSTILE)
    expect(page.locator("#calls .status")).to_have_text("RINGING")
    expect(page.locator("#calls .details")).to_contain_text(HOSTILE)
    page.get_by_role("button", name="Answer").click()
    expect(page.locator("#calls .status")).to_have_text("CONNECTED")
    expect(page.locator('#colleagues option[value="10032"]')).to_have_count(1)
    page.get_by_label("Transfer to").fill("10032")
    page.get_by_role("button", name="Transfer", exact=True).click()
    expect(page.locator("#no-calls")).to_be_visible()
    colleague.expect_card("Incoming call", HOSTILE)

    # further nodes
    page.get_by_label("Node").fill("user:10032")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.locator("#subscriptions")).to_contain_text("user:10032")

    page.get_by_role("button", name="Disconnect").click()
    expect(page.locator("#state")).to_contain_text("Disconnected")
    assert {"LOGGED_IN", "SUBSCRIBED", "READY", "LOGGED_OUT"} <= {event["name"] for event in _events(page)}


def test_two_factor_is_asked_for_and_taken(open_platform) -> None:
    page = open_platform("sam")
    _log_in(page, "dave@example.com", "sandbox")
    expect(page.locator("#state")).to_contain_text("A code is needed")
    page.get_by_label("Code").fill("123456")
    page.get_by_role("button", name="Send code").click()
    expect(page.locator("#state")).to_contain_text("Ready")
    assert "TWO_FACTOR_AUTH" in [event["name"] for event in _events(page)]


def test_the_stored_account_needs_no_secret_in_the_page(open_platform) -> None:
    page = open_platform("bob")
    page.locator("#login-stored").get_by_role("button").click()
    expect(page.locator("#state")).to_contain_text("Ready")
    expect(page.locator("#subscriptions")).to_contain_text("user:10032")


def test_an_api_key_will_do(open_platform) -> None:
    page = open_platform("sam")
    page.get_by_label("API key").fill("key-10034")
    page.locator("#login-key").get_by_role("button").click()
    expect(page.locator("#state")).to_contain_text("Ready")
    expect(page.locator("#subscriptions")).to_contain_text("user:10034")


def test_a_wrong_password_is_said_in_words(open_platform) -> None:
    page = open_platform("admin")
    _log_in(page, "alice@example.com", "wrong")
    expect(page.locator("#state")).to_contain_text("Not connected")
    expect(page.locator("#message")).not_to_be_empty()
    assert _events(page)[-1]["name"] == "ERROR"


def _log_in(page: Any, email: str, password: str) -> None:
    form = page.locator("#login-password")
    form.get_by_label("E-mail").fill(email)
    form.get_by_label("Password").fill(password)
    form.get_by_role("button").click()


def _events(page: Any) -> list[dict[str, Any]]:
    """The events that the page shows, the oldest first."""
    return [json.loads(text) for text in reversed(page.locator("#log pre").all_text_contents())]
