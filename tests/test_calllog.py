"""The call log: complete, in order, and never in a call's way, whatever the database does."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError, connection
from django.db.backends.utils import CursorWrapper
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from cti_django import calllog, contacts
from cti_django.calls.events import Call, CallEvent, EventName
from cti_django.calls.numbers import Party, PartyKind, classify
from cti_django.calls.states import CallState, Direction, EndReason
from cti_django.models import CallNote, CallRecord
from cti_django.outbox import Entry, Outbox, is_newer
from tests.testapp.models import Person

START = datetime(2024, 5, 1, 9, 0, tzinfo=UTC)


def call(call_id: str = "c1", state: CallState = CallState.RINGING, **values: Any) -> Call:
    """An inbound call from Dana to extension 10031."""
    defaults: dict[str, Any] = {
        "provider_call_id": "7310025",
        "leg_id": "7310025-1",
        "direction": Direction.INBOUND,
        "source": classify("442079460018", "Dana"),
        "destination": classify("10031", "Alice"),
        "started_at": START,
    }
    return Call(call_id=call_id, state=state, **{**defaults, **values})


def event(of: Call, seconds: float = 0, **extra: Any) -> CallEvent:
    return CallEvent(name=EventName(of.state.value), call=of, at=START + timedelta(seconds=seconds), extra=extra)


def life(call_id: str = "c1") -> list[CallEvent]:
    """RINGING, CONNECTED, ON_HOLD, CONNECTED, HANGUP."""
    connected = replace(call(call_id, CallState.CONNECTED), connected_at=START + timedelta(seconds=5))
    ended = replace(
        connected,
        state=CallState.HANGUP,
        ended_at=START + timedelta(seconds=65),
        end_reason=EndReason.COMPLETED,
        cause="Normal clearing",
    )
    held = replace(connected, state=CallState.ON_HOLD)
    moments = [call(call_id), connected, held, connected, ended]
    return [event(moment, seconds) for moment, seconds in zip(moments, (0, 5, 20, 30, 65), strict=True)]


# -- the outbox, without a database -----------------------------------------------------------------------------------


class Pen:
    """Writes entries into a list, or fails as it is told."""

    def __init__(self) -> None:
        self.written: list[list[Entry]] = []
        self.failures: list[Exception] = []
        self.refuses: Callable[[Entry], Exception | None] = lambda entry: None
        self.may_write = threading.Event()
        self.may_write.set()
        self.is_writing = threading.Event()

    def __call__(self, entries: list[Entry]) -> None:
        self.is_writing.set()
        assert self.may_write.wait(5)
        if self.failures:
            raise self.failures.pop(0)
        for entry in entries:
            if error := self.refuses(entry):
                raise error
        self.written.append(entries)

    def states(self, call_id: str = "c1") -> list[CallState]:
        return [entry.call.state for batch in self.written for entry in batch if entry.call.call_id == call_id]


@pytest.fixture
def pen() -> Pen:
    return Pen()


@pytest.fixture
def outbox(pen: Pen) -> Iterator[Outbox]:
    outbox = Outbox(pen, first_retry_seconds=0.001, last_retry_seconds=0.002)
    yield outbox
    pen.may_write.set()
    outbox.close(2.0)


def put(outbox: Outbox, *events: CallEvent, agent_id: Any = 1, match_object: Any = None) -> None:
    for each in events:
        outbox.put(Entry(agent_id, each.call, each.at, "voipstudio", match_object))


def test_what_is_put_in_is_written(outbox: Outbox, pen: Pen) -> None:
    put(outbox, event(call()))
    assert outbox.flush(5.0)
    assert pen.states() == [CallState.RINGING]
    assert outbox.length == 0


def test_putting_in_never_waits_for_the_writing(outbox: Outbox, pen: Pen) -> None:
    pen.may_write.clear()
    put(outbox, event(call()))
    assert pen.is_writing.wait(5)
    put(outbox, *life()[1:], *life("c2"))  # would stand still here
    assert outbox.length == 2
    assert not outbox.flush(0.01)
    pen.may_write.set()
    assert outbox.flush(5.0)
    assert pen.states() == [CallState.RINGING, CallState.HANGUP]
    assert pen.states("c2") == [CallState.HANGUP]


@pytest.mark.parametrize("error", [OperationalError("gone away"), InterfaceError("closed")])
def test_a_failing_database_is_tried_again_and_nothing_is_lost_or_reordered(
    outbox: Outbox, pen: Pen, error: Exception
) -> None:
    pen.failures = [error] * 20
    put(outbox, event(call("c1")), event(call("c2")), *life("c1")[1:3], event(call("c3")))
    assert outbox.flush(5.0)
    assert not pen.failures
    assert [entry.call.call_id for batch in pen.written for entry in batch] == ["c1", "c2", "c3"]
    assert pen.states() == [CallState.ON_HOLD]


def test_news_that_comes_while_an_older_state_fails_is_what_is_written_in_the_end(outbox: Outbox, pen: Pen) -> None:
    pen.may_write.clear()
    pen.failures = [OperationalError()]
    put(outbox, event(call(), match=1), match_object=(7, "1"))
    assert pen.is_writing.wait(5)
    put(outbox, *life()[1:])
    pen.may_write.set()
    assert outbox.flush(5.0)
    assert pen.states() == [CallState.HANGUP]
    assert pen.written[0][0].match_object == (7, "1")


def test_late_older_news_does_not_take_the_place_of_the_end(outbox: Outbox, pen: Pen) -> None:
    pen.may_write.clear()
    put(outbox, event(call("other")))
    assert pen.is_writing.wait(5)
    put(outbox, life()[-1], life()[1], life()[0])
    pen.may_write.set()
    assert outbox.flush(5.0)
    assert pen.states() == [CallState.HANGUP]


@pytest.mark.parametrize("error", [ValueError("bug"), RuntimeError("no database")])
def test_an_entry_that_can_never_be_written_keeps_no_other_from_the_log(
    outbox: Outbox, pen: Pen, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    pen.refuses = lambda entry: error if entry.call.call_id == "bad" else None
    pen.may_write.clear()
    put(outbox, event(call("c1")), event(call("bad")), event(call("c2")))
    pen.may_write.set()
    assert outbox.flush(5.0)
    assert pen.states("c2") == [CallState.RINGING]
    assert pen.states("bad") == []
    assert "bad is lost" in caplog.text
    assert "442079460018" not in caplog.text


def test_a_call_of_a_deleted_agent_is_written_without_her(outbox: Outbox, pen: Pen) -> None:
    pen.refuses = lambda entry: ValueError("no such user") if entry.agent_id == 99 else None
    put(outbox, event(call()), agent_id=99)
    assert outbox.flush(5.0)
    assert [entry.agent_id for batch in pen.written for entry in batch] == [None]


def test_events_of_one_call_take_one_place_however_many_they_are(outbox: Outbox, pen: Pen) -> None:
    pen.may_write.clear()
    with override_settings(CTI_DJANGO={"OUTBOX_SIZE": 3}):
        put(outbox, event(call("first")))
        assert pen.is_writing.wait(5)
        for _each in range(100):
            put(outbox, life("c1")[1], life("c1")[2])
        put(outbox, event(call("c2")), event(call("c3")))
        assert outbox.length == 4
    pen.may_write.set()
    assert outbox.flush(5.0)
    assert all(pen.states(call_id) for call_id in ("first", "c1", "c2", "c3"))


def test_a_full_outbox_loses_the_oldest_call_and_says_so_once(
    outbox: Outbox, pen: Pen, caplog: pytest.LogCaptureFixture
) -> None:
    pen.may_write.clear()
    with override_settings(CTI_DJANGO={"OUTBOX_SIZE": 3}):
        put(outbox, event(call("first")))
        assert pen.is_writing.wait(5)
        put(outbox, *(event(call(f"c{number}")) for number in range(6)))
        assert outbox.length == 4
    pen.may_write.set()
    assert outbox.flush(5.0)
    assert [call_id for call_id in ("c0", "c2", "c3", "c5") if pen.states(call_id)] == ["c3", "c5"]
    assert caplog.text.count("outbox is full") == 1


def test_many_calls_are_written_in_batches(outbox: Outbox, pen: Pen) -> None:
    pen.may_write.clear()
    put(outbox, event(call("first")))
    assert pen.is_writing.wait(5)
    put(outbox, *(event(call(f"c{number}")) for number in range(450)))
    pen.may_write.set()
    assert outbox.flush(5.0)
    assert [len(batch) for batch in pen.written] == [1, 200, 200, 50]


def test_closing_writes_what_is_there_and_the_next_event_starts_anew(outbox: Outbox, pen: Pen) -> None:
    put(outbox, event(call()))
    outbox.close(5.0)
    assert pen.states() == [CallState.RINGING]
    put(outbox, *life())
    assert outbox.flush(5.0)
    assert pen.states()[-1] is CallState.HANGUP


@pytest.mark.parametrize(
    ("current", "news", "expected"),
    [
        (CallState.RINGING, CallState.CONNECTED, True),
        (CallState.CONNECTED, CallState.ON_HOLD, True),
        (CallState.ON_HOLD, CallState.CONNECTED, True),
        (CallState.CONNECTED, CallState.RINGING, False),
        (CallState.HANGUP, CallState.CONNECTED, False),
        (CallState.HANGUP, CallState.HANGUP, False),
        (CallState.ACCEPTED, CallState.CANCEL, True),
        (CallState.RINGING, CallState.RINGING, True),
    ],
)
def test_only_newer_news_is_written_over_older(current: CallState, news: CallState, expected: bool) -> None:
    assert is_newer(current, news) is expected


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
            calllog._write(entries)
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
    calllog._write([Entry(agent.pk, call("c1"), START, "voipstudio"), Entry(agent.pk, call("c2"), START, "voipstudio")])
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
