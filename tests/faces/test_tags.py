import ast
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import AnonymousUser
from django.template import Context, Template
from django.test import RequestFactory, override_settings
from django.urls import get_script_prefix, set_script_prefix

from cti_django import contacts
from cti_django.models import CallNote, ContactNumber
from cti_django.templatetags.bar_texts import BAR_TEXTS, LINE_TEXTS
from cti_django.templatetags.cti import MAX_HISTORY, MAX_LINKIFIED
from tests.faces.pages import DANA, HOSTILE, assert_strict, contact_source, make_agent, make_call, make_user
from tests.testapp.models import Badge, Person

STATIC = Path(__file__).parents[2] / "cti_django/static/cti_django"
DANA_LINK = '<a class="cti-call" href="tel:+442079460018" data-cti-number="+442079460018"'


def render(source: str, user=None, **values) -> str:
    request = RequestFactory().get("/")
    request.user = user or AnonymousUser()
    html = Template("{% load cti %}" + source).render(Context({"request": request, **values}))
    assert_strict(html)
    return html


# -- click to call


def call_link(number, **values) -> str:
    return render("{% click_to_call number label=label %}", number=number, **{"label": "", **values})


@pytest.mark.parametrize("written", ["+442079460018", "020 7946 0018", "+44 (0)20 7946 0018", "tel:+442079460018"])
def test_a_number_however_written_is_one_link(written):
    html = call_link(written)
    assert html == DANA_LINK + ' aria-label="Call 020 7946 0018"><span dir="ltr">020 7946 0018</span></a>'


@override_settings(CTI_DJANGO={"REGION": "DE"})
def test_a_foreign_number_is_shown_with_its_country():
    assert '<span dir="ltr">+44 20 7946 0018</span>' in call_link(DANA)


def test_a_label_stands_instead_of_the_number():
    html = call_link(DANA, label="Dana & Co")
    assert html == DANA_LINK + ' aria-label="Dana &amp; Co, 020 7946 0018">Dana &amp; Co</a>'


@pytest.mark.parametrize("number", ["", None, "unknown"])
def test_a_label_without_a_number_to_call_is_left_out(number):
    assert call_link(number, label="Call") == (number or "")


def test_an_extension_is_a_link():
    assert 'href="tel:10031" data-cti-number="10031"' in call_link("10031")


def test_an_extension_behind_a_number_stays_visible():
    html = call_link("020 7946 0018 x12")
    assert DANA_LINK in html
    assert "020 7946 0018 x12</span>" in html


@pytest.mark.parametrize(
    "text", ["", None, "anonymous", "withheld", "999", "1", "Dana", "020 7946 0018\r\nX: y", "0" * 300]
)
def test_what_nobody_should_dial_by_a_click_is_plain_text(text):
    html = call_link(text)
    assert "<a" not in html
    assert html == (text or "")


@pytest.mark.parametrize("source", ["{% click_to_call hostile %}", "{% click_to_call '020 7946 0018' label=hostile %}"])
def test_hostile_numbers_and_labels_are_escaped(source):
    assert "&lt;img src=x" in render(source, hostile=HOSTILE)


def test_any_object_whose_text_is_a_number_will_do():
    class Number:
        def __str__(self) -> str:
            return DANA

    assert DANA_LINK in call_link(Number())


# -- numbers in a text


def linkify(text) -> str:
    return render("{{ text|linkify_numbers }}", text=text)


def numbers_in(text) -> list[str]:
    return re.findall(r'data-cti-number="([^"]*)"', linkify(text))


def test_numbers_in_a_text_become_links_and_the_text_stays():
    html = linkify("Ring 020 7946 0018, or (020) 7946-0019.")
    assert numbers_in("Ring 020 7946 0018, or (020) 7946-0019.") == [DANA, "+442079460019"]
    assert re.sub("<[^>]*>", "", html) == "Ring 020 7946 0018, or (020) 7946-0019."


@pytest.mark.parametrize(
    "text",
    [
        "on 2024-01-02 at 12:30, not 31.12.2024",
        "£1,234.56 or 1.234.567,89 €",
        "order 12345678 and ID 2079460018",
        "card 4111 1111 1111 1111",
        "GB29 NWBK 6016 1331 9268 19",
        "https://example.com/02079460018 and 02079460018@example.com",
        "ticket #02079460018, file_02079460018.pdf, 02079460018.example.com",
        "192.168.100.200 v1.2.3",
        "999",
    ],
)
def test_dates_prices_ids_and_addresses_are_no_numbers(text):
    assert numbers_in(text) == []


def test_hostile_text_around_numbers_is_escaped():
    html = linkify(f"{HOSTILE} 020 7946 0018 & <b>+442079460019</b> \"'")
    assert html.count('class="cti-call"') == 2
    assert "&lt;b&gt;" in html
    assert "&amp; " in html
    assert "<b>" not in html


def test_text_that_was_marked_safe_is_escaped_all_the_same():
    html = render("{{ text|safe|linkify_numbers }}", text="<b title='020 7946 0018'>")
    assert "<b" not in html


