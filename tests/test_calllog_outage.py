"""A real PostgreSQL stops in the middle of calls and comes back: every call is in the log once, complete, in order."""

import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection
from django.db.models.functions import Now

from cti_django import calllog
from cti_django.calllog_rows import write
from cti_django.calls.events import CallEvent
from cti_django.models import AgentLease, CallRecord
from cti_django.outbox import Entry, Outbox
from tests.servers import PostgreSQL, as_default, migrate, postgres
from tests.test_outbox import life

CALLS = 60


@pytest.fixture
def server(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQL]:
    """This test's own PostgreSQL, which is the default database."""
    monkeypatch.setattr(calllog.outbox, "_first_retry_seconds", 0.01)
    monkeypatch.setattr(calllog.outbox, "_last_retry_seconds", 0.05)
    calllog.outbox.close(2.0)
    with postgres() as server:
        database = server.create("calls")
        migrate(database)
        with as_default(database):
            yield server
            calllog.outbox.close(2.0)


def a_days_events(rng: random.Random) -> list[CallEvent]:
    """The events of many calls that overlap, in order; the calls are numbered in the order in which they began."""
    calls = sorted(rng.uniform(0, 600) for _each in range(CALLS))
    events = []
    for number, start in enumerate(calls):
        later = timedelta(seconds=start)
        for event in life(f"c{number}"):
            moved = {
                name: moment + later
                for name in ("started_at", "connected_at", "ended_at")
                if (moment := getattr(event.call, name)) is not None
            }
            events.append(replace(event, at=event.at + later, call=replace(event.call, **moved)))
    return sorted(events, key=lambda event: event.at)


class Refusals:
    """Tells when writing has failed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.happened = threading.Event()
        put_back = calllog.outbox._put_back
        monkeypatch.setattr(calllog.outbox, "_put_back", lambda: (put_back(), self.happened.set()))


@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_every_call_is_in_the_log_once_complete_and_in_order(
    server: PostgreSQL, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(f"outage {mode}")
    refusals = Refusals(monkeypatch)
    alice: Any = get_user_model().objects.create_user("alice").pk
    AgentLease.objects.create(agent_id=alice, holder="one", fence=3)
    AgentLease.objects.update(expires_at=Now() + timedelta(seconds=600), since=Now())
    events, lost = a_days_events(rng), calllog.outbox.lost
    outages = sorted(rng.sample(range(20, len(events) - 40), 2))
    for number, event in enumerate(events):
        calllog.record(alice, event, fence=3)
        if number in outages:
            server.stop(mode)
            refusals.happened.clear()
        if number - 20 in outages:  # meanwhile calls began, were answered and ended
            assert refusals.happened.wait(10)
            assert calllog.outbox.length
            server.start()
            connection.close()  # this thread's own is broken
            if rng.random() < 0.5:
                assert calllog.flush(10.0)
    assert calllog.flush(20.0)

    rows = list(CallRecord.objects.order_by("pk"))
    assert [row.call_id for row in rows] == [f"c{number}" for number in range(CALLS)]
    ends = {event.call.call_id: event.call for event in events if event.call.state.is_final}
    for row in rows:
        end = ends[row.call_id]
        assert (row.agent_id, row.state, row.end_reason, row.fence) == (alice, "HANGUP", "completed", 3)
        assert (row.started_at, row.connected_at, row.ended_at) == (end.started_at, end.connected_at, end.ended_at)
    assert calllog.outbox.lost == lost


class FormerHolder:
    """Another process: it has an outbox of its own, and comes to the database only when it is let."""

    def __init__(self) -> None:
        self.may_write = threading.Event()
        self.was_refused = threading.Event()
        self.outbox = Outbox(self._write, first_retry_seconds=0.01, last_retry_seconds=0.02)

    def _write(self, entries: list[Entry]) -> None:
        try:
            write(entries)
        except OperationalError:
            self.was_refused.set()
            # As by a long pause between two attempts.
            self.may_write.wait(10)
            raise

    def say(self, agent_id: Any, *events: CallEvent) -> None:
        for event in events:
            self.outbox.put(Entry(agent_id, event.call, event.at, "voipstudio", fence=3))


def named_by_the_provider(call_id: str) -> list[CallEvent]:
    return [replace(event, call=replace(event.call, provider_call_id=call_id)) for event in life(call_id)]


@pytest.fixture
def former(server: PostgreSQL) -> Iterator[FormerHolder]:
    former = FormerHolder()
    yield former
    former.may_write.set()
    former.outbox.close(2.0)


def test_who_lost_the_session_in_an_outage_and_who_took_it_over_agree_in_the_end(
    server: PostgreSQL, former: FormerHolder
) -> None:
    alice: Any = get_user_model().objects.create_user("alice").pk
    AgentLease.objects.create(agent_id=alice, holder="one", fence=3)
    known, unknown, over = (named_by_the_provider(call_id) for call_id in ("known", "unknown", "over"))
    former.say(alice, known[0])
    assert former.outbox.flush(10.0)

    server.stop()
    former.say(alice, known[1], unknown[1], *over)
    assert former.was_refused.wait(10)
    server.start()
    connection.close()  # this thread's own is broken
    AgentLease.objects.update(holder="two", fence=4, since=Now(), expires_at=Now() + timedelta(seconds=60))
    assert [call.call_id for call in calllog.calls_to_restore(alice)] == ["known"]
    former.may_write.set()
    assert former.outbox.flush(10.0)
    found = {row.call_id: row for row in CallRecord.objects.all()}
    assert {call_id: (row.state, row.end_reason) for call_id, row in found.items()} == {
        "known": ("RINGING", ""),  # what it is now, the new holder will say
        "unknown": ("HANGUP", "inferred"),
        "over": ("HANGUP", "completed"),
    }
    assert found["known"].connected_at == known[1].call.connected_at

    for event in (known[-1], unknown[-1]):  # both went on, as the new holder's snapshot tells
        calllog.record(alice, event, fence=4)
    assert calllog.flush(10.0)
    rows = CallRecord.objects.order_by("call_id").values_list("call_id", "state", "end_reason", "fence")
    assert list(rows) == [
        ("known", "HANGUP", "completed", 4),
        ("over", "HANGUP", "completed", 3),
        ("unknown", "HANGUP", "completed", 4),
    ]
