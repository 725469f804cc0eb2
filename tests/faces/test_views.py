from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from cti_django import contacts, views
from cti_django.calls.numbers import classify
from cti_django.models import AgentLease, CallNote, CallRecord, RememberedChoice
from cti_django.sessions.pop import side_of
from tests.faces.pages import DANA, HOSTILE, assert_strict, contact_source, make_agent, make_call, make_user
from tests.testapp.models import Badge, Company, Person

pytestmark = pytest.mark.django_db

VIEW_PEOPLE = "testapp.view_person"


def create_person_url(number: str) -> str:
    return "/people/new/?" + urlencode({"phone": number})


@pytest.fixture
def people():
    with contact_source(Person, "phone", "mobile", detail="mobile", create_url=create_person_url):
        yield


@pytest.fixture
def alice():
    return make_agent("alice", VIEW_PEOPLE, "testapp.add_person")


@pytest.fixture
def sue():
    return make_agent("sue", "cti_django.supervise_calls", VIEW_PEOPLE)


def make_person(name: str = "Dana", phone: str = DANA, **fields) -> Person:
    person = Person.objects.create(name=name, phone=phone, **fields)
    contacts.index(Person.objects.all())
    return person


def browse(user) -> Client:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    return client


def get(user, url: str, status: int = 200):
    response = browse(user).get(url)
    assert response.status_code == status
    if status in (200, 202):
        assert_strict(response.content.decode())
    return response


def post(user, url: str, **data):
    client = browse(user)
    client.get(url)
    return client.post(url, {**data, "csrfmiddlewaretoken": client.cookies["csrftoken"].value})


# -- who may see what

PAGES = ["/cti/calls/", "/cti/calls/c1/", "/cti/pop/c1/"]


@pytest.mark.parametrize("url", PAGES)
def test_anonymous_people_are_sent_to_the_log_in(url, client, alice):
    make_call(alice)
    response = client.get(url)
    assert response.status_code == 302
    assert response.url.startswith("/accounts/login/?next=")


@pytest.mark.parametrize("url", PAGES)
def test_without_the_permission_every_page_is_forbidden(url, alice):
    make_call(alice)
    get(make_user("carol", "cti_django.supervise_calls"), url, status=403)


@pytest.mark.parametrize("url", PAGES[1:])
@pytest.mark.parametrize("method", ["get", "post"])
def test_another_agents_call_does_not_exist_for_an_agent(method, url, alice):
    make_call(make_agent("bob"))
    client = Client()
    client.force_login(alice)
    assert getattr(client, method)(url, {"text": "x", "choice": "1:1"}).status_code == 404
    assert not CallNote.objects.exists()


@pytest.mark.parametrize("url", PAGES[1:])
def test_a_supervisor_sees_the_calls_of_others(url, sue, people):
    make_call(make_agent("bob"))
    get(sue, url)


@pytest.mark.parametrize("url", PAGES)
def test_no_page_is_kept_by_a_cache(url, alice, people):
    make_call(alice)
    assert "no-store" in browse(alice).get(url)["Cache-Control"]


def test_a_post_without_the_token_is_refused(alice, people):
    make_call(alice)
    for url in PAGES[1:]:
        assert browse(alice).post(url, {"text": "x"}).status_code == 403


# -- where a pop leads


def test_one_match_leads_to_the_record(alice, people):
    person = make_person()
    make_call(alice)
    assert get(alice, "/cti/pop/c1/", status=302).url == f"/people/{person.pk}/"


def test_an_outbound_call_pops_whom_was_called(alice, people):
    person = make_person()
    make_call(alice, direction="OUTBOUND", source_raw="10031", destination_raw="442079460018")
    assert get(alice, "/cti/pop/c1/", status=302).url == f"/people/{person.pk}/"


def test_in_the_admin_staff_get_the_change_page(people):
    staff = make_agent("staff", VIEW_PEOPLE, is_staff=True)
    person = make_person()
    make_call(staff)
    with override_settings(ROOT_URLCONF="tests.faces.admin_urls"):
        assert get(staff, "/cti/pop/c1/?face=admin", 302).url == f"/admin/testapp/person/{person.pk}/change/"
        assert get(staff, "/cti/pop/c1/", 302).url == f"/people/{person.pk}/"


def test_in_the_admin_others_get_the_sites_page(alice, people):
    person = make_person()
    make_call(alice)
    with override_settings(ROOT_URLCONF="tests.faces.admin_urls"):
        assert get(alice, "/cti/pop/c1/?face=admin", 302).url == f"/people/{person.pk}/"