@pytest.mark.parametrize(
    "piece", ["1-", "0 ", "+44 ", "020 7946 ", "(", "1", "1 1/", "12 34 56 78 9 ", "+442079460018 "]
)
def test_a_long_hostile_text_takes_no_time(piece):
    text = piece * (1_000_000 // len(piece))
    started = time.process_time()
    linkify(text)
    assert time.process_time() - started < 2


def test_what_is_beyond_the_cap_stays_plain_and_complete():
    tail = " 020 7946 0018 <i>"
    html = linkify("x" * MAX_LINKIFIED + tail)
    assert html.endswith(" 020 7946 0018 &lt;i&gt;")


def test_a_number_that_the_cap_would_cut_is_left_alone():
    assert numbers_in("x" * (MAX_LINKIFIED - 12) + " 020 79460018123") == []


def test_nothing_becomes_nothing():
    assert linkify(None) == ""


# -- the call bar

pytestmark = pytest.mark.django_db


def test_without_the_permission_there_is_no_bar():
    for user in (AnonymousUser(), make_user("carol")):
        assert render("{% cti_head %}{% call_bar %}", user).strip() == ""


def test_without_a_request_there_is_no_bar():
    assert Template("{% load cti %}{% cti_head %}{% call_bar %}").render(Context({})).strip() == ""


def test_the_head_names_the_style_sheet_and_every_script():
    html = render("{% cti_head %}", make_agent())
    scripts = re.findall(r'<script defer src="/static/cti_django/([^"]+)"', html)
    assert sorted([*scripts, "panels.js"]) == sorted(path.name for path in STATIC.glob("*.js"))
    panels = "/static/cti_django/panels"
    assert f'bar.js" data-panels="{panels}.js" data-panels-style="{panels}.css"' in html
    assert 'href="/static/cti_django/cti.css"' in html
    assert 'cti-connector.js" data-socket="/ws/cti/"' in html


def test_the_head_works_under_manifest_storage(tmp_path):
    storages = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}}
    with override_settings(STORAGES=storages, STATIC_ROOT=str(tmp_path)):
        from django.core.management import call_command

        call_command("collectstatic", interactive=False, verbosity=0)
        html = render("{% cti_head %}", make_agent())
    for path in re.findall(r'(?:src|href|data-panels|data-panels-style)="/static/([^"]+)"', html):
        assert re.search(r"\.[0-9a-f]{12}\.(js|css)$", path)
        assert (tmp_path / path).exists()


def bar_config(html: str) -> dict:
    return json.loads(re.search(r'<script id="cti-config" type="application/json">(.*)</script>', html)[1])


def test_the_bar_carries_its_configuration():
    html = render('{% call_bar face="admin" %}', make_agent())
    config = bar_config(html)
    assert "<cti-call-bar></cti-call-bar>" in html
    assert config == {
        "socket": "/ws/cti/",
        "face": "admin",
        "popPath": "/cti/pop/",
        "callsUrl": "/cti/calls/",
        "region": "GB",
        "strings": {},
    }


def test_below_a_path_the_socket_is_below_it_too():
    before = get_script_prefix()
    set_script_prefix("/crm/")
    try:
        assert 'data-socket="/crm/ws/cti/"' in render("{% cti_head %}", make_agent())
    finally:
        set_script_prefix(before)


def test_a_face_that_does_not_exist_is_the_site():
    assert bar_config(render('{% call_bar face="</script>" %}', make_agent()))["face"] == "site"


def test_the_bar_has_the_face_that_its_page_was_opened_with():
    assert bar_config(render("{% call_bar %}", make_agent(), cti_face="admin"))["face"] == "admin"


@override_settings(ROOT_URLCONF="tests.faces.no_urls")
def test_the_bar_works_in_a_project_without_our_urls():
    config = bar_config(render("{% call_bar %}", make_agent()))
    assert (config["popPath"], config["callsUrl"]) == ("", "")


@override_settings(LANGUAGE_CODE="de")
def test_the_bar_speaks_the_agents_language():
    assert bar_config(render("{% call_bar %}", make_agent()))["strings"]["Answer"] == "Annehmen"


def test_every_text_of_the_browser_code_is_known_to_the_translations():
    found = set()
    for path in STATIC.glob("*.js"):
        literals = re.findall(r'\bt\(\s*("(?:[^"\\]|\\.)*")', path.read_text())
        found |= {json.loads(literal) for literal in literals}
    assert found
    assert found - set(BAR_TEXTS) == set()


SAYING = {"CommandRefused", "ConnectionLost", "LoginRefused", "NotCapable", "SessionExpired", "InvalidNumber"}
SAYING |= {"SessionNotification", "SessionEvent", "DialNotification", "AMIError"}
READ_BY_ENGINEERS = {"What answers there is not Asterisk's manager interface."}  # AMILine puts the host before it


