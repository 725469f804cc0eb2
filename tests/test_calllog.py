"""The call log: complete, in order, and never in a call's way, whatever the database does."""

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from cti_django import calllog, calllog_rows, contacts, metrics
from cti_django.calls.numbers import Party, PartyKind, classify
from cti_django.calls.states import CallState, Direction
from cti_django.models import CallNote, CallRecord
from cti_django.outbox import Entry, Outbox
from tests.test_outbox import START, call, event, life
from tests.testapp.models import Person

# -- the records ------------------------------------------------------------------------------------------------------


@pytest.fixture
def committing(transactional_db: None) -> None:
    """The outbox's thread sees the test's rows and the test sees its."""


def test_a_calls_whole_life_is_one_complete_record(committing: None, agent: Any) -> None:
    for each in life():
        calllog.record(agent.pk, each)
        assert calllog.flush(5.0)
    record = CallRecord.objects.get()
    assert (record.call_id, record.agent, record.connector) == ("c1", agent, "voipstudio")
    assert (record.provider_call_id, record.leg_id) == ("7310025", "7310025-1")
    assert (record.direction, record.state, record.kind) == ("INBOUND", "HANGUP", "number")
    assert (record.source_raw, record.source_name, record.number) == ("442079460018", "Dana", "+442079460018")
    assert (record.destination_raw, record.destination_name) == ("10031", "Alice")
    assert record.started_at == START
    assert record.connected_at == START + timedelta(seconds=5)
    assert record.ended_at == START + timedelta(seconds=65)
    assert (record.end_reason, record.cause) == ("completed", "Normal clearing")


def test_recording_the_same_event_again_changes_nothing(committing: None, agent: Any) -> None:
    for _each in range(3):
        for each in life():
            calllog.record(agent.pk, each)
        assert calllog.flush(5.0)
    assert CallRecord.objects.get().state == "HANGUP"


def test_an_older_state_never_overwrites_a_final_one(committing: None, agent: Any) -> None:
    for each in (life()[-1], life()[1]):
        calllog.record(agent.pk, each)
        assert calllog.flush(5.0)
    record = CallRecord.objects.get()
    assert (record.state, record.end_reason) == ("HANGUP", "completed")


def test_calls_of_watched_nodes_are_not_logged(committing: None, agent: Any) -> None:
    calllog.record(agent.pk, event(replace(call(), node="user:10032")))
    assert calllog.flush(5.0)
    assert not CallRecord.objects.exists()


def test_hostile_texts_are_cut_to_size_and_cleaned(committing: None, agent: Any) -> None:
    rubbish = "x\x00" * 400
    hostile = Party(kind=PartyKind.ALPHANUMERIC, number_raw=rubbish, name="<img src=x onerror=alert(1)>")
    calllog.record(agent.pk, event(replace(call(), source=hostile, leg_id=rubbish, command_id=rubbish, cause=rubbish)))
    assert calllog.flush(5.0)
    record = CallRecord.objects.get()
    assert (len(record.source_raw), len(record.leg_id), len(record.cause)) == (128, 128, 200)
    assert "\x00" not in record.source_raw
    assert record.source_name == "<img src=x onerror=alert(1)>"


def test_a_batch_of_a_hundred_calls_costs_a_few_statements(agent: Any) -> None:
    entries = [Entry(agent.pk, call(f"c{number}"), START, "voipstudio") for number in range(100)]
    for _first_written_then_updated in range(2):
        with CaptureQueriesContext(connection) as captured:
            calllog_rows.write(entries)
        assert len(captured) <= 6  # the transaction, one look, and one insert (three where SQLite's limit splits it)
    assert CallRecord.objects.count() == 100


def test_a_certain_match_is_stored_with_the_call_and_the_agents_own_choice_stays(committing: None, agent: Any) -> None:
    dana, eve = Person.objects.create(name="Dana"), Person.objects.create(name="Eve")
    people = ContentType.objects.get_for_model(Person).pk
    calllog.record(agent.pk, event(call(), match_object=(people, str(dana.pk))))
    assert calllog.flush(5.0)
    assert CallRecord.objects.get().contact == dana
    calllog.link_contact("c1", people, str(eve.pk))
    calllog.record(agent.pk, life()[-1].with_extra(match_object=(people, str(dana.pk))))
    assert calllog.flush(5.0)
    assert CallRecord.objects.get().contact == eve


