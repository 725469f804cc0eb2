"""Many tabs, one telephone: one tab rings and pops, and none of them owns the call."""

import re

import pytest

from .agent import Agent, expect
from .console import Console

pytestmark = pytest.mark.browser

DANA = "+442079460018"
RINGING = re.compile("^☎")


def test_one_of_two_tabs_pops(alice: Agent, console: Console) -> None:
    quiet = alice.window("deals/").expect_ready()
    loud = alice.window("companies/").expect_ready()
    call_id = console.ring("10031", DANA)
    loud.expect_path(r"/contacts/\d+/")
    loud.expect_card("Incoming call", "Dana Whitfield")
    quiet.expect_card("Incoming call", "Dana Whitfield")
    assert quiet.path == "/deals/"
    expect(loud.bar.get_by_role("alert")).to_have_count(1)
    expect(quiet.bar.get_by_role("alert")).to_have_count(0)
    expect(loud.page).to_have_title(re.compile("^☎ Dana Whitfield"))
    expect(quiet.page).to_have_title(re.compile("^Deals"))

    quiet.press("Answer")  # she may answer wherever she is
    for tab in (quiet, loud):
        tab.expect_card("Connected")
    expect(loud.page).to_have_title(re.compile("^Dana Whitfield"))
    console.act(call_id, "hangup")
    for tab in (quiet, loud):
        tab.expect_card("Call ended")
    assert quiet.path == "/deals/"


def test_the_tab_that_she_looks_at_pops(alice: Agent, console: Console) -> None:
    first = alice.window("deals/").expect_ready()
    second = alice.window("companies/").expect_ready()
    # Chromium without a screen believes that every tab has the focus; what changes is said here.
    second.page.evaluate("dispatchEvent(new Event('blur'))")
    first.page.evaluate("dispatchEvent(new Event('focus'))")
    first.wait_until_elected()
    console.ring("10031", DANA)
    first.expect_path(r"/contacts/\d+/")
    second.expect_card("Incoming call")
    assert second.path == "/companies/"


def test_when_the_tab_that_pops_is_closed_another_one_does(alice: Agent, console: Console) -> None:
    first = alice.window("deals/").expect_ready()
    second = alice.window("companies/").expect_ready()
    second.page.close()
    first.wait_until_elected()
    console.ring("10031", DANA)
    first.expect_path(r"/contacts/\d+/")


def test_the_call_goes_on_ringing_elsewhere_when_the_tab_that_popped_it_is_closed(
    alice: Agent, console: Console
) -> None:
    quiet = alice.window("deals/").expect_ready()
    loud = alice.window("companies/").expect_ready()
    console.ring("10031", DANA)
    loud.expect_path(r"/contacts/\d+/")
    loud.expect_card("Incoming call")
    expect(quiet.page).to_have_title(re.compile("^Deals"))
    loud.page.close()
    expect(quiet.page).to_have_title(RINGING)
    expect(quiet.bar.get_by_role("alert")).to_have_count(1)
    quiet.press("Answer")
    quiet.expect_card("Connected", "Dana Whitfield")
    assert quiet.path == "/deals/"  # it has popped already


def test_a_tab_that_is_elected_and_dead_leaves_the_pop_to_another_one(alice: Agent, console: Console) -> None:
    quick = alice.window("deals/").expect_ready()
    dead = alice.window("companies/").expect_ready()
    dead.page.evaluate("() => { Cti.desk.connector.pop = () => new Promise(() => {}); }")
    console.ring("10031", DANA)
    dead.expect_card("Incoming call", "Dana Whitfield")  # at once: the card waits for nobody's leave
    quick.expect_path(r"/contacts/\d+/")
    expect(quick.page).to_have_title(RINGING)
    expect(dead.page).to_have_title(re.compile("^Companies"))
    assert dead.path == "/companies/"