def test_a_record_without_a_page_is_named(alice):
    with contact_source(Badge, "extension", detail="extension"):
        agent = make_agent("bob", "testapp.view_badge")
        Badge.objects.create(holder=HOSTILE, extension="10077")
        contacts.index(Badge.objects.all())
        make_call(agent, kind="extension", number="10077")
        assert "&lt;img src=x" in get(agent, "/cti/pop/c1/").content.decode()


def test_several_matches_ask_who_it_is(alice, people):
    make_person(HOSTILE, mobile=HOSTILE)
    make_person("Eve")
    make_call(alice, source_name=HOSTILE)
    html = get(alice, "/cti/pop/c1/").content.decode()
    assert "Who is it?" in html
    assert html.count("&lt;img src=x") == 4  # the name is also a title


def choice_of(person: Person) -> str:
    from cti_django.models import ContactNumber

    row = ContactNumber.objects.get(object_id=str(person.pk))
    return f"{row.content_type_id}:{person.pk}"


def test_the_chooser_remembers(alice, people):
    make_person("Dana")
    eve = make_person("Eve")
    make_call(alice)
    response = post(alice, "/cti/pop/c1/", choice=choice_of(eve))
    assert response.url == f"/people/{eve.pk}/"
    remembered = RememberedChoice.objects.get()
    assert (remembered.agent, remembered.number, remembered.object_id) == (alice, DANA, str(eve.pk))
    make_call(alice, "c2")
    assert get(alice, "/cti/pop/c2/", status=302).url == f"/people/{eve.pk}/"
    assert CallRecord.objects.get(call_id="c1").object_id == str(eve.pk)


def test_a_choice_that_was_not_offered_is_no_choice(alice, people):
    make_person("Dana")
    make_person("Eve")
    stranger = make_person("Stranger", phone="+442079460099")
    make_call(alice)
    for choice in ("", "x", "1:1", choice_of(stranger), "https://evil.example/", "9" * 5000):
        assert post(alice, "/cti/pop/c1/", choice=choice).url == "/cti/pop/c1/"
    assert not RememberedChoice.objects.exists()


def test_looking_changes_nothing(alice, people):
    make_person("Dana")
    make_person("Eve")
    make_call(alice)
    before = list(CallRecord.objects.values())
    get(alice, "/cti/pop/c1/")
    assert list(CallRecord.objects.values()) == before
    assert not RememberedChoice.objects.exists()


def test_an_unknown_number_leads_to_the_page_that_creates_with_the_number_filled_in(alice, people):
    make_call(alice)
    response = get(alice, "/cti/pop/c1/", status=302)
    assert response.url == "/people/new/?phone=%2B442079460018"
    assert dict(parse_qsl(urlsplit(response.url).query)) == {"phone": DANA}


def test_with_several_kinds_of_record_the_agent_says_which_to_create(people):
    with contact_source(
        Company, "switchboard", create_url=lambda number: "/companies/new/?" + urlencode({"n": number})
    ):
        agent = make_agent("bob", "testapp.add_person", "testapp.add_company")
        make_call(agent, source_name=HOSTILE)
        html = get(agent, "/cti/pop/c1/").content.decode()
    assert 'href="/people/new/?phone=%2B442079460018"' in html
    assert 'href="/companies/new/?n=%2B442079460018"' in html


def test_who_may_create_nothing_is_shown_the_number(people):
    agent = make_agent("bob", VIEW_PEOPLE)
    make_call(agent)
    html = get(agent, "/cti/pop/c1/").content.decode()
    assert "Nobody has this number." in html
    assert f'data-cti-number="{DANA}"' in html
    assert "There is no page where you may create a record." in html
    assert "testapp" not in html


def test_staff_who_may_create_nothing_are_told_why():
    with contact_source(Person, "phone"):
        for name, permission, said in [
            ("bob", VIEW_PEOPLE, "testapp.add_person"),
            ("carl", "testapp.add_badge", "testapp.add_company"),
        ]:
            staff = make_agent(name, permission, is_staff=True)
            make_call(staff, name)
            with override_settings(ROOT_URLCONF="tests.faces.admin_urls"):
                assert said in get(staff, f"/cti/pop/{name}/").content.decode()


def test_without_a_page_of_the_sites_staff_may_create_a_record_in_the_admin():
    with contact_source(Person, "phone"):
        staff = make_agent("bob", "testapp.add_person", is_staff=True)
        make_call(staff)
        with override_settings(ROOT_URLCONF="tests.faces.admin_urls"):
            html = get(staff, "/cti/pop/c1/").content.decode()
    assert 'href="/admin/testapp/person/add/?phone=%2B442079460018"' in html