def test_a_match_that_comes_behind_the_end_is_stored_and_changes_nothing_else(committing: None, agent: Any) -> None:
    dana = Person.objects.create(name="Dana")
    for each in life():
        calllog.record(agent.pk, each)
    assert calllog.flush(5.0)
    before = CallRecord.objects.values().get()
    people = ContentType.objects.get_for_model(Person).pk
    calllog.record(agent.pk, event(life()[-1].call, 60, match_object=(people, str(dana.pk))))
    assert calllog.flush(5.0)
    assert CallRecord.objects.values().get() == {**before, "content_type_id": people, "object_id": str(dana.pk)}


@pytest.mark.parametrize("written_between", [True, False])
def test_a_call_that_comes_by_a_transfer_is_about_whom_she_speaks_with_in_the_end(
    committing: None, agent: Any, written_between: bool
) -> None:
    bob, dana = Person.objects.create(name="Bob"), Person.objects.create(name="Dana")
    people = ContentType.objects.get_for_model(Person).pk
    from_bob = {"source": classify("10032", "Bob Agent")}
    for said, match_object in (
        (call(**from_bob), (people, str(bob.pk))),
        (call(state=CallState.CONNECTED, **from_bob), (people, str(bob.pk))),
        (call(state=CallState.CONNECTED), None),
    ):
        calllog.record(agent.pk, event(said, match_object=match_object))
        assert not written_between or calllog.flush(5.0)
    assert calllog.flush(5.0)
    record = CallRecord.objects.get()
    assert (record.number, record.source_raw, record.source_name) == ("+442079460018", "442079460018", "Dana")
    assert (record.contact, record.object_id) == (None, "")
    calllog.record(agent.pk, event(call(state=CallState.CONNECTED), match_object=(people, str(dana.pk))))
    assert calllog.flush(5.0)
    assert CallRecord.objects.get().contact == dana
    (restored,) = calllog.open_calls(agent.pk)
    assert restored.source.number == "+442079460018"


def test_a_call_without_a_certain_match_is_about_nobody(committing: None, agent: Any) -> None:
    calllog.record(agent.pk, event(call(), match_object=None))
    assert calllog.flush(5.0)
    assert CallRecord.objects.get().contact is None