def test_two_browsers_of_one_agent_pop_once(hire, console: Console) -> None:
    office, home = hire("alice"), hire("alice")
    pops: list[str] = []
    for browser in (office, home):
        browser.context.on("request", lambda request: pops.append(request.url) if "/cti/pop/" in request.url else None)
    first = office.window("deals/").expect_ready()
    second = home.window("companies/").expect_ready()
    console.ring("10031", DANA)
    second.expect_path(r"/contacts/\d+/")
    first.expect_card("Incoming call", "Dana Whitfield")
    home.context.close()
    expect(first.page).to_have_title(RINGING)
    first.page.reload()
    first.expect_card("Incoming call", "Dana Whitfield")
    expect(first.page).to_have_title(RINGING)
    first.press("Answer")
    first.expect_card("Connected")
    expect(first.page).to_have_title(re.compile("^Deals"))
    assert first.path == "/deals/"
    assert len(pops) == 1


def test_what_is_edited_meanwhile_keeps_its_page_when_the_pop_falls_to_it(alice: Agent, console: Console) -> None:
    busy = alice.window("contacts/2/edit/").expect_ready()
    busy.page.get_by_label("Notes").fill("Half a sentence")
    dead = alice.window("companies/").expect_ready()
    dead.page.evaluate("() => { Cti.desk.connector.pop = () => new Promise(() => {}); }")
    console.ring("10031", DANA)
    busy.expect_card("Incoming call", "There are unsaved changes on this page, so it stays.")
    assert busy.path == "/contacts/2/edit/"


def test_going_back_does_not_pop_again(alice: Agent, console: Console) -> None:
    desk = alice.window("companies/").expect_ready()
    console.ring("10031", DANA)
    desk.expect_path(r"/contacts/\d+/")
    desk.expect_card("Incoming call")
    desk.page.go_back()
    desk.expect_card("Incoming call", "Dana Whitfield")
    desk.press("Answer")
    desk.expect_card("Connected")
    assert desk.path == "/companies/"


def test_a_reload_in_the_middle_of_a_call(alice: Agent, console: Console) -> None:
    desk = alice.window("companies/").expect_ready()
    call_id = console.ring("10031", DANA)
    desk.expect_path(r"/contacts/\d+/")
    desk.press("Answer")
    timer = desk.cards.locator(".timer")
    expect(timer).to_have_text("0:01")
    desk.page.reload()
    desk.expect_card("Connected", "Dana Whitfield")
    expect(timer).to_have_text(re.compile(r"0:0[1-9]"))
    assert desk.path.startswith("/contacts/")
    for name in ("Hold", "Transfer", "Hang up"):
        expect(desk.button(name)).to_be_visible()
    desk.open("deals/")  # the call is not the page's
    desk.expect_card("Connected", "Dana Whitfield")
    assert desk.path == "/deals/"
    desk.press("Hang up")
    console.wait_for_state(call_id, "HANGUP")
    desk.expect_card("Call ended")


def test_two_calls_at_once_have_a_card_each(alice: Agent, console: Console) -> None:
    desk = alice.window("contacts/1/edit/").expect_ready()
    desk.page.get_by_label("Notes").fill("stay here")
    first = console.ring("10031", DANA)
    desk.expect_card("Dana Whitfield")
    desk.press("Answer")
    desk.expect_card("Connected")
    second = console.ring("10031", "+493023125118")
    expect(desk.cards).to_have_count(2)
    ringing = desk.cards.filter(has_text="Incoming call")
    expect(ringing).to_contain_text("O'Brien & Söhne")
    expect(desk.bar.get_by_role("alert").filter(has_text="Incoming call")).to_have_count(1)
    console.act(second, "hangup")
    desk.expect_card("Connected", "Dana Whitfield")
    console.act(first, "hangup")
    desk.expect_card("Call ended")


def test_logging_out_in_one_tab_ends_the_telephone_in_the_other(hire, console: Console) -> None:
    carol = hire("carol")
    desk = carol.window("deals/").expect_ready()
    other = carol.window("companies/").expect_ready()
    other.page.get_by_role("button", name="Log out").click()
    other.expect_path("/accounts/login/")
    expect(other.bar).to_have_count(0)
    expect(desk.line).to_have_text("Signed out, or not permitted")
    expect(desk.button("Call")).to_be_disabled()
    console.ring("10033", DANA)
    desk.expect_no_card()
    assert desk.path == "/deals/"