def test_in_the_admin_an_unknown_number_leads_to_the_admins_add_page(people):
    staff = make_agent("staff", "testapp.add_person", is_staff=True)
    make_call(staff)
    with override_settings(ROOT_URLCONF="tests.faces.admin_urls"):
        url = get(staff, "/cti/pop/c1/?face=admin", 302).url
        assert url == "/admin/testapp/person/add/?phone=%2B442079460018"
        assert f'value="{DANA}"' in browse(staff).get(url).content.decode()


def test_a_withheld_number_says_so(alice, people):
    make_call(alice, kind="withheld", number="", source_raw="anonymous", source_name="")
    html = get(alice, "/cti/pop/c1/").content.decode()
    assert "Number withheld" in html
    assert "new" not in html


def test_a_record_that_the_agent_may_not_see_is_only_known(people):
    agent = make_agent("bob")
    make_person("Secret Dana")
    make_call(agent, source_name="")
    html = get(agent, "/cti/pop/c1/").content.decode()
    assert "Known, no access" in html
    assert "Secret" not in html
    assert "testapp" not in html


def test_staff_are_told_which_permission_they_lack(people):
    agent = make_agent("bob", is_staff=True)
    make_person("Secret Dana")
    make_call(agent, source_name="")
    html = get(agent, "/cti/pop/c1/").content.decode()
    assert "testapp.view_person" in html
    assert "Secret" not in html


def test_staff_are_told_that_the_project_hides_a_record():
    with contact_source(Person, "phone", get_queryset=lambda user: Person.objects.none()):
        agent = make_agent("bob", VIEW_PEOPLE, "testapp.view_company", "testapp.view_badge", is_staff=True)
        make_person("Secret Dana")
        make_call(agent, source_name="")
        assert "No permission is missing" in get(agent, "/cti/pop/c1/").content.decode()


def test_an_internal_call_says_so(alice, people):
    make_call(alice, kind="extension", number="10032", source_raw="10032", source_name="Bob")
    assert "Internal call" in get(alice, "/cti/pop/c1/").content.decode()


@pytest.mark.parametrize("kind", ["alphanumeric", "sip-uri", "emergency", "unavailable"])
def test_no_kind_of_caller_breaks_the_pop(kind):
    make_call(make_agent("bob"), kind=kind, number="", source_raw=HOSTILE, source_name=HOSTILE)
    get(User.objects.get(username="bob"), "/cti/pop/c1/")


# -- a call that is not written yet


def give_session(user) -> None:
    AgentLease.objects.create(agent=user, holder="h", expires_at=timezone.now() + timedelta(minutes=1))


def test_a_call_that_is_not_written_yet_is_waited_for(alice):
    give_session(alice)
    url = "/cti/pop/late/?face=admin"
    for attempt in range(views.TRIES):
        response = get(alice, url, status=202)
        query = urlencode({"try": attempt + 2, "face": "admin"})
        seconds = 0 if attempt < views.QUICK_TRIES else 1
        assert f'content="{seconds}; url=?{query.replace("&", "&amp;")}"' in response.content.decode()
        url = "/cti/pop/late/?" + query
    get(alice, url, status=404)


def test_a_transfers_other_side_is_waited_for_until_it_is_written(alice, people):
    make_person()
    record = make_call(alice, number="10032", kind="extension", source_raw="10032")
    dana = side_of(classify("+442079460018"))
    response = get(alice, f"/cti/pop/c1/?side={dana}", status=202)
    assert f"?try=2&amp;side={dana}" in response.content.decode()
    get(alice, f"/cti/pop/c1/?side={dana}&try={views.TRIES + 1}")
    record.number, record.kind, record.source_raw = "+442079460018", "number", "442079460018"
    record.save()
    get(alice, f"/cti/pop/c1/?side={dana}", status=302)
    get(alice, "/cti/pop/c1/?side=<script>", status=202)


@pytest.mark.parametrize("attempt", ["-1", "0", "x", "٣", "9" * 5000, "1.5"])
def test_a_try_that_is_no_number_is_harmless(attempt, alice):
    give_session(alice)
    assert browse(alice).get("/cti/pop/late/", {"try": attempt}).status_code in (202, 404)


