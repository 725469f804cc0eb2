"""The journal itself: one row however many bring it at once, on both databases; what is read back; what is kept."""

from collections.abc import Iterator
from typing import Any

import pytest

from cti_django import deliveries
from cti_django.connectors.webhook.shapes import read_report
from cti_django.models import CallRecord, WebhookDelivery
from cti_django.threads import DatabaseThreads
from tests.servers import as_default

pytestmark = pytest.mark.django_db(transaction=True)


def fields(**more: str) -> dict[str, tuple[str, ...]]:
    given = {"event": "newCall", "callId": "1", "direction": "in", "from": "442079460018", "user": "Alice", **more}
    return {name: (value,) for name, value in given.items()}


def write(endpoint: str = "main", **more: str) -> bool:
    report = read_report("sipgate", fields(**more))
    assert report is not None
    return deliveries.write(endpoint, fields(**more), report)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "sqlite":
        yield
        return
    with as_default(request.getfixturevalue("postgres_database")):
        WebhookDelivery.objects.all().delete()
        yield


def test_the_same_delivery_from_many_at_once_is_one_row(database: None) -> None:
    threads = DatabaseThreads(8, "cti-test")
    written = [threads.submit(write, callId=f"{number % 4}") for number in range(80)]
    assert sum(each.result(30) for each in written) == 4
    assert WebhookDelivery.objects.count() == 4
    DatabaseThreads.close_all()


def test_the_history_is_that_of_the_agents_calls_whole_and_in_order(database: None) -> None:
    for more in (
        {"callId": "hers"},
        {"callId": "his", "user": "Alicent"},
        {"callId": "hers", "event": "answer"},
        {"callId": "hers", "event": "hangup", "user": "", "cause": "normalClearing"},
        {"callId": "his", "event": "hangup", "user": ""},
    ):
        assert write(**more)
    assert write("other", callId="elsewhere")
    found = deliveries.history("main", {"alice", "17"})
    assert [each.fields["event"] for each in found] == [("newCall",), ("answer",), ("hangup",)]
    assert {each.fields["callId"] for each in found} == {("hers",)}
    assert found[0].fields["user"] == ("Alice",)
    assert deliveries.history("main", {"ali", "%", "nobody"}) == []


def test_reading_on_begins_behind_a_number_and_stays_with_the_endpoints(database: None) -> None:
    for number in range(5):
        assert write("main" if number % 2 == 0 else "other", callId=f"{number}")
    rows = deliveries.after(0, {"main"}, 2)
    assert [delivery.fields["callId"] for _serial, delivery in rows] == [("0",), ("2",)]
    rest = deliveries.after(rows[-1][0], {"main", "other"}, 10)
    assert [delivery.fields["callId"] for _serial, delivery in rest] == [("3",), ("4",)]
    assert deliveries.newest(2) == [serial for serial, _delivery in reversed(rest)][:2]


def test_an_end_that_somebody_saw_is_known_and_one_that_was_inferred_is_not(agent: Any) -> None:
    for call_id, state, reason in (("a", "HANGUP", "missed"), ("b", "HANGUP", "inferred"), ("c", "RINGING", "")):
        CallRecord.objects.create(
            call_id=call_id, agent=agent, state=state, end_reason=reason, started_at="2026-01-02T09:00Z"
        )
    assert deliveries.logged(["a", "b", "c", "d"]) == {"a"}


def test_keeping_a_delivery_is_one_statement(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert write()


def test_the_deliveries_of_a_call_are_found_by_index() -> None:
    plan = WebhookDelivery.objects.filter(endpoint="main", provider_call_id="1").explain()
    assert "cti_delivery_by_call" in plan