def _sentences_for_agents(tree: ast.Module) -> Iterator[str]:
    """The texts without a value in them that a module raises, or says, for an agent to read."""
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        said = [word.value for word in node.keywords if word.arg in ("message", "cause")] + node.args[:1]
        if node.func.id in SAYING:
            for each in said:
                text = constants.get(each.id) if isinstance(each, ast.Name) else getattr(each, "value", None)
                if isinstance(text, str) and text.endswith(".") and "{" not in text:
                    yield text


def test_every_sentence_for_agents_can_be_translated():
    package = STATIC.parents[1]
    files = [path for part in ("calls", "connectors", "sessions", "wire") for path in (package / part).rglob("*.py")]
    found = {text for path in files for text in _sentences_for_agents(ast.parse(path.read_text()))}
    assert len(found) > 40
    assert found - set(LINE_TEXTS) - READ_BY_ENGINEERS == set()


# -- call history


@pytest.fixture
def indexed():
    with contact_source(Person, "phone", "mobile"):
        person = Person.objects.create(name="Dana", phone="020 7946 0018")
        contacts.index(Person.objects.all())
        yield person


def history(user, record, limit: int = 20) -> str:
    return render("{% call_history record limit=limit %}", user, record=record, limit=limit)


def link_to(record) -> dict:
    return {"content_type_id": ContactNumber.objects.first().content_type_id, "object_id": str(record.pk)}


def test_history_shows_calls_by_number_and_calls_that_are_linked(indexed):
    alice = make_agent()
    make_call(alice, "by-number")
    make_call(alice, "linked", number="", kind="withheld", **link_to(indexed))
    make_call(alice, "strange", number="+442079460099")
    html = history(alice, indexed)
    assert "/cti/calls/by-number/" in html
    assert "/cti/calls/linked/" in html
    assert "strange" not in html


def test_a_call_that_is_not_over_is_no_history_yet(indexed):
    alice = make_agent()
    for state in ("RINGING", "CONNECTED", "ON_HOLD"):
        make_call(alice, state, state=state, end_reason="", ended_at=None)
    assert "No calls yet." in history(alice, indexed)


def test_a_withheld_call_belongs_to_nobody(indexed):
    alice = make_agent()
    make_call(alice, "withheld", number="", kind="withheld")
    assert "No calls yet." in history(alice, indexed)


def test_history_shows_the_newest_first_and_says_that_it_is_cut(indexed):
    alice = make_agent()
    for number in range(4):
        make_call(alice, f"c{number}", minutes=number)
    html = history(alice, indexed, limit=2)
    assert re.findall(r"/cti/calls/(c\d)/", html) == ["c3", "c2"]
    assert "Only the newest 2 calls are shown." in html


def test_history_takes_the_same_three_queries_for_any_number_of_calls(indexed, django_assert_num_queries):
    alice, bob = make_agent(), make_agent("bob")
    for number in range(30):
        record = make_call(bob if number % 2 else alice, f"c{number}", minutes=number)
        CallNote.objects.create(call=record, author=bob, text="hello")
    alice.has_perm("cti_django.use_telephone")
    with django_assert_num_queries(3):
        assert history(alice, indexed, limit=MAX_HISTORY * 100).count("hello") == 30


def test_calls_of_colleagues_are_shown_but_not_linked_without_supervision(indexed):
    alice = make_agent()
    make_call(alice, "mine", minutes=1)
    make_call(make_agent("bob"), "bobs")
    html = history(alice, indexed)
    assert html.count("3:07") == 2
    assert "/cti/calls/mine/" in html
    assert "bobs" not in html
    assert "/cti/calls/bobs/" in history(make_agent("sue", "cti_django.supervise_calls"), indexed)


def test_history_is_hidden_without_the_permission(indexed):
    make_call(None)
    assert history(make_user("carol"), indexed).strip() == ""


@override_settings(ROOT_URLCONF="tests.faces.no_urls")
def test_history_works_in_a_project_without_our_urls(indexed):
    alice = make_agent()
    make_call(alice)
    html = history(alice, indexed)
    assert "3:07" in html
    assert "/cti/" not in html


def test_a_record_that_is_not_saved_has_no_history():
    assert history(make_agent(), Person(name="new")).strip() == ""
    assert history(make_agent("bob"), None).strip() == ""


def test_any_model_may_have_a_history():
    alice = make_agent()
    assert "No calls yet." in history(alice, Badge.objects.create(holder="Bob"))


def test_hostile_names_and_notes_in_a_history_are_escaped(indexed):
    alice = make_agent(first_name=HOSTILE)
    record = make_call(alice, source_name=HOSTILE, source_raw="x", cause=HOSTILE)
    CallNote.objects.create(call=record, author=alice, text=HOSTILE)
    assert history(alice, indexed).count("&lt;img src=x") == 5  # the name is also a title


def test_a_duration_is_minutes_and_seconds():
    record = make_call(make_agent())
    assert render("{{ call|call_duration }}", call=record) == "3:07"
    record.connected_at = None
    assert render("{{ call|call_duration }}", call=record) == ""
