"""Who calls: the right record, only if the agent may see it, for one query."""

import asyncio
import threading
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from cti_django import contacts, metrics
from cti_django.calls.numbers import Party, PartyKind, classify
from cti_django.contacts import amatch, aremember, creation_links, known, match, remember, rights_of
from cti_django.models import ContactNumber, RememberedChoice
from tests.testapp.models import Badge, Company, Person, PersonNumber, Tag

pytestmark = pytest.mark.django_db(transaction=True)

CALLER = classify("442079460018", "Dana")
SWITCHBOARD = "020 7946 0018"


def person(name: str, phone: str = SWITCHBOARD, **values: Any) -> Person:
    return Person.objects.create(name=name, phone=phone, **values)


def labels(found: contacts.Match) -> list[str]:
    return [candidate.label for candidate in found.candidates]


# -- kinds ------------------------------------------------------------------------------------------------------------


def test_one_record_with_the_number_is_the_one(agent: Any) -> None:
    dana = person("Dana", company=Company.objects.create(name="Acme"))
    found = match(CALLER, agent.pk)
    people = ContentType.objects.get_for_model(Person).pk
    assert (found.kind, found.certain, found.failed) == ("one", (people, str(dana.pk)), False)
    (candidate,) = found.candidates
    assert (candidate.label, candidate.detail, candidate.model) == ("Dana", "Acme", "testapp.person")
    assert candidate.url == f"/people/{dana.pk}/"
    assert candidate.admin_url == f"/admin/testapp/person/{dana.pk}/change/"
    assert found.to_json() == {
        "match": "one",
        "contacts": [
            {
                "label": "Dana",
                "detail": "Acme",
                "url": candidate.url,
                "adminUrl": candidate.admin_url,
                "model": "testapp.person",
            }
        ],
        "canCreate": False,
    }


def test_nobody_has_the_number(agent: Any) -> None:
    person("Dana", "020 7946 0019")
    assert match(CALLER, agent.pk) == contacts.Match(kind="none", can_create=True)


def test_whether_a_record_can_be_created_depends_on_the_agents_rights(other_agent: Any) -> None:
    assert match(CALLER, other_agent.pk) == contacts.Match(kind="none", can_create=False)


def test_several_records_with_the_number_are_for_the_agent_to_choose_from(agent: Any) -> None:
    person("Dana")
    person("Eve")
    found = match(CALLER, agent.pk)
    assert (found.kind, sorted(labels(found)), found.certain) == ("several", ["Dana", "Eve"], None)


@pytest.mark.parametrize(
    ("party", "kind"),
    [
        (classify("anonymous"), "withheld"),
        (classify(""), "withheld"),
        (classify("Unavailable"), "withheld"),
        (classify("sip:dana@example.com"), "none"),
        (classify("AcmeCorp"), "none"),
        (Party(kind=PartyKind.EMERGENCY, number_raw="999"), "none"),
    ],
)
def test_who_tells_no_number_costs_no_query(agent: Any, party: Party, kind: str) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert match(party, agent.pk) == contacts.Match(kind=kind)
    assert not captured


def test_an_extension_is_internal_with_the_records_that_have_it(agent: Any) -> None:
    badge = Badge.objects.create(holder="Bob", extension="10032")
    person("Dana", "+44 20 7946 0018 x10032")
    found = match(classify("10032"), agent.pk)
    assert (found.kind, labels(found), found.certain) == ("internal", ["Bob"], None)
    assert found.candidates[0].object_id == str(badge.pk)
    assert found.candidates[0].url == ""
    assert match(classify("10033"), agent.pk) == contacts.Match(kind="internal")


def test_a_record_with_the_number_in_two_places_is_one_candidate(agent: Any) -> None:
    dana = person("Dana", "020 7946 0018 x1")
    PersonNumber.objects.create(person=dana, value="020 7946 0018")
    assert ContactNumber.objects.count() == 2
    found = match(CALLER, agent.pk)
    assert (found.kind, labels(found)) == ("one", ["Dana"])


