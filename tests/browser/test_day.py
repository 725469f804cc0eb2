"""An agent's day: log in, a call, the caller's record, hold, transfer, hang up, a note."""

import pytest

from .agent import Agent, expect
from .console import Console

pytestmark = pytest.mark.browser

DANA = "+442079460018"


def test_a_day_on_the_telephone(hire, bob: Agent, console: Console) -> None:
    colleague = bob.window("deals/").expect_ready()
    desk = hire().window()
    desk.page.get_by_label("Username").fill("alice")
    desk.page.get_by_label("Password").fill("demo")
    desk.page.get_by_role("button", name="Log in").click()
    expect(desk.line).to_have_text("Ready · 10031")
    desk.expect_no_card()

    call_id = console.ring("10031", DANA, "Dana")
    desk.expect_path(r"/contacts/\d+/")
    record = desk.path
    expect(desk.heading()).to_contain_text("Dana Whitfield")
    desk.expect_card("Incoming call", "Dana Whitfield", "020 7946 0018", "Brightwater Dental")
    assert not desk.button("Hold").is_visible()

    desk.press("Answer")
    desk.expect_card("Connected")
    console.wait_for_state(call_id, "CONNECTED")
    desk.press("Hold")
    desk.expect_card("On hold")
    console.wait_for_state(call_id, "ON_HOLD")
    desk.press("Resume")
    desk.expect_card("Connected")
    console.wait_for_state(call_id, "CONNECTED")
    desk.bar.get_by_label("Note").fill("Asks for two more chairs.")
    expect(desk.cards.locator(".noteState")).to_have_text("Saved")

    desk.press("Transfer")
    desk.bar.get_by_label("Colleague or number").fill("bo")
    desk.bar.get_by_role("button", name="Bob Agent · 10032").click()
    colleague.expect_path(record)
    colleague.expect_card("Incoming call", "Dana Whitfield", "020 7946 0018")
    desk.expect_card("Transferred · Bob Agent")
    desk.press("Done")
    desk.expect_no_card()
    assert desk.path == record

    colleague.press("Answer")
    colleague.expect_card("Connected")
    colleague.bar.get_by_label("Note").fill("Chairs are ordered.")
    colleague.press("Hang up")
    console.wait_for_state(call_id, "HANGUP")
    colleague.expect_card("Call ended")
    expect(colleague.cards.locator(".noteState")).to_have_text("Saved")

    history = desk.page.get_by_role("region", name="Calls")
    for text in ("Asks for two more chairs.", "Chairs are ordered.", "Alice Agent", "Bob Agent"):
        desk.expect_after_reload(history, text)
    desk.open("cti/calls/")
    row = desk.page.get_by_role("rowgroup").nth(1)
    expect(row).to_contain_text("Asks for two more chairs.")
    expect(row).to_contain_text("020 7946 0018")
    colleague.open("cti/calls/")
    expect(colleague.page.get_by_role("rowgroup").nth(1)).to_contain_text("Chairs are ordered.")
    colleague.press("Recent")
    expect(colleague.bar.locator(".recent")).to_contain_text("Chairs are ordered.")


def test_a_note_written_after_the_call_survives_that_she_leaves_at_once(alice: Agent, console: Console) -> None:
    desk = alice.window().expect_ready()
    call_id = console.ring("10031", DANA)
    desk.expect_path(r"/contacts/\d+/")
    desk.press("Answer")
    desk.expect_card("Connected")
    console.act(call_id, "hangup")
    desk.expect_card("Call ended")
    desk.bar.get_by_label("Note").fill("Call back on Friday, 0161 496 0100.")
    desk.open("deals/")
    desk.bar.locator(".toggle").click()
    expect(desk.bar.locator(".recent")).to_contain_text("Call back on Friday")
    desk.page.wait_for_function("() => !Object.keys(sessionStorage).some((key) => key.startsWith('cti.note.'))")
    desk.open("cti/calls/")
    row = desk.page.get_by_role("rowgroup").nth(1)
    expect(row).to_contain_text("Call back on Friday")
    expect(row.get_by_role("link", name="0161 496 0100")).to_be_visible()


def test_a_call_that_nobody_takes_is_missed(alice: Agent, console: Console) -> None:
    desk = alice.window("companies/").expect_ready()
    call_id = console.ring("10031", DANA)
    desk.expect_path(r"/contacts/\d+/")
    desk.expect_card("Incoming call")
    assert not desk.button("Decline").is_visible()  # this telephone system cannot turn down a call that rings
    expect(desk.cards.locator(".hint")).to_have_text("To decline, use your telephone.")
    desk.page.keyboard.press("Alt+Shift+H")
    expect(desk.notices).to_have_text("To decline, use your telephone.")
    console.act(call_id, "hangup")
    desk.expect_no_card()
    expect(desk.bar.get_by_title("Missed calls")).to_be_visible()
    desk.open("cti/calls/?missed=1")
    expect(desk.page.get_by_role("rowgroup").nth(1)).to_contain_text("Missed")
