"""A telephone system that can do everything: whom to ask first, keys, queues, pause, who is free."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.example.demo_site import Demo, running_demo

from .agent import Agent, Window, expect
from .console import Console
from .house import CALLS_BACK, ENDS_ALL
from .test_undisturbed import FOCUSED

pytestmark = pytest.mark.browser

LOOKS = {
    "light": {"color_scheme": "light"},
    "dark and narrow": {"color_scheme": "dark", "viewport": {"width": 360, "height": 740}},
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo on that system."""
    with running_demo(tmp_path_factory.mktemp("house"), "tests.browser.house_settings") as running:
        yield running


@pytest.fixture
def desk_of(chromium: Any, house: Demo, request: pytest.FixtureRequest) -> Iterator[Callable[..., Window]]:
    """A function that gives an agent's window; her calls are over when the test is."""
    agents: list[Agent] = []

    def open_desk(username: str, **look: Any) -> Window:
        agents.append(Agent(chromium, house, username, **look))
        return agents[-1].window("deals/").expect_ready()

    yield open_desk
    if agents:
        dial(agents[0].window("companies/").expect_ready(), ENDS_ALL)
    for agent in agents:
        agent.window("companies/").expect_ready().expect_no_card()
    complaints = [agent.complaints for agent in agents if agent.complaints]
    for agent in agents:
        agent.close()
    assert complaints == []


def called_by_dana(desk: Window) -> None:
    """She is connected with Dana, whose record is open."""
    dial(desk, CALLS_BACK)
    desk.expect_path(r"/contacts/\d+/")
    desk.expect_card("Incoming call", "Dana Whitfield")
    desk.press("Answer")
    desk.expect_card("Connected")


def dial(desk: Window, number: str) -> None:
    desk.bar.get_by_label("Number to call").fill(number)
    desk.press("Call")


def test_a_caller_is_handed_to_a_colleague_who_is_asked_first(desk_of) -> None:
    bob, alice = desk_of("bob"), desk_of("alice")
    called_by_dana(alice)
    alice.press("Transfer")
    users = alice.bar.locator(".users li")
    expect(users).to_have_count(5)
    texts = users.all_inner_texts()
    assert {text.partition(" ·")[0] for text in texts[-2:]} == {"Carol Agent", "Abel Absent"}  # who is off comes last
    expect(alice.button("Bob Agent · 10032 Free")).to_be_visible()
    expect(alice.button("Dave Dutiful · 10035 Busy")).to_be_visible()
    assert alice.nameless() == []
    alice.press("Ask first: Bob Agent · 10032")
    alice.expect_card("On hold", "Asking Bob Agent · 10032", "Connect them", "Back to Dana Whitfield")
    expect(alice.button("Hang up")).to_be_hidden()
    assert "Asking Bob Agent" in alice.bar.locator(".unseen[role=status]").inner_text()

    bob.expect_path(r"/cti/pop/\w+/")
    bob.expect_card("Incoming call", "Alice Agent")
    bob.press("Answer")
    bob.expect_card("Connected", "Alice Agent")
    alice.press("Connect them")
    bob.expect_path(r"/contacts/\d+/")
    expect(bob.heading()).to_contain_text("Dana Whitfield")
    bob.expect_card("Connected", "Dana Whitfield")
    alice.expect_card("Transferred · Bob Agent · 10032")
    bob.open("cti/calls/")  # what has popped does not pop again
    bob.expect_card("Connected", "Dana Whitfield")
    bob.press("Hang up")
    bob.expect_card("Call ended", "Dana Whitfield")
    assert bob.path == "/cti/calls/"
    bob.expect_after_reload(bob.page.locator(".cti-table"), "Dana Whitfield")


def test_she_may_go_back_to_the_caller(desk_of) -> None:
    bob, alice = desk_of("bob"), desk_of("alice")
    called_by_dana(alice)
    alice.page.keyboard.press("Alt+Shift+X")
    field = alice.bar.get_by_label("Colleague or number")
    expect(field).to_be_focused()
    field.fill("bob")
    alice.button("Ask first").click()
    alice.expect_card("Asking Bob Agent")
    bob.expect_card("Incoming call")
    alice.press("Back to Dana Whitfield")
    alice.expect_card("Connected", "Transfer")
    expect(alice.cards).not_to_contain_text("Asking")
    bob.expect_no_card()
    bob.press("Recent")
    expect(bob.bar.locator(".recent li").first).to_contain_text("Answered elsewhere")
    expect(bob.bar.locator(".recent .missed")).to_have_count(0)
    expect(bob.bar.locator(".count")).to_be_hidden()