class Outage:
    """A database that fails each statement on every connection while it lasts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lasts = False
        self.refused = 0
        self.was_refused = threading.Event()
        execute = CursorWrapper.execute

        def failing(cursor: Any, sql: Any, params: Any = None) -> Any:
            if self.lasts:
                self.refused += 1
                self.was_refused.set()
                raise OperationalError("the server has gone away")
            return execute(cursor, sql, params)

        monkeypatch.setattr(CursorWrapper, "execute", failing)


async def test_the_database_fails_in_the_middle_of_a_call_and_the_record_is_complete_afterwards(
    committing: None, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calllog.outbox, "_first_retry_seconds", 0.001)
    monkeypatch.setattr(calllog.outbox, "_last_retry_seconds", 0.001)
    outage = Outage(monkeypatch)
    ringing, connected, held, resumed, ended = life()
    calllog.record(agent.pk, ringing)
    assert await calllog.aflush(5.0)
    outage.lasts = True
    for each in (connected, held, resumed):
        outage.was_refused.clear()
        calllog.record(agent.pk, each)
        assert await asyncio.to_thread(outage.was_refused.wait, 5)
    for number in range(300):  # meanwhile other calls come and go
        for each in life(f"other{number}"):
            calllog.record(agent.pk, each)
    calllog.record(agent.pk, ended)
    assert not await calllog.aflush(0.05)
    assert calllog.outbox.length == 301
    outage.lasts = False
    assert await calllog.aflush(10.0)
    record = await CallRecord.objects.aget(call_id="c1")
    assert (record.state, record.end_reason) == ("HANGUP", "completed")
    assert record.connected_at == START + timedelta(seconds=5)
    assert record.ended_at == START + timedelta(seconds=65)
    assert await CallRecord.objects.filter(state="HANGUP").acount() == 301
    assert outage.refused > 3


async def test_who_records_may_wait_for_room_and_what_is_lost_is_counted(
    committing: None, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = calllog.outbox.lost
    counted = 0.0

    def count(amount: float) -> None:
        nonlocal counted
        counted += amount

    monkeypatch.setattr(metrics.outbox_lost_total, "inc", count)
    monkeypatch.setattr(calllog, "BACKPRESSURE_SECONDS", 0.01)
    monkeypatch.setattr(calllog.outbox, "_first_retry_seconds", 0.01)
    outage = Outage(monkeypatch)
    outage.lasts = True
    with override_settings(CTI_DJANGO={"OUTBOX_SIZE": 2}):
        calllog.record(agent.pk, life("c1")[-1])
        assert await calllog.room()
        calllog.record(agent.pk, life("c2")[-1])
        assert not await calllog.room()
        calllog.record(agent.pk, life("c3")[-1])
        outage.lasts = False
        assert await calllog.aflush(10.0)
        assert await calllog.room()
    assert calllog.outbox.lost - lost == counted == 1
    assert await CallRecord.objects.acount() == 2


# -- takeover and recent calls ----------------------------------------------------------------------------------------


def test_open_calls_come_back_as_they_were(committing: None, agent: Any, other_agent: Any) -> None:
    dialled = call(
        "c2",
        CallState.INITIAL,
        direction=Direction.OUTBOUND,
        source=Party(kind=PartyKind.UNAVAILABLE),
        destination=classify("+442079460019"),
        leg_id="",
        provider_call_id="",
        command_id="tab:1",
        started_at=START + timedelta(seconds=9),
    )
    connected = life("c1")[1]
    for each in (connected, event(dialled), *life("ended")):
        calllog.record(agent.pk, each)
    calllog.record(other_agent.pk, event(call("theirs")))
    assert calllog.flush(5.0)
    assert calllog.open_calls(agent.pk) == [connected.call, dialled]


def test_open_calls_know_what_is_not_written_yet(agent: Any) -> None:
    calllog_rows.write(
        [Entry(agent.pk, call("c1"), START, "voipstudio"), Entry(agent.pk, call("c2"), START, "voipstudio")]
    )
    calllog.record(agent.pk, life("c1")[-1])
    calllog.record(agent.pk, life("c2")[1])
    calllog.record(agent.pk, event(call("c3")))
    assert [(each.call_id, each.state.value) for each in calllog.open_calls(agent.pk)] == [
        ("c2", "CONNECTED"),
        ("c3", "RINGING"),
    ]


def test_recent_calls_are_the_ended_ones_newest_first_with_note_and_contact(
    committing: None, agent: Any, other_agent: Any
) -> None:
    dana = Person.objects.create(name="Dana", phone="020 7946 0018")
    people = ContentType.objects.get_for_model(Person).pk
    now = datetime.now(UTC)
    for number, ago in enumerate((30, 20, 7200)):
        ended = replace(life(f"c{number}")[-1].call, started_at=now - timedelta(seconds=ago))
        calllog.record(agent.pk, event(ended, match_object=(people, str(dana.pk)) if number == 0 else None))
    calllog.record(agent.pk, event(replace(call("live"), started_at=now)))
    assert calllog.flush(5.0)
    calllog.save_note("c1", agent.pk, "rings back")
    recent = calllog.recent_calls(agent.pk, 3600.0)
    assert [each["id"] for each in recent] == ["c1", "c0"]
    assert (recent[0]["note"], recent[0]["match"], recent[0]["contacts"]) == ("rings back", "", [])
    assert (recent[1]["match"], recent[1]["contacts"][0]["label"]) == ("one", "Dana")
    assert (recent[1]["display"], recent[1]["actions"], recent[1]["pop"]) == ("020 7946 0018", [], None)
    assert calllog.recent_calls(other_agent.pk, 3600.0) == []


def test_recent_calls_show_no_contact_that_the_agent_may_not_see(committing: None, other_agent: Any) -> None:
    dana = Person.objects.create(name="Dana", phone="020 7946 0018")
    people = ContentType.objects.get_for_model(Person).pk
    ended = replace(life()[-1].call, started_at=datetime.now(UTC))
    calllog.record(other_agent.pk, event(ended, match_object=(people, str(dana.pk))))
    assert calllog.flush(5.0)
    (recent,) = calllog.recent_calls(other_agent.pk, 3600.0)
    assert recent["contacts"] == []
    assert "Dana" not in str({**recent, "sourceName": ""})


def test_a_source_that_fails_costs_the_recent_calls_their_names_only(
    committing: None, agent: Any, no_sources: None
) -> None:
    def broken(user: Any) -> Any:
        raise ZeroDivisionError

    contacts.register(Person, ["phone"], get_queryset=broken)
    dana = Person.objects.create(name="Dana", phone="020 7946 0018")
    ended = replace(life()[-1].call, started_at=datetime.now(UTC))
    key = (ContentType.objects.get_for_model(Person).pk, str(dana.pk))
    calllog.record(agent.pk, event(ended, match_object=key))
    assert calllog.flush(5.0)
    assert [each["contacts"] for each in calllog.recent_calls(agent.pk, 3600.0)] == [[]]


# -- notes ------------------------------------------------------------------------------------------------------------


def test_a_note_needs_no_record_to_be_written_first(agent: Any) -> None:
    calllog.record(agent.pk, event(call()))
    calllog.save_note("c1", agent.pk, "first")
    calllog.save_note("c1", agent.pk, "second")
    assert calllog.notes_for(["c1", "c2"], agent.pk) == {"c1": "second"}
    assert CallRecord.objects.get().state == "RINGING"


async def test_a_note_can_be_kept_from_the_event_loop(committing: None, agent: Any) -> None:
    calllog.record(agent.pk, event(call()))
    await calllog.asave_note("c1", agent.pk, "héllo\r\nthere")
    assert (await CallNote.objects.aget()).text == "héllo\nthere"


def test_an_empty_note_removes_it(agent: Any) -> None:
    calllog.record(agent.pk, event(call()))
    calllog.save_note("c1", agent.pk, "first")
    calllog.save_note("c1", agent.pk, "  ")
    assert calllog.notes_for(["c1"], agent.pk) == {}


def test_a_note_is_cut_at_ten_thousand_characters(agent: Any) -> None:
    calllog.record(agent.pk, event(call()))
    calllog.save_note("c1", agent.pk, "\x00x" * 20_000)
    assert calllog.notes_for(["c1"], agent.pk) == {"c1": "x" * 10_000}


def test_only_the_agent_and_supervisors_may_write_on_a_call(agent: Any, other_agent: Any, supervisor: Any) -> None:
    calllog.record(agent.pk, event(call()))
    calllog.save_note("c1", agent.pk, "mine")
    calllog.save_note("c1", supervisor.pk, "well done")
    with pytest.raises(PermissionDenied):
        calllog.save_note("c1", other_agent.pk, "not mine")
    with pytest.raises(PermissionDenied):
        calllog.save_note("no such call", agent.pk, "nothing")
    assert calllog.notes_for(["c1"], agent.pk) == {"c1": "mine"}
    assert CallNote.objects.count() == 2


def test_how_full_the_outbox_is_stands_in_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("length", 7), ("fill", 0.25), ("oldest_seconds", 1.5)):
        monkeypatch.setattr(Outbox, name, property(lambda _outbox, value=value: value))
    rendered = metrics.render()
    assert rendered is not None
    lines = rendered[0].decode().splitlines()
    assert {"cti_outbox_length 7.0", "cti_outbox_fill 0.25", "cti_outbox_oldest_seconds 1.5"} <= set(lines)
