"""Every page: nothing that a strict Content-Security-Policy forbids, nothing nameless, nothing too wide."""

import pytest

from .agent import Agent, expect
from .console import Console

pytestmark = pytest.mark.browser

PAGES = (
    "",
    "contacts/",
    "contacts/1/",
    "contacts/1/edit/",
    "contacts/new/",
    "companies/",
    "companies/1/",
    "deals/",
    "deals/1/",
    "deals/new/",
    "cti/calls/",
    "platform/",
)
ADMIN_PAGES = (
    "admin/",
    "admin/cti_django/connectoraccount/",
    "admin/cti_django/connectoraccount/1/change/",
    "admin/cti_django/connectoraccount/add/",
    "admin/cti_django/callrecord/",
    "admin/cti_django/callnote/",
    "admin/cti_django/agentlease/",
    "admin/cti_django/contactnumber/",
    "admin/cti_django/rememberedchoice/",
    "admin/crm/contact/",
    "admin/crm/contact/1/change/",
)
LOOKS = {
    "light": {"color_scheme": "light"},
    "dark and narrow": {"color_scheme": "dark", "viewport": {"width": 360, "height": 740}},
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_the_pages_of_the_site(hire, console: Console, look: dict) -> None:
    desk = hire("alice", **look).window().expect_ready()
    call_id = console.ring("10031", "+442079460018", "Dana with a name that is long enough for two lines")
    desk.expect_path(r"/contacts/1/")
    desk.expect_card("Incoming call")
    expect(desk.bar.get_by_role("alert")).to_have_count(1)
    desk.press("Answer")
    desk.expect_card("Connected")
    desk.press("Transfer")
    expect(desk.bar.get_by_role("button", name="Bob Agent · 10032")).to_be_visible()
    assert desk.nameless() == []
    for path in PAGES:
        desk.open(path)
        if path != "platform/":
            desk.expect_card("Connected")
            _expect_bar_in_the_window(desk)
        assert desk.nameless() == [], path
        assert not desk.is_wider_than_the_window(), path
    console.act(call_id, "hangup")


def _expect_bar_in_the_window(desk) -> None:
    width = desk.page.viewport_size["width"]
    for part in (desk.cards, desk.line, desk.button("Hang up"), desk.button("Transfer"), desk.button("Call")):
        box = part.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_the_pages_of_the_pop(alice: Agent, console: Console) -> None:
    desk = alice.window().expect_ready()
    for number in ("withheld", "+441134960022", "10033"):
        call_id = console.ring("10031", number)
        desk.expect_path(r"/cti/pop/\w+/")
        desk.expect_card("Incoming call")
        assert desk.nameless() == [], number
        desk.page.get_by_role("link", name="This call and its notes").click()
        desk.expect_path(r"/cti/calls/\w+/")
        desk.expect_card("Incoming call")
        assert desk.nameless() == [], number
        console.act(call_id, "hangup")
        desk.expect_no_card()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_of_the_admin(hire, newcomer, scheme: str) -> None:
    desk = hire(newcomer, color_scheme=scheme).window("admin/")
    for path in ADMIN_PAGES:
        desk.open(path)
        expect(desk.line).to_have_text("No telephone account")
        assert desk.nameless("cti-call-bar") == [], path


def test_a_visitor_gets_no_bar(hire) -> None:
    visitor = hire(viewport={"width": 360, "height": 740}).window("cti/calls/")
    visitor.expect_path("/accounts/login/")
    expect(visitor.bar).to_have_count(0)
    assert visitor.nameless() == []
    assert not visitor.is_wider_than_the_window()


def test_the_bar_is_readable_in_both_schemes(hire) -> None:
    """The text of the bar stands out from its ground by WCAG's 4.5 : 1."""
    for scheme in ("light", "dark"):
        desk = hire("alice", color_scheme=scheme).window().expect_ready()
        text, ground = desk.page.evaluate(
            """() => {
              const root = document.querySelector("cti-call-bar").shadowRoot;
              return [getComputedStyle(root.querySelector(".word")).color,
                      getComputedStyle(root.querySelector(".strip")).backgroundColor];
            }"""
        )
        light, dark = sorted((_luminance(colour) for colour in (text, ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (scheme, text, ground)
        assert (_luminance(ground) > 0.5) == (scheme == "light")


def _luminance(colour: str) -> float:
    """Of "rgb(26, 33, 48)", from 0 to 1. Source: WCAG 2.2, "relative luminance"."""
    channels = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
