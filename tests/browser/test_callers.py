"""Who calls: nobody known, one of several, somebody who does not say, somebody who means harm."""

import re

import pytest

from .agent import Agent, Window, expect
from .console import Console

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>"
QUOTED = '"Dana" <sip:x@y>\'"><script>alert(2)</script>'


def test_an_unknown_caller_becomes_a_contact(alice: Agent, console: Console) -> None:
    desk = alice.window().expect_ready()
    call_id = console.ring("10031", "+441632960999")
    desk.expect_path(r"/contacts/new/")
    expect(desk.page.get_by_label("Phone", exact=True)).to_have_value("+441632960999")
    card = desk.expect_card("Incoming call", "01632 960999")
    expect(card.locator(".name")).to_have_text("01632 960999")
    expect(card.locator(".detail")).to_be_hidden()  # the number once is enough
    expect(card.get_by_role("link", name="Create contact")).to_be_visible()
    desk.press("Answer")
    desk.expect_card("Connected")
    desk.page.get_by_label("Last name").fill("Newcomer")
    desk.page.get_by_role("button", name="Save").click()
    desk.expect_path(r"/contacts/\d+/")
    expect(desk.heading()).to_have_text("Newcomer")
    console.act(call_id, "hangup")
    desk.expect_card("Call ended")
    desk.expect_after_reload(desk.page.get_by_role("region", name="Calls"), "01632 960999")

    desk.open("deals/").expect_ready()
    console.ring("10031", "+441632960999")
    desk.expect_path(r"/contacts/\d+/")
    expect(desk.heading()).to_have_text("Newcomer")


def test_a_shared_number_asks_once(alice: Agent, console: Console) -> None:
    desk = alice.window().expect_ready()
    call_id = console.ring("10031", "+441614960021")
    desk.expect_path(r"/cti/pop/\w+/")
    expect(desk.heading()).to_have_text("Who is it?")
    card = desk.expect_card("Incoming call", "Henry Ashdown", "Ruth Ashdown")
    expect(card.get_by_role("listitem")).to_have_count(2)
    desk.page.get_by_role("main").get_by_role("button", name=re.compile("Ruth Ashdown")).click()
    desk.expect_path(r"/contacts/\d+/")
    expect(desk.heading()).to_contain_text("Ruth Ashdown")
    record = desk.path
    console.act(call_id, "hangup")
    desk.expect_no_card()
    desk.expect_after_reload(desk.page.get_by_role("region", name="Calls"), "0161 496 0021")

    desk.open().expect_ready()
    console.ring("10031", "+441614960021")
    desk.expect_path(record)
    desk.expect_card("Incoming call", "Ruth Ashdown")


@pytest.mark.parametrize("number", ["", "withheld"], ids=["no number", "withheld"])
def test_a_withheld_number_is_said_to_be_withheld(alice: Agent, console: Console, number: str) -> None:
    desk = alice.window().expect_ready()
    console.ring("10031", number)
    desk.expect_path(r"/cti/pop/\w+/")
    expect(desk.heading()).to_have_text("Number withheld")
    card = desk.expect_card("Incoming call", "Number withheld")
    assert "anonymous" not in card.inner_text().lower()


def test_a_colleague_is_called_by_her_name(alice: Agent, console: Console) -> None:
    desk = alice.window().expect_ready()
    console.ring("10031", "10032")
    desk.expect_card("Incoming call", "Bob", "10032")


@pytest.mark.parametrize("name", [HOSTILE, QUOTED], ids=["markup", "quotes"])
def test_a_caller_who_is_called_markup_is_shown_as_text(hire, alice: Agent, console: Console, name: str) -> None:
    desk = alice.window().expect_ready()
    call_id = console.ring("10031", "withheld-by-no-means", name)
    desk.expect_path(r"/contacts/new/")
    _expect_text(desk, desk.expect_card("Incoming call"), name)
    desk.press("Answer")
    desk.expect_card("Connected")
    desk.bar.get_by_label("Note").fill(name)
    console.act(call_id, "hangup")
    desk.expect_card("Call ended")
    expect(desk.cards.locator(".noteState")).to_have_text("Saved")

    desk.open("cti/calls/")
    row = desk.page.get_by_role("rowgroup").nth(1)
    _expect_text(desk, row, name)
    desk.bar.locator(".toggle").click()
    _expect_text(desk, desk.bar.locator(".recent li").first, name)
    row.get_by_role("link").first.click()
    _expect_text(desk, desk.heading(), name)
    expect(desk.page.get_by_label("Your note")).to_have_value(name)
    _expect_text(desk.open(), desk.page.get_by_role("main"), "")

    admin = hire("admin").window("admin/cti_django/callrecord/")
    _expect_text(admin, admin.page.locator("#result_list tbody tr").first, name)
    admin.page.locator("#result_list tbody tr").first.get_by_role("link").first.click()
    admin.expect_path(r"/admin/cti_django/callrecord/\d+/change/")
    _expect_text(admin, admin.page.locator("#content"), name)


def test_a_contact_who_is_called_markup_is_shown_as_text(alice: Agent, console: Console) -> None:
    desk = alice.window("contacts/new/?phone=01632960666").expect_ready()
    desk.page.get_by_label("Last name").fill(HOSTILE)
    desk.page.get_by_role("button", name="Save").click()
    desk.expect_path(r"/contacts/\d+/")
    desk.open().expect_ready()
    console.ring("10031", "+441632960666", HOSTILE)
    desk.expect_path(r"/contacts/\d+/")
    _expect_text(desk, desk.expect_card("Incoming call"), HOSTILE)
    _expect_text(desk, desk.heading(), HOSTILE)
    alert = desk.bar.get_by_role("alert")
    _expect_text(desk, alert, HOSTILE)


def _expect_text(window: Window, place: object, text: str) -> None:
    expect(place).to_contain_text(text)
    for selector in ("img[src=x]", "script:not([src]):not([type='application/json']):not([id])"):
        expect(window.page.locator(selector)).to_have_count(0)
