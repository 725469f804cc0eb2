"""A call does not take from the agent what she is doing; and a keyboard is enough."""

import pytest

from .agent import Agent, Window, expect
from .console import Console

pytestmark = pytest.mark.browser

DANA = "+442079460018"
FOCUSED = """() => {
  let node = document.activeElement;
  while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
  return node?.getAttribute("aria-label") || node?.textContent.trim() || node?.name || node?.tagName;
}"""


def test_a_form_with_unsaved_edits_is_not_left(alice: Agent, console: Console) -> None:
    desk = alice.window("contacts/2/edit/").expect_ready()
    notes = desk.page.get_by_label("Notes")
    notes.fill("Half a sentence")
    call_id = console.ring("10031", DANA, "Dana")
    card = desk.expect_card("Incoming call", "Dana Whitfield", "There are unsaved changes on this page, so it stays.")
    with alice.context.expect_page() as opened:
        card.get_by_role("link", name="Open in a new tab").click()
    record = Window(opened.value, desk.site)
    record.expect_path(r"/contacts/1/")
    record.expect_card("Incoming call", "Dana Whitfield")
    assert desk.path == "/contacts/2/edit/"
    expect(notes).to_have_value("Half a sentence")
    desk.press("Answer")
    desk.expect_card("Connected")
    console.act(call_id, "hangup")
    desk.expect_card("Call ended")
    assert desk.path == "/contacts/2/edit/"
    expect(notes).to_have_value("Half a sentence")


def test_what_is_typed_while_it_rings_goes_where_it_was_meant(alice: Agent, console: Console) -> None:
    desk = alice.window("contacts/2/edit/").expect_ready()
    notes = desk.page.get_by_label("Notes")
    notes.click()
    desk.page.keyboard.type("one ")
    call_id = console.ring("10031", DANA)
    desk.expect_card("Incoming call")
    desk.page.keyboard.type("two ")
    desk.page.keyboard.press("Alt+Shift+A")
    desk.expect_card("Connected")
    desk.page.keyboard.type("three")
    expect(notes).to_have_value("one two three")
    console.wait_for_state(call_id, "CONNECTED")


def test_who_is_among_the_recent_calls_stays_there_whatever_happens(alice: Agent, console: Console) -> None:
    desk = alice.window("companies/").expect_ready()
    call_id = console.ring("10031", DANA)
    desk.expect_path(r"/contacts/\d+/")
    desk.expect_card("Incoming call")
    console.act(call_id, "hangup")
    desk.expect_no_card()
    desk.bar.locator(".toggle").click()
    back = desk.bar.get_by_role("button", name="Call back").first
    back.focus()
    desk.page.keyboard.press("Enter")
    desk.expect_card("Your phone is ringing")
    assert str(desk.page.evaluate(FOCUSED)).startswith("Call back")


def test_a_desk_does_without_what_cannot_be_loaded_and_has_it_when_it_can(alice: Agent, console: Console) -> None:
    desk = alice.window("companies/")
    alice.context.route("**/panels*.js", lambda route: route.abort())
    desk.expect_ready()
    for time in range(3):
        call_id = console.ring("10031", "withheld")
        desk.expect_card("Incoming call")
        desk.press("Answer")
        desk.expect_card("Connected")
        expect(desk.button("Transfer")).to_be_hidden()
        if time < 2:
            console.act(call_id, "hangup")
            desk.press("Done")
    assert desk.page.evaluate(LOADING) <= 2  # the last attempt may still go on
    alice.context.unroute("**/panels*.js")
    desk.press("Hold")
    desk.press("Resume")
    expect(desk.button("Transfer")).to_be_visible()
    assert desk.page.evaluate(LOADING) == 2
    assert {complaint.partition(":")[0] for complaint in alice.complaints} == {"Failed to load resource"}
    alice.complaints.clear()


LOADING = """[document, document.querySelector("cti-call-bar").shadowRoot]
    .reduce((count, root) => count + root.querySelectorAll('[src*="panels"], [href*="panels"]').length, 0)"""


