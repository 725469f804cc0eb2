"""Numbers that dial: the agent's own telephone rings first, then theirs."""

import pytest

from .agent import Agent, Window, expect
from .console import Console

pytestmark = pytest.mark.browser

OUTSIDE = "493023125118"


@pytest.fixture
def supplier(alice: Agent) -> Window:
    """The page of a contact whose number rings until somebody picks up."""
    desk = alice.window("contacts/?q=Brien").expect_ready()
    desk.page.get_by_role("link", name="O'Brien & Söhne", exact=True).click()
    desk.expect_path(r"/contacts/\d+/")
    return desk.expect_ready()


def test_a_click_calls_step_by_step(supplier: Window, console: Console) -> None:
    console.outside(OUTSIDE, "manual")
    number = _number(supplier)
    number.click()
    supplier.expect_card("Your phone is ringing", "O'Brien & Söhne", "+49 30 23125118")
    supplier.page.keyboard.press("Alt+Shift+H")
    for place in (supplier.cards.locator(".hint"), supplier.notices):
        expect(place).to_have_text("Pick up or decline on your telephone.")
    call_id = console.wait_for_call()
    console.act(call_id, "answer", "agent")
    supplier.expect_card("Ringing")
    console.act(call_id, "answer", "remote")
    supplier.expect_card("Connected")
    supplier.press("Hang up")
    console.wait_for_state(call_id, "HANGUP")
    supplier.expect_card("Call ended")
    assert supplier.event_names() == ["INITIAL", "ACCEPTED", "RINGING", "CONNECTED", "HANGUP"]
    assert supplier.path.startswith("/contacts/")


def test_her_telephone_refuses(supplier: Window, console: Console) -> None:
    console.phone("10031", behaviour="declines", seconds=1.1)  # sooner would mean: there is none
    _number(supplier).click()
    _expect_sentence(supplier)
    expect(_number(supplier)).not_to_have_attribute("aria-busy", "true")


def test_her_telephone_is_not_plugged_in(supplier: Window, console: Console) -> None:
    console.phone("10031", registered=False)
    _number(supplier).click()
    _expect_sentence(supplier)
    supplier.press("Dismiss")
    expect(supplier.notices).to_have_count(0)


def test_the_other_side_is_busy(supplier: Window, console: Console) -> None:
    console.phone("10031", behaviour="answers")
    console.outside(OUTSIDE, "busy", 0.1)
    _number(supplier).click()
    supplier.wait_for_event("HANGUP")
    supplier.expect_no_card()


def test_a_double_click_is_one_call(supplier: Window, console: Console) -> None:
    _number(supplier).dblclick()
    supplier.expect_card("Your phone is ringing")
    call_id = console.wait_for_call()
    expect(_number(supplier)).not_to_have_attribute("aria-busy", "true")
    _number(supplier).click()  # and a third one, while it rings
    expect(_number(supplier)).not_to_have_attribute("aria-busy", "true")  # it has been refused
    console.act(call_id, "answer", "agent")
    supplier.wait_for_event("ACCEPTED")
    assert [call["id"] for call in console.calls()] == [call_id]
    assert supplier.event_names().count("INITIAL") == 1


def test_the_dial_box_takes_a_number_as_it_is_written(supplier: Window, console: Console) -> None:
    supplier.bar.get_by_label("Number to call").fill("(020) 7946 0018")
    supplier.press("Call")
    supplier.expect_card("Your phone is ringing", "Dana Whitfield")
    (call,) = console.wait_for(lambda state: state["calls"])
    assert call["to"] == "442079460018"
    console.act(call["id"], "decline")
    supplier.expect_no_card()


def test_what_is_no_number_is_refused_in_words(supplier: Window, console: Console) -> None:
    field = supplier.bar.get_by_label("Number to call")
    field.fill("nobody at all")
    supplier.press("Call")
    _expect_sentence(supplier)
    expect(field).to_have_value("nobody at all")
    assert console.calls() == []


def _number(desk: Window) -> object:
    return desk.page.locator(".facts").get_by_role("link", name="Call +49 30 23125118")


def _expect_sentence(desk: Window) -> None:
    """Something is said that a person understands, once, and nothing rings."""
    expect(desk.notices).to_have_count(1)
    sentence = desk.notices.inner_text().strip()
    assert sentence[0].isupper(), sentence
    assert sentence.endswith("."), sentence
    assert not any(character in sentence for character in "{}<>_"), sentence
    desk.expect_no_card()