def test_every_way_of_writing_a_number_is_matched(agent: Any) -> None:
    for number, text in enumerate(["+44 (0)20 7946 0018", "0044 20 7946 0018", "020/7946 0018", "(020) 79460018 "]):
        Person.objects.all().delete()
        person(f"P{number}", text)
        assert labels(match(CALLER, agent.pk)) == [f"P{number}"]


# -- order and choice -------------------------------------------------------------------------------------------------


def test_primary_numbers_come_first_then_the_sources_priority(agent: Any) -> None:
    person("Second number", "020 7946 0001", mobile=SWITCHBOARD)
    Company.objects.create(name="Company", switchboard=SWITCHBOARD)
    person("Primary")
    assert labels(match(CALLER, agent.pk)) == ["Primary", "Company", "Second number"]


def test_what_the_agent_chose_before_is_the_match_and_the_others_follow(agent: Any, supervisor: Any) -> None:
    person("Dana")
    eve = person("Eve")
    remember(agent.pk, CALLER.number, eve)
    found = match(CALLER, agent.pk)
    assert (found.kind, labels(found)) == ("one", ["Eve", "Dana"])
    assert found.certain == (found.candidates[0].content_type_id, str(eve.pk))
    assert match(CALLER, supervisor.pk).kind == "several"


def test_a_choice_can_be_changed_and_a_chosen_record_that_is_gone_chooses_nothing(agent: Any) -> None:
    dana, eve = person("Dana"), person("Eve")
    person("Finn")
    remember(agent.pk, CALLER.number, dana)
    remember(agent.pk, CALLER.number, eve)
    assert RememberedChoice.objects.count() == 1
    assert labels(match(CALLER, agent.pk))[0] == "Eve"
    eve.delete()
    assert match(CALLER, agent.pk).kind == "several"


def test_only_records_of_registered_models_can_be_chosen(agent: Any) -> None:
    with pytest.raises(ValueError, match=r"testapp\.Tag"):
        remember(agent.pk, CALLER.number, Tag.objects.create(hotline="1"))


async def test_a_choice_can_be_remembered_from_the_event_loop(agent: Any) -> None:
    await Person.objects.acreate(name="Dana", phone=SWITCHBOARD)
    eve = await Person.objects.acreate(name="Eve", phone=SWITCHBOARD)
    await aremember(agent.pk, CALLER.number, eve)
    assert labels(await amatch(CALLER, agent.pk))[0] == "Eve"


def test_a_match_gives_at_most_so_many_candidates_and_the_chosen_one_is_among_them(agent: Any) -> None:
    crowd = Person.objects.bulk_create(Person(name=f"P{number}", phone=SWITCHBOARD) for number in range(300))
    contacts.index(Person.objects.all())
    assert len(match(CALLER, agent.pk).candidates) == 20
    remember(agent.pk, CALLER.number, crowd[-1])
    assert labels(match(CALLER, agent.pk))[0] == "P299"
    with override_settings(CTI_DJANGO={"MAX_CANDIDATES": 3}):
        assert len(match(CALLER, agent.pk).candidates) == 3


# -- rights -----------------------------------------------------------------------------------------------------------


def test_who_may_not_see_the_record_learns_only_that_it_is_known(other_agent: Any) -> None:
    person("Dana")
    found = match(CALLER, other_agent.pk)
    assert found == contacts.Match(kind="forbidden")
    assert "Dana" not in str(found)


def test_an_extension_of_a_forbidden_record_is_internal_without_it(other_agent: Any) -> None:
    Badge.objects.create(holder="Bob", extension="10032")
    assert match(classify("10032"), other_agent.pk) == contacts.Match(kind="internal")


