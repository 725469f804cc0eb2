"""The line to the telephone system is lost, and the log-in there ends."""

import json
from typing import Any

import pytest

from .agent import Window, expect
from .console import Console

pytestmark = pytest.mark.browser

DANA = "+442079460018"
TAKEN_OVER = {
    "state": "connecting",
    "code": "taking_over",
    "message": "Your session is being taken over from another server.",
    "nonce": "",
    "number": "",
    "capabilities": [],
    "subscriptions": [],
    "retryAt": None,
}


SNAPSHOT_OF_A_SUCCESSOR = """() => ({
  type: "snapshot", fence: 1e6, seq: 0, elected: true, session: Cti.desk.board.session, recent: [],
  calls: Cti.desk.board.calls.map((call) => ({ ...call, cause: "told anew" })),
})"""


@pytest.fixture
def desk(hire) -> Window:
    """The desk of somebody whom no other test needs."""
    return hire("carol").window("deals/").expect_ready()


def test_a_lost_line_is_said_and_comes_back(desk: Window, console: Console) -> None:
    console.fault("refuse_sockets")
    console.fault("drop_line", user="10033")
    expect(desk.line).to_contain_text("Line lost, reconnecting")
    expect(desk.button("Call")).to_be_disabled()
    console.fault("clear")
    desk.expect_ready()
    expect(desk.button("Call")).to_be_enabled()
    console.ring("10033", DANA)
    desk.expect_path(r"/contacts/\d+/")


def test_a_call_outlives_the_loss_of_the_line(desk: Window, console: Console) -> None:
    call_id = console.ring("10033", DANA)
    desk.expect_path(r"/contacts/\d+/")
    desk.press("Answer")
    desk.expect_card("Connected")
    console.fault("refuse_sockets")
    console.fault("drop_line", user="10033")
    expect(desk.line).to_contain_text("Line lost")
    console.fault("clear")
    desk.expect_ready()
    desk.expect_card("Connected", "Dana Whitfield")
    desk.press("Hang up")
    console.wait_for_state(call_id, "HANGUP")


def test_a_log_in_that_expires_says_so_and_can_be_renewed(desk: Window, console: Console) -> None:
    console.fault("expire_token", user="10033")
    desk.bar.get_by_label("Number to call").fill("020 7946 0018")
    desk.press("Call")
    expect(desk.line).to_have_text("Disconnected")
    console.fault("clear")
    desk.line.click()
    desk.press("Connect")
    desk.expect_ready()


def test_disconnecting_lasts_until_she_connects_again(desk: Window, console: Console) -> None:
    desk.line.click()
    desk.press("Disconnect")
    expect(desk.line).to_have_text("Disconnected")
    desk.open("companies/")
    expect(desk.line).to_have_text("Disconnected")
    console.ring("10033", DANA)
    desk.expect_no_card()
    desk.line.click()
    desk.press("Connect")
    desk.expect_ready()
    desk.expect_card("Incoming call", "Dana Whitfield")  # what rings meanwhile is told


def test_a_session_that_is_being_taken_over_is_said_and_takes_no_call_from_the_screen(hire, console: Console) -> None:
    carol = hire("carol")
    lines: list[Any] = []

    def stand_between(line: Any) -> None:
        line.connect_to_server()
        lines.append(line)

    carol.context.route_web_socket("**/ws/cti/", stand_between)
    desk = carol.window("contacts/2/edit/").expect_ready()
    desk.page.get_by_label("Notes").fill("stay here")
    call_id = console.ring("10033", DANA)
    desk.expect_card("Incoming call")
    desk.press("Answer")
    desk.expect_card("Connected")
    desk.bar.get_by_label("Note").fill("Asks for")

    lines[0].send(json.dumps({"type": "session", "session": TAKEN_OVER}))
    expect(desk.line).to_contain_text("Your session is being taken over from another server.")
    expect(desk.bar).to_have_attribute("data-state", "")
    desk.expect_card("Connected")
    expect(desk.bar.get_by_label("Note")).to_have_value("Asks for")
    expect(desk.button("Call")).to_be_enabled()
    desk.press("Hold")  # whoever takes the session over may take the command
    console.wait_for_state(call_id, "ON_HOLD")
    desk.expect_card("On hold")
    expect(desk.line).to_contain_text("Ready")

    # another server has it now, and knows the call under the same id
    desk.cards.evaluate("(card) => { card.isStillTheSame = true; }")
    desk.bar.get_by_label("Note").press_sequentially(" a chair")
    lines[0].send(json.dumps(desk.page.evaluate(SNAPSHOT_OF_A_SUCCESSOR)))
    desk.page.wait_for_function("() => Cti.desk.board.calls[0].cause === 'told anew'")
    desk.expect_card("On hold")
    assert desk.cards.evaluate("(card) => card.isStillTheSame")
    expect(desk.bar.get_by_label("Note")).to_have_value("Asks for a chair")
    assert desk.path == "/contacts/2/edit/"
    assert "HANGUP" not in desk.event_names()


def test_somebody_without_an_account_is_told(hire, newcomer) -> None:
    desk = hire(newcomer).window()
    expect(desk.line).to_have_text("No telephone account")
