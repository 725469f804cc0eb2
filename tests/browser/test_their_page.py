"""A page that was written for VoIPstudio's connector works with our script in the place of its two."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .agent import Agent, expect
from .console import Console

pytestmark = pytest.mark.browser

FOLDER = Path(__file__).parent
TYPES = {"html": "text/html", "js": "text/javascript"}


@pytest.fixture
def open_page(hire) -> Callable[[str], Any]:
    """A function that logs somebody in to the site and gives that page, as if it were one of the site's own."""
    return lambda username: _open(hire(username))


def _open(agent: Agent) -> Any:
    # What a test hands to Chromium comes from no address at all, and must be told that it may speak to this machine.
    agent.context.grant_permissions(["local-network-access"])
    agent.context.route("**/helpdesk/their_page.*", _serve)
    return agent.window("helpdesk/their_page.html").page


def _serve(route: Any) -> None:
    name = route.request.url.rsplit("/", 1)[-1]
    route.fulfill(path=FOLDER / name, content_type=TYPES[name.rsplit(".", 1)[-1]])


def test_a_day_on_a_page_written_for_another_connector(open_page, console: Console) -> None:
    page = open_page("carol")
    status, caller = page.locator("#status"), page.locator("#caller")
    page.get_by_label("E-mail").fill("carol@example.com")
    page.get_by_label("Password").fill("sandbox")
    page.get_by_role("button", name="Sign in").click()
    expect(status).to_have_text("ready, watching 1")

    call_id = console.ring("10033", "+442079460018", "Dana")
    expect(caller).to_have_text("Dana calls from 442079460018")
    page.get_by_role("button", name="Pick up").click()
    expect(status).to_have_text("talking")
    console.wait_for_state(call_id, "CONNECTED")
    page.get_by_role("button", name="Hang up").click()
    console.wait_for_state(call_id, "HANGUP")
    expect(status).to_have_text("over")
    expect(page.locator("#history li")).to_have_text(
        ["LOGGED_IN", "SUBSCRIBED", "READY", "RINGING", "CONNECTED", "HANGUP"]
    )

    page.get_by_role("button", name="Ring back").click()
    expect(caller).to_have_text("calling +442079460018")
    call_id = console.wait_for_call()
    console.act(call_id, "answer", "agent")
    console.wait_for_state(call_id, "RINGING")
    console.act(call_id, "answer", "remote")
    expect(status).to_have_text("talking")
    page.get_by_role("button", name="Hang up").click()
    expect(status).to_have_text("over")
    expect(page.locator("#history li")).to_have_text(
        [
            "LOGGED_IN",
            "SUBSCRIBED",
            "READY",
            "RINGING",
            "CONNECTED",
            "HANGUP",
            "INITIAL",
            "ACCEPTED",
            "RINGING",
            "CONNECTED",
            "HANGUP",
        ]
    )


def test_a_wrong_password_comes_as_an_error(open_page) -> None:
    page = open_page("admin")
    page.get_by_label("E-mail").fill("carol@example.com")
    page.get_by_label("Password").fill("not that")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#history li")).to_have_text(["ERROR"])
    expect(page.locator("#status")).not_to_have_text("offline")