def test_of_several_records_only_those_count_that_the_agent_may_see(other_agent: Any) -> None:
    person("Dana")
    Company.objects.create(name="Acme", switchboard=SWITCHBOARD)
    other_agent.user_permissions.add(Permission.objects.get(codename="change_company"))
    found = match(CALLER, other_agent.pk)
    assert (found.kind, labels(found)) == ("one", ["Acme"])


@pytest.mark.usefixtures("no_sources")
def test_a_sources_own_queryset_says_which_records_a_user_may_see(agent: Any, django_user_model: Any) -> None:
    root = django_user_model.objects.create_superuser("root")
    seen: dict[str, Any] = {"agent": Person.objects.none(), "root": Person.objects.filter(name="Eve")}
    contacts.register(Person, ["phone"], get_queryset=lambda user: seen["root" if user.is_superuser else "agent"])
    person("Dana")
    person("Eve")
    assert match(CALLER, agent.pk).kind == "forbidden"
    assert labels(match(CALLER, root.pk)) == ["Eve"]
    seen["agent"] = None
    assert match(CALLER, agent.pk).kind == "forbidden"


def test_superusers_see_everything_and_the_inactive_nothing(django_user_model: Any) -> None:
    person("Dana")
    root = django_user_model.objects.create_superuser("root")
    assert match(CALLER, root.pk).kind == "one"
    root.is_active = False
    root.save()
    assert match(CALLER, root.pk).kind == "forbidden"
    assert match(CALLER, 987654).kind == "forbidden"


@pytest.mark.usefixtures("no_sources")
def test_rows_of_a_model_that_is_no_source_any_more_are_no_match(agent: Any) -> None:
    contacts.register(Person, ["phone"])
    person("Dana")
    contacts.unregister(Person)
    assert ContactNumber.objects.exists()
    assert match(CALLER, agent.pk) == contacts.Match(kind="none")


# -- cost and failure -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_sources")
def test_a_ring_costs_one_query_and_one_more_for_a_source_with_its_own_queryset(agent: Any) -> None:
    contacts.register(Person, ["phone"], label="name")
    contacts.register(Company, ["switchboard"])
    company = Company.objects.create(name="Acme", switchboard=SWITCHBOARD)
    for number in range(10):
        person(f"P{number}", company=company)
    match(CALLER, agent.pk)
    remember(agent.pk, CALLER.number, company)
    with CaptureQueriesContext(connection) as captured:
        assert match(CALLER, agent.pk).kind == "one"
    assert len(captured) == 1
    contacts.unregister(Person)
    contacts.register(Person, ["phone"], get_queryset=lambda user: Person.objects.all())
    with CaptureQueriesContext(connection) as captured:
        match(CALLER, agent.pk)
    assert len(captured) == 2


def test_the_first_ring_of_a_process_costs_one_more_for_the_content_types(agent: Any) -> None:
    person("Dana")
    ContentType.objects.clear_cache()
    rights_of(agent.pk)
    with CaptureQueriesContext(connection) as captured:
        match(CALLER, agent.pk)
    assert len(captured) == 2


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's query plan")
def test_the_one_query_uses_the_index(agent: Any) -> None:
    person("Dana")
    with CaptureQueriesContext(connection) as captured:
        match(CALLER, agent.pk)
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + captured[0]["sql"])
        plan = " ".join(str(row) for row in cursor.fetchall())
    assert "cti_number_by_number" in plan
    assert "SCAN" not in plan


