"""The pages of the example CRM, from outside."""

import re

import pytest

from .demo_site import Demo, Visitor

PAGES = [
    "",
    "contacts/",
    "contacts/?q=whitfield",
    "contacts/?page=2",
    "contacts/1/",
    "contacts/1/edit/",
    "contacts/new/",
    "companies/",
    "companies/1/",
    "companies/1/edit/",
    "deals/",
    "deals/1/",
    "deals/1/edit/",
    "deals/new/?contact=1&company=1",
    "cti/calls/",
    "platform/",
    "admin/",
    "admin/crm/contact/",
    "admin/crm/contact/1/change/",
]

INLINE = re.compile(
    r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\b(?:src=|type=\"application/json\"))", re.IGNORECASE
)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens_under_a_strict_content_security_policy(path: str, alice: Visitor) -> None:
    page = alice.get(path)
    assert page.status == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert INLINE.findall(page.text) == []


@pytest.mark.parametrize("path", [path for path in PAGES if not path.startswith("admin")])
def test_a_stranger_is_asked_to_log_in(path: str, demo: Demo) -> None:
    assert "/accounts/login/" in Visitor(demo.site).get(path).url


def test_every_page_of_an_agent_has_the_call_bar(alice: Visitor) -> None:
    for path in ("", "contacts/", "admin/", "cti/calls/"):
        assert alice.get(path).text.count("<cti-call-bar") == 1


def test_the_platform_page_uses_the_connector_alone(alice: Visitor) -> None:
    page = alice.get("platform/").text
    assert "<cti-call-bar" not in page
    scripts = re.findall(r'<script[^>]* src="([^"]+)"', page)
    assert [script.rpartition("/")[2] for script in scripts] == ["cti-connector.js", "platform.js"]


def test_the_list_of_contacts_finds_people_by_name_company_and_number(alice: Visitor) -> None:
    for query in ("whitfield", "dana+brightwater", "7946+0018"):
        assert "Dana Whitfield" in alice.get(f"contacts/?q={query}").text
    assert "Nobody called “nobody-of-that-name”" in alice.get("contacts/?q=nobody-of-that-name").text


def test_a_name_with_markup_characters_is_shown_as_it_is(alice: Visitor) -> None:
    assert "O&#x27;Brien &amp; Söhne" in alice.get("contacts/?q=brien").text


def test_the_form_for_a_new_contact_is_filled_in_with_the_caller(alice: Visitor) -> None:
    assert 'value="+442079460555"' in alice.get("contacts/new/?phone=%2B442079460555").text
    assert 'value="&quot;&gt;&lt;b&gt;"' in alice.get("contacts/new/?phone=%22%3E%3Cb%3E").text


def test_a_new_contact_with_a_further_number_is_kept(alice: Visitor) -> None:
    page = alice.post(
        "contacts/new/",
        {
            "first_name": "Nell",
            "last_name": "Newcomer",
            "phone": "020 7946 0777",
            "phones-0-label": "Boat",
            "phones-0-number": "01632 960777",
        },
    )
    assert re.search(r"/contacts/\d+/$", page.url)
    assert 'href="tel:+442079460777"' in page.text
    assert 'href="tel:+441632960777"' in page.text


def test_a_contact_without_a_name_is_refused_beside_its_field(alice: Visitor) -> None:
    page = alice.post("contacts/new/", {"first_name": "Nell"})
    assert page.url.endswith("/contacts/new/")
    assert "This field is required" in page.text


def test_people_without_the_right_see_no_telephone(demo: Demo) -> None:
    admin = Visitor(demo.site)
    admin.login("admin")
    fields = {"username": "guest", "password1": "a-guest-of-the-demo", "password2": "a-guest-of-the-demo"}
    assert admin.post("admin/auth/user/add/", {**fields, "usable_password": "true"}).status == 200
    guest = Visitor(demo.site)
    page = guest.post("accounts/login/", {"username": "guest", "password": "a-guest-of-the-demo"})
    assert page.url == demo.site
    assert "<cti-call-bar" not in page.text
    assert guest.get("contacts/").status == 403
