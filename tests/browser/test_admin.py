"""The same telephone in Django's admin."""

import pytest

from .agent import Agent, expect
from .console import Console

pytestmark = pytest.mark.browser

DANA = "+442079460018"


def test_a_call_opens_the_callers_change_page(alice: Agent, console: Console) -> None:
    desk = alice.window("admin/").expect_ready()
    call_id = console.ring("10031", DANA, "Dana")
    desk.expect_path(r"/admin/crm/contact/\d+/change/")
    expect(desk.page.get_by_label("Last name")).to_have_value("Whitfield")
    desk.expect_card("Incoming call", "Dana Whitfield")
    desk.press("Answer")
    desk.expect_card("Connected")
    desk.bar.get_by_label("Note").fill("Seen from the admin.")
    desk.press("Hang up")
    desk.expect_card("Call ended")
    expect(desk.cards.locator(".noteState")).to_have_text("Saved")
    console.wait_for_state(call_id, "HANGUP")
    panel = desk.page.get_by_role("region", name="Telephone").filter(has=desk.page.get_by_role("table"))
    desk.expect_after_reload(panel, "Seen from the admin.")


def test_the_bar_is_on_every_page_of_the_admin(alice: Agent) -> None:
    desk = alice.window("admin/")
    for path in (
        "admin/",
        "admin/crm/",
        "admin/crm/contact/",
        "admin/crm/contact/add/",
        "admin/crm/contact/1/change/",
        "admin/crm/contact/1/history/",
        "admin/password_change/",
    ):
        desk.open(path).expect_ready()
        assert desk.nameless("cti-call-bar") == [], path


def test_numbers_in_the_admins_list_dial(alice: Agent, console: Console) -> None:
    desk = alice.window("admin/crm/contact/?q=Whitfield").expect_ready()
    desk.page.get_by_role("link", name="Call 020 7946 0018").click()
    desk.expect_card("Your phone is ringing", "Dana Whitfield")
    assert desk.path == "/admin/crm/contact/"
    console.act(console.wait_for_call(), "decline")
    desk.expect_no_card()


def test_an_unknown_caller_leads_to_the_admins_own_form(alice: Agent, console: Console) -> None:
    desk = alice.window("admin/").expect_ready()
    console.ring("10031", "+441632960777")
    desk.expect_path(r"/cti/pop/\w+/")
    expect(desk.heading()).to_have_text("An unknown number")
    desk.page.get_by_role("link", name="New contact").click()
    desk.expect_path(r"/admin/crm/contact/add/")
    expect(desk.page.get_by_label("Phone:", exact=True)).to_have_value("+441632960777")


def test_a_popup_of_the_admin_has_no_bar(alice: Agent) -> None:
    desk = alice.window("admin/crm/company/add/?_popup=1")
    expect(desk.page.get_by_label("Name")).to_be_visible()
    expect(desk.bar).to_have_count(0)