async def test_the_async_twin_leaves_djangos_shared_thread_alone(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await Person.objects.acreate(name="Dana", phone=SWITCHBOARD)
    threads: set[str] = set()
    execute = CursorWrapper.execute

    def noting(cursor: Any, sql: Any, params: Any = None) -> Any:
        threads.add(threading.current_thread().name)
        return execute(cursor, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", noting)
    found = await asyncio.gather(*(amatch(CALLER, agent.pk) for _each in range(20)))
    assert {each.kind for each in found} == {"one"}
    assert threads
    assert all(name.startswith("cti-match") for name in threads)


def test_a_failing_database_gives_no_match_and_no_error(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_args: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(CursorWrapper, "execute", failing)
    found = match(CALLER, agent.pk)
    assert (found.kind, found.failed) == ("none", True)


def test_a_match_is_counted_by_its_result_and_timed_if_the_database_was_asked(
    agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Any] = []

    class Counters:
        def labels(self, *, result: str) -> Any:
            counted.append(result)
            return metrics._Nothing()

    class Durations:
        def observe(self, seconds: float) -> None:
            counted.append(seconds > 0)

    monkeypatch.setattr(metrics, "matches_total", Counters())
    monkeypatch.setattr(metrics, "match_seconds", Durations())
    match(CALLER, agent.pk)
    match(Party(kind=PartyKind.WITHHELD), agent.pk)
    monkeypatch.setattr(CursorWrapper, "execute", lambda *_args: 1 / 0)
    match(CALLER, agent.pk)
    assert counted == [True, "none", "withheld", True, "failed"]


async def test_a_connection_that_the_server_has_closed_is_opened_anew(
    agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Person.objects.acreate(name="Dana", phone=SWITCHBOARD)
    execute, failures = CursorWrapper.execute, [OperationalError("server closed the connection")]

    def failing_once(cursor: Any, sql: Any, params: Any = None) -> Any:
        if failures:
            raise failures.pop()
        return execute(cursor, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", failing_once)
    found = await amatch(CALLER, agent.pk)
    assert (found.kind, found.failed) == ("one", False)


@pytest.mark.usefixtures("no_sources")
def test_a_source_that_raises_gives_no_match_and_no_error(agent: Any, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_user: Any) -> Any:
        raise RuntimeError("broken source")

    contacts.register(Person, ["phone"], get_queryset=broken)
    person("Dana")
    assert match(CALLER, agent.pk).failed
    assert "broken source" in caplog.text


def test_sql_in_a_number_is_only_a_number_that_nobody_has(agent: Any) -> None:
    person("Dana")
    hostile = Party(kind=PartyKind.NUMBER, number="+44' OR '1'='1")
    assert match(hostile, agent.pk) == contacts.Match(kind="none", can_create=True)


# -- urls, creation, and records by key -------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_sources")
def test_a_url_pattern_needs_no_stored_url(agent: Any) -> None:
    contacts.register(Person, ["phone"], url="person")
    dana = person("Dana")
    assert ContactNumber.objects.get().url == ""
    assert match(CALLER, agent.pk).candidates[0].url == f"/people/{dana.pk}/"


@pytest.mark.usefixtures("no_sources")
def test_a_url_pattern_that_does_not_exist_is_no_url(agent: Any) -> None:
    contacts.register(Person, ["phone"], url="no-such-page")
    person("Dana")
    assert match(CALLER, agent.pk).candidates[0].url == ""


def test_records_are_created_where_the_agent_may_create_them(agent: Any, other_agent: Any) -> None:
    (link,) = creation_links("+442079460018", rights_of(agent.pk))
    assert (link.label, link.model, link.url) == ("person", "testapp.person", "/people/new/?phone=+442079460018")
    assert creation_links("+442079460018", rights_of(other_agent.pk)) == ()


def test_known_records_are_shown_by_key_to_those_who_may_see_them(agent: Any, other_agent: Any) -> None:
    dana, eve = person("Dana"), person("Eve")
    people = ContentType.objects.get_for_model(Person).pk
    keys = {(people, str(dana.pk)), (people, "12345")}
    known(keys, rights_of(agent.pk))
    with CaptureQueriesContext(connection) as captured:
        found = known(keys, rights_of(agent.pk))
    assert len(captured) == 1
    assert {key: candidate.label for key, candidate in found.items()} == {(people, str(dana.pk)): "Dana"}
    assert known({(people, str(eve.pk))}, rights_of(other_agent.pk)) == {}
