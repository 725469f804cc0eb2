"""The demo on a real Asterisk instead of the sandbox: one setting, real phones, real browsers."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from threading import Thread
from typing import Any

import pytest

from tests.example.demo_site import Demo, running_demo
from tests.pbx.asterisk import Asterisk
from tests.pbx.phone import Phone, phone

from .agent import Agent, expect

pytestmark = pytest.mark.browser

SUPPLIER, NUMBER = "O'Brien & Söhne", "+49 30 23125118"


@pytest.fixture(scope="module")
def harbour(pbx: Asterisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo, whose agents telephone on `pbx`."""
    url = f"ami://cti:{pbx.secret}@127.0.0.1:{pbx.ami_port}"
    with running_demo(tmp_path_factory.mktemp("harbour"), ASTERISK_URL=url) as running:
        yield running


@pytest.fixture
def do() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """A function that has something done on an event loop of its own, beside Playwright's, and waits for it."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def plug_in(pbx: Asterisk, do: Callable[..., Any]) -> Iterator[Callable[..., Phone]]:
    """A function that plugs a phone in for an agent."""
    plugged: list[Any] = []

    def plug(agent: str, **traits: Any) -> Phone:
        device = phone(pbx, agent, **traits)
        started: Phone = do(device.__aenter__())
        plugged.append(device)
        return started

    yield plug
    for device in plugged:
        do(device.__aexit__(None, None, None))


@pytest.fixture
def hire_here(chromium: Any, harbour: Demo) -> Iterator[Callable[[str], Agent]]:
    """A function that logs somebody in; nothing may stand in their consoles afterwards."""
    agents: list[Agent] = []

    def hire(username: str) -> Agent:
        agents.append(Agent(chromium, harbour, username))
        return agents[-1]

    yield hire
    for agent in agents:
        agent.close()
    assert [agent.complaints for agent in agents if agent.complaints] == []


def test_a_click_calls_and_a_transfer_pops_the_far_side_on_the_colleagues_screen(hire_here, plug_in, do):
    far, hers, his = plug_in("public", is_outside=True), plug_in("1001"), plug_in("1002")
    alice, bob = hire_here("alice").window("contacts/?q=Brien").expect_ready(), hire_here("bob")
    elsewhere = bob.window("deals/").expect_ready()
    alice.page.get_by_role("link", name=SUPPLIER, exact=True).click()
    alice.expect_path(r"/contacts/\d+/")
    record = alice.path
    alice.expect_ready()

    alice.page.locator("a", has_text=NUMBER).first.click()  # her phone picks up by itself
    do(far.answer())
    alice.expect_card("Connected", SUPPLIER, NUMBER)
    do(hers.wait_for("talking"))
    do(far.wait_for("talking"))

    alice.press("Transfer")
    alice.press("Bob Agent · 1002 Free")
    elsewhere.expect_path(record)
    elsewhere.expect_card("Incoming call", SUPPLIER, NUMBER)
    alice.expect_card("Transferred · Bob Agent")
    do(hers.wait_for("idle"))
    elsewhere.press("Answer")
    elsewhere.expect_card("Connected")
    do(his.wait_for("talking"))
    do(far.wait_for("talking"))

    elsewhere.press("Hang up")
    do(far.wait_for("idle"))
    elsewhere.expect_card("Call ended")
    assert alice.event_names() == ["INITIAL", "ACCEPTED", "RINGING", "CONNECTED", "HANGUP"]
    expect(alice.notices).to_have_count(0)