def test_a_call_of_others_looks_like_one_that_is_not_there(alice):
    AgentLease.objects.create(agent=alice, holder="here", expires_at=timezone.now() + timedelta(minutes=1))
    make_call(make_agent("bob"))
    assert get(alice, "/cti/pop/c1/", status=202).content == get(alice, "/cti/pop/c2/", status=202).content


def test_a_permission_withdrawn_by_another_process_counts_at_once(alice, people):
    make_person()
    make_call(alice)
    get(alice, "/cti/pop/c1/", status=302)
    alice.user_permissions.through.objects.filter(user=alice, permission__codename="view_person").delete()  # no signal
    assert "may not see" in get(alice, "/cti/pop/c1/").content.decode()


def test_an_unknown_call_is_not_found(alice):
    get(alice, "/cti/pop/unknown/", status=404)
    get(alice, "/cti/calls/unknown/", status=404)


def test_a_match_that_failed_is_tried_again_and_creates_nothing(alice, monkeypatch):
    monkeypatch.setattr(views, "match", lambda *args: contacts.Match(kind="none", failed=True))
    make_call(alice)
    get(alice, "/cti/pop/c1/", status=202)


# -- the call log


def shown(html: str) -> list[str]:
    return [part.split("/")[0] for part in html.split("/cti/calls/")[1:] if part[0] == "c"]


def test_the_log_shows_ones_own_calls_with_notes_newest_first(alice):
    for number in range(3):
        make_call(alice, f"c{number}", minutes=number)
    make_call(make_agent("bob"), "c9")
    CallNote.objects.create(call=CallRecord.objects.get(call_id="c1"), author=alice, text="call back on Monday")
    html = get(alice, "/cti/calls/?agents=all").content.decode()
    assert shown(html) == ["c2", "c1", "c0"]
    assert "call back on Monday" in html


def test_a_supervisor_may_see_everybodys_calls(alice, sue):
    make_call(alice, "c1")
    make_call(None, "c2")
    assert shown(get(sue, "/cti/calls/").content.decode()) == []
    assert shown(get(sue, "/cti/calls/?agents=all").content.decode()) == ["c2", "c1"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [("direction=inbound", ["c2", "c1"]), ("direction=outbound", ["c3"]), ("missed=1", ["c2"]), ("direction=x", None)],
)
def test_the_log_can_be_filtered(query, expected, alice):
    make_call(alice, "c1")
    make_call(alice, "c2", minutes=1, end_reason="missed")
    make_call(alice, "c3", minutes=2, direction="OUTBOUND")
    assert shown(get(alice, f"/cti/calls/?{query}").content.decode()) == (expected or ["c3", "c2", "c1"])


def test_the_log_has_pages(alice, monkeypatch):
    monkeypatch.setattr(views, "PAGE", 2)
    for number in range(5):
        make_call(alice, f"c{number}", minutes=number)
    url, pages = "/cti/calls/?direction=inbound", []
    while url:
        response = get(alice, url)
        pages.append(shown(response.content.decode()))
        older = response.context["older_url"]
        url = older and "/cti/calls/" + older
    assert pages == [["c4", "c3"], ["c2", "c1"], ["c0"]]
    assert response.context["newer_url"] == "?direction=inbound&page=2"


@pytest.mark.parametrize("page", ["0", "-1", "x", "99999999999999999999", "²"])
def test_a_page_that_does_not_exist_is_harmless(page, alice):
    get(alice, f"/cti/calls/?page={page}")


def test_the_log_takes_the_same_queries_for_any_number_of_calls(alice, django_assert_num_queries):
    client = browse(alice)
    for number in range(40):
        record = make_call(alice, f"c{number}", minutes=number)
        CallNote.objects.create(call=record, author=alice, text=f"note {number}")
    # session, user, the user's and the groups' permissions, calls, notes
    with django_assert_num_queries(6):
        assert client.get("/cti/calls/").content.count(b"note ") == 40


def test_hostile_texts_in_the_log_are_escaped(alice):
    record = make_call(alice, source_name=HOSTILE, cause=HOSTILE, source_raw="x")
    CallNote.objects.create(call=record, author=alice, text=HOSTILE)
    CallNote.objects.create(call=record, author=make_user("eve", first_name=HOSTILE), text=HOSTILE)
    assert get(alice, "/cti/calls/").content.decode().count("&lt;img src=x") == 5
    assert get(alice, "/cti/calls/c1/").content.decode().count("&lt;img src=x") == 6


# -- one call and its notes