def test_a_call_is_lived_with_the_keyboard_alone(alice: Agent, console: Console) -> None:
    desk = alice.window("companies/").expect_ready()
    keyboard = desk.page.keyboard
    call_id = console.ring("10031", DANA)
    desk.expect_path(r"/contacts/\d+/")
    desk.expect_card("Incoming call")
    _tab_to(desk, "Answer")
    keyboard.press("Enter")
    desk.expect_card("Connected")
    keyboard.press("Enter")  # once too often: nothing more is pressed by it
    desk.expect_card("Connected")
    keyboard.press("Alt+Shift+O")
    desk.expect_card("On hold")
    keyboard.press("Alt+Shift+O")
    desk.expect_card("Connected")
    keyboard.press("Alt+Shift+X")
    expect(desk.bar.get_by_label("Colleague or number")).to_be_focused()
    expect(desk.button("Transfer").first).to_have_attribute("aria-expanded", "true")
    keyboard.press("Escape")
    expect(desk.bar.get_by_label("Colleague or number")).to_be_hidden()
    assert desk.page.evaluate(FOCUSED) == "Transfer"
    keyboard.press("Alt+Shift+H")
    console.wait_for_state(call_id, "HANGUP")
    desk.expect_card("Call ended")

    console.phone("10031", behaviour="answers")
    keyboard.press("Alt+Shift+D")
    expect(desk.bar.get_by_label("Number to call")).to_be_focused()
    keyboard.type("0161 496 0100")
    keyboard.press("Enter")
    expect(desk.cards.filter(has_text="Pennine Bikes")).to_have_count(1)
    call_id = console.wait_for_call()
    console.wait_for_state(call_id, "CONNECTED")
    expect(desk.cards.filter(has_text="Pennine Bikes")).to_contain_text("Connected")
    keyboard.press("Alt+Shift+H")
    console.wait_for_state(call_id, "HANGUP")


def test_a_number_on_the_page_dials_by_enter(alice: Agent, console: Console) -> None:
    desk = alice.window("contacts/1/").expect_ready()
    desk.page.locator(".facts").get_by_role("link", name="Call 020 7946 0018").focus()
    desk.page.keyboard.press("Enter")
    desk.expect_card("Your phone is ringing", "Dana Whitfield")
    console.act(console.wait_for_call(), "decline")
    desk.expect_no_card()


def test_the_folded_bar_still_says_who_calls(alice: Agent, console: Console) -> None:
    desk = alice.window("companies/").expect_ready()
    desk.press("Fold the telephone away")
    expect(desk.bar.get_by_label("Number to call")).to_be_hidden()
    console.ring("10031", DANA)
    desk.expect_path(r"/contacts/\d+/")
    desk.expect_card("Incoming call", "Dana Whitfield")
    assert desk.cards.bounding_box()["height"] < 60
    desk.press("Answer")
    expect(desk.button("Hang up")).to_be_visible()
    expect(desk.bar.get_by_label("Note")).to_be_hidden()
    desk.press("Show the telephone")
    expect(desk.bar.get_by_label("Note")).to_be_visible()
    expect(desk.bar.get_by_label("Number to call")).to_be_visible()


def test_the_end_of_a_page_can_be_scrolled_above_the_cards(alice: Agent, console: Console) -> None:
    desk = alice.window("contacts/2/edit/").expect_ready()
    desk.page.get_by_label("Notes").fill("Half a sentence")
    console.ring("10031", DANA)
    desk.expect_card("Incoming call", "There are unsaved changes on this page, so it stays.")
    desk.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    save = desk.page.get_by_role("button", name="Save").bounding_box()
    assert save["y"] + save["height"] <= desk.cards.bounding_box()["y"]


def _tab_to(desk: Window, name: str) -> None:
    for _ in range(100):
        desk.page.keyboard.press("Tab")
        if desk.page.evaluate(FOCUSED) == name:
            return
    raise AssertionError(f"{name} is not reached with the Tab key")