def test_a_ringing_call_can_be_handed_on(desk_of) -> None:
    bob, alice = desk_of("bob"), desk_of("alice")
    dial(alice, CALLS_BACK)
    alice.expect_card("Incoming call", "Dana Whitfield")
    alice.press("Transfer")
    expect(alice.button("Ask first")).to_be_hidden()
    alice.press("Bob Agent · 10032 Free")
    bob.expect_path(r"/contacts/\d+/")
    bob.expect_card("Incoming call", "Dana Whitfield")
    alice.expect_no_card()


def test_keys_reach_the_other_side_in_order_however_fast(desk_of) -> None:
    alice = desk_of("alice")
    dial(alice, "020 7946 0999")
    alice.expect_card("Connected")
    alice.press("Keypad")
    assert alice.page.evaluate(FOCUSED) == "Keypad"
    alice.page.keyboard.type("12345678*#012345678*#0123")
    expect(alice.notices.last).to_have_text("Pressed 12345678*#012345678*#0123")
    alice.button("4").dblclick()
    alice.press("Star")
    alice.press("Hash")
    expect(alice.notices.last).to_have_text("Pressed 12345678*#012345678*#012344*#")
    expect(alice.cards.locator("output")).to_have_text("5678*#012345678*#012344*#"[-24:])
    assert alice.nameless() == []
    alice.button("9").click()
    alice.button("1").click()
    expect(alice.notices.last).to_have_text("That key is broken.")
    alice.page.keyboard.press("Escape")
    expect(alice.button("1")).to_be_hidden()
    assert alice.page.evaluate(FOCUSED) == "Keypad"
    alice.press("Hang up")


def test_how_she_stands_with_her_queues(desk_of) -> None:
    alice = desk_of("alice")
    alice.line.click()
    support, sales, both = (alice.button(name) for name in ("support", "sales", "All queues"))
    pause, dnd = alice.button("Pause"), alice.button("Do not disturb")
    for toggle, pressed in ((support, "true"), (sales, "false"), (both, "false"), (pause, "false"), (dnd, "false")):
        expect(toggle).to_have_attribute("aria-pressed", pressed)
    assert alice.nameless() == []
    both.click()
    for toggle in (support, sales, both):
        expect(toggle).to_have_attribute("aria-pressed", "true")
    sales.focus()
    alice.page.keyboard.press("Enter")
    expect(sales).to_have_attribute("aria-pressed", "false")
    expect(sales).to_be_focused()
    both.click()
    expect(both).to_have_attribute("aria-pressed", "true")
    both.click()
    expect(support).to_have_attribute("aria-pressed", "false")

    reason = alice.bar.get_by_label("Reason (optional)")
    reason.fill("Lunch")
    alice.page.keyboard.press("Enter")
    expect(pause).to_have_attribute("aria-pressed", "true")
    expect(pause).to_be_focused()
    expect(reason).to_be_hidden()
    dnd.click()
    expect(alice.line).to_have_text("Ready · 10031 · Paused · Do not disturb")
    alice.page.reload()
    expect(alice.line).to_have_text("Ready · 10031 · Paused · Do not disturb")
    alice.line.click()
    pause.click()
    dnd.click()
    expect(alice.line).to_have_text("Ready · 10031")


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_all_of_it_is_named_and_fits_the_window(desk_of, look: dict) -> None:
    desk_of("bob")
    alice = desk_of("alice", **look)
    called_by_dana(alice)
    for opener, shown in (("Transfer", "Ask first: Bob Agent · 10032"), ("Keypad", "Star")):
        alice.press(opener)
        expect(alice.button(shown)).to_be_visible()
    alice.line.click()
    expect(alice.button("All queues")).to_be_visible()
    width = alice.page.viewport_size["width"]
    for button in alice.bar.get_by_role("button").all():
        box = button.bounding_box()
        assert box is None or 0 <= box["x"] <= box["x"] + box["width"] <= width
    assert alice.nameless() == []
    assert not alice.is_wider_than_the_window()
    alice.press("Ask first: Bob Agent · 10032")
    alice.expect_card("Asking Bob Agent · 10032")
    assert not alice.is_wider_than_the_window()


def test_what_calls_need_is_loaded_with_the_first_one(alice: Agent, console: Console) -> None:
    desk = alice.window("deals/").expect_ready()
    assert not [name for name in _loaded(desk) if "panels" in name]
    call_id = console.ring("10031", "withheld")
    desk.expect_card("Incoming call")
    desk.press("Answer")
    expect(desk.button("Transfer")).to_be_visible()
    assert len([name for name in _loaded(desk) if "panels" in name]) == 2
    for missing in ("Keypad", "Ask first", "Pause"):
        expect(desk.button(missing)).to_be_hidden()
    console.act(call_id, "hangup")


def _loaded(desk: Window) -> list[str]:
    return desk.page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