def test_a_note_is_kept_and_shown_again(alice):
    make_call(alice)
    assert post(alice, "/cti/calls/c1/?face=admin", text="first").url == "/cti/calls/c1/?face=admin"
    post(alice, "/cti/calls/c1/", text="second")
    note = CallNote.objects.get()
    assert (note.author, note.text) == (alice, "second")
    assert "second</textarea>" in get(alice, "/cti/calls/c1/").content.decode()


def test_a_supervisors_note_stands_beside_the_agents(alice, sue):
    make_call(alice)
    post(alice, "/cti/calls/c1/", text="hers")
    post(sue, "/cti/calls/c1/", text="mine")
    html = get(sue, "/cti/calls/c1/").content.decode()
    assert "hers" in html
    assert "mine</textarea>" in html


def test_a_note_that_is_too_long_comes_back_with_a_reason(alice):
    make_call(alice)
    response = post(alice, "/cti/calls/c1/", text="x" * 10_001)
    assert response.status_code == 200
    assert "errorlist" in response.content.decode()
    assert not CallNote.objects.exists()


def test_a_call_links_to_the_record_of_the_other_side(alice):
    make_call(alice)
    assert f'href="{reverse("cti_django:pop", args=["c1"])}"' in get(alice, "/cti/calls/c1/").content.decode()


def test_a_caller_who_is_a_word_is_shown_by_it_and_a_withheld_one_is_not(alice):
    make_call(alice, "c1", kind="alphanumeric", number="", source_raw="PARCELS", source_name="PARCELS")
    make_call(alice, "c2", kind="withheld", number="", source_raw="anonymous", source_name="")
    html = get(alice, "/cti/calls/").content.decode()
    assert html.count("PARCELS") == 1
    assert "Withheld" in html
    assert "anonymous" not in html


@pytest.mark.parametrize("name", ["+44 20 7946 0018", "442079460018", "020 7946 0018"])
def test_a_number_is_shown_once_though_the_system_calls_the_caller_by_it(name, alice):
    make_call(alice, source_name=name)
    for url in PAGES[:2]:
        assert 'class="cti-name"' not in get(alice, url).content.decode()


# -- the contact of a call


def linked(person: Person) -> dict:
    return {
        "content_type_id": contacts.content_type_id(Person, "default"),
        "object_id": str(person.pk),
        "source_name": "D. W. (mobile)",
    }


def test_a_call_shows_the_contact_that_it_was_with(alice, people):
    person = make_person("Dana Whitfield")
    make_call(alice, **linked(person))
    for url in PAGES[:2]:
        html = get(alice, url).content.decode()
        assert f'<a class="cti-name" href="/people/{person.pk}/" title="Dana Whitfield">Dana Whitfield</a>' in html
        assert "D. W." not in html


def test_a_contact_that_the_agent_may_not_see_is_not_shown_with_the_call(people):
    agent = make_agent("bob")
    make_call(agent, **linked(make_person("Secret Dana")))
    for url in PAGES[:2]:
        html = get(agent, url).content.decode()
        assert "Secret" not in html
        assert "D. W." in html


def test_a_contact_source_that_fails_costs_the_log_its_contacts_only(alice):
    def fail(user):
        raise ZeroDivisionError

    with contact_source(Person, "phone", get_queryset=fail):
        make_call(alice, **linked(make_person("Dana Whitfield")))
        assert "D. W." in get(alice, "/cti/calls/").content.decode()


def test_the_contacts_of_many_calls_cost_one_query(alice, people, django_assert_num_queries):
    client = browse(alice)
    for number in range(20):
        make_call(alice, f"c{number}", minutes=number, **linked(make_person(f"Person {number}")))
    client.get("/cti/calls/")  # the content types are remembered from now on
    with django_assert_num_queries(7):
        assert client.get("/cti/calls/").content.count(b'title="Person ') == 20


# -- the way back


def home_of(user, url: str) -> str:
    html = get(user, url).content.decode()
    return html.partition('">Home</a>')[0].rpartition('href="')[2] if ">Home</a>" in html else ""


def test_the_pages_lead_back_to_the_site_or_to_the_admin(alice):
    staff = make_agent("staff", is_staff=True)
    make_call(staff)
    assert home_of(alice, "/cti/calls/") == ""  # this site has no page at its root
    assert home_of(staff, "/cti/calls/") == "/admin/"
    with override_settings(ROOT_URLCONF="tests.faces.root_urls"):
        assert home_of(alice, "/cti/calls/") == "/"
        assert home_of(staff, "/cti/calls/c1/") == "/"
        assert home_of(staff, "/cti/calls/c1/?face=admin") == "/admin/"
