"""The outbox: nothing is lost, nothing waits, whatever whoever writes does."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.test import override_settings

from cti_django.calls.events import Call, CallEvent, EventName
from cti_django.calls.numbers import classify
from cti_django.calls.states import CallState, Direction, EndReason
from cti_django.outbox import Entry, Outbox, Said, is_newer

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
    with override_settings(CTI_DJANGO={"OUTBOX_SIZE": 4}):
        put(outbox, event(call("first")))
        assert pen.is_writing.wait(5)
        for _each in range(100):
            put(outbox, life("c1")[1], life("c1")[2])
        put(outbox, event(call("c2")), event(call("c3")))
        assert outbox.length == 4
    pen.may_write.set()
    assert outbox.flush(5.0)
    assert all(pen.states(call_id) for call_id in ("first", "c1", "c2", "c3"))


@pytest.fixture
def small(outbox: Outbox, pen: Pen) -> Iterator[Outbox]:
    """Has room for five; one is in the pen's hand, which does not move."""
    with override_settings(CTI_DJANGO={"OUTBOX_SIZE": 5}):
        pen.may_write.clear()
        put(outbox, event(call("first")))
        assert pen.is_writing.wait(5)
        yield outbox


def ended(call_id: str) -> CallEvent:
    return life(call_id)[-1]


def test_a_full_outbox_gives_up_the_oldest_live_call_first_for_its_end_is_yet_to_come(small: Outbox, pen: Pen) -> None:
    put(small, ended("over1"), event(call("live1")), event(call("live2")), ended("over2"))
    put(small, ended("over3"))
    assert (small.length, small.lost) == (5, 1)
    put(small, ended("live1"))  # makes good for what was given up, in live2's place
    assert (small.length, small.lost) == (5, 2)
    pen.may_write.set()
    assert small.flush(5.0)
    assert [call_id for call_id in ("over1", "over2", "over3", "live1", "live2") if pen.states(call_id)] == [
        "over1",
        "over2",
        "over3",
        "live1",
    ]


def test_if_every_call_is_over_the_oldest_is_lost_and_a_new_live_one_has_to_wait_for_its_end(
    small: Outbox, pen: Pen
) -> None:
    put(small, *(ended(f"c{number}") for number in range(5)), event(call("live")))
    pen.may_write.set()
    assert small.flush(5.0)
    assert [batch[0].call.call_id for batch in pen.written] == ["first", "c1"]
    assert [entry.call.call_id for entry in pen.written[1]] == ["c1", "c2", "c3", "c4"]
    assert small.lost == 2


def test_it_says_once_that_it_fills_once_that_it_is_full_and_once_that_it_has_drained(
    small: Outbox, pen: Pen, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "cti_django.calllog")
    put(small, ended("c0"), ended("c1"))
    assert caplog.messages == []
    put(small, *(ended(f"c{number}") for number in range(7)))
    pen.may_write.set()
    assert small.flush(5.0)
    small.close(5.0)
    said = [(record.levelname, record.getMessage().partition(": ")[0]) for record in caplog.records]
    assert said == [
        ("WARNING", "The call log's outbox is filling"),
        ("ERROR", "The call log's outbox is full, calls may be lost"),
        ("INFO", "The call log's outbox has drained; 3 entries were lost."),
    ]
    assert "4 of 5 calls wait" in caplog.text
    pen.may_write.clear()
    put(small, *(ended(f"d{number}") for number in range(4)))  # another outage
    assert caplog.text.count("is filling") == 2


def test_how_full_it_is_and_how_long_the_oldest_news_has_waited_can_be_asked(small: Outbox, pen: Pen) -> None:
    put(small, event(call("c1")))
    assert (small.length, small.fill) == (2, 0.4)
    before, since = small.oldest_seconds, small._waiting["c1"].waits_since
    assert before > 0
    put(small, *life("c1"))  # newer news of the same call: what waits is as old as before
    assert small._waiting["c1"].waits_since == since
    put(small, event(call("first")))
    assert small.oldest_seconds > before
    assert small.fill == 0.4
    pen.may_write.set()
    assert small.flush(5.0)
    assert (small.length, small.fill, small.oldest_seconds, small.lost) == (0, 0.0, 0.0, 0)


async def test_who_waits_for_room_goes_on_at_once_while_there_is_some(small: Outbox) -> None:
    put(small, *(ended(f"c{number}") for number in range(3)))
    async with asyncio.timeout(1):
        assert await small.room(60.0)


async def test_who_waits_for_room_is_woken_by_the_writing_and_holds_nobody_else_up(small: Outbox, pen: Pen) -> None:
    put(small, *(ended(f"c{number}") for number in range(4)))
    waiting = [asyncio.ensure_future(small.room(60.0)) for _each in range(3)]
    for _each in range(5):
        await asyncio.sleep(0)
    assert not any(each.done() for each in waiting)
    pen.may_write.set()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == [True] * 3


async def test_who_waits_for_room_waits_no_longer_than_it_may_and_a_failing_attempt_makes_no_room(
    small: Outbox, pen: Pen
) -> None:
    put(small, *(ended(f"c{number}") for number in range(4)))
    pen.failures = [OperationalError()] * 1000
    pen.may_write.set()
    async with asyncio.timeout(5):
        assert not await small.room(0.03)
    assert (small.length, small.lost) == (5, 0)
    assert small._in_need == []


def test_calls_that_could_not_be_written_before_the_end_are_counted_as_lost(outbox: Outbox, pen: Pen) -> None:
    pen.failures = [OperationalError()] * 1000
    put(outbox, event(call("c1")), event(call("c2")))
    outbox.close(0.05)
    assert outbox.lost == 2


def test_many_calls_are_written_in_batches(outbox: Outbox, pen: Pen) -> None:
    pen.may_write.clear()
    put(outbox, event(call("first")))
    assert pen.is_writing.wait(5)
    put(outbox, *(event(call(f"c{number}")) for number in range(450)))
    pen.may_write.set()
    assert outbox.flush(5.0)
    assert [len(batch) for batch in pen.written] == [1, 200, 200, 50]


def test_what_follows_gathers_for_a_moment_and_a_call_that_begins_does_not_wait(
    outbox: Outbox, pen: Pen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cti_django.outbox._GATHER", 60.0)
    put(outbox, event(call()))
    assert outbox.flush(5.0)
    pen.is_writing.clear()
    put(outbox, life()[1])
    assert not pen.is_writing.wait(0.1)
    put(outbox, event(call("c2")))
    assert pen.is_writing.wait(5)
    assert outbox.flush(5.0)
    assert [len(batch) for batch in pen.written] == [1, 2]


def test_closing_writes_what_is_there_and_the_next_event_starts_anew(outbox: Outbox, pen: Pen) -> None:
    put(outbox, event(call()))
    outbox.close(5.0)
    assert pen.states() == [CallState.RINGING]
    put(outbox, *life())
    assert outbox.flush(5.0)
    assert pen.states()[-1] is CallState.HANGUP


def test_what_this_process_has_to_say_of_an_agents_calls_can_be_said_under_a_new_fence(
    outbox: Outbox, pen: Pen
) -> None:
    pen.may_write.clear()
    pen.failures = [OperationalError()]
    in_hand, theirs = Entry(1, call("c1"), START, "v", fence=3), Entry(2, call("c2"), START, "v", fence=3)
    outbox.put(in_hand)
    assert pen.is_writing.wait(5)
    outbox.put(replace(in_hand, call=call("c3")))
    outbox.put(theirs)
    outbox.adopt(1, 5)
    pen.may_write.set()
    assert outbox.flush(5.0)
    assert [(entry.call.call_id, entry.fence) for batch in pen.written for entry in batch] == [
        ("c1", 5),
        ("c3", 5),
        ("c2", 3),
    ]


def test_of_one_call_what_was_said_under_the_higher_fence_counts(outbox: Outbox, pen: Pen) -> None:
    pen.may_write.clear()
    put(outbox, event(call("first")))
    assert pen.is_writing.wait(5)
    inferred = replace(life("c1")[-1].call, end_reason=EndReason.INFERRED)
    outbox.put(Entry(1, call("c1", CallState.CONNECTED), START, "v", fence=5))
    outbox.put(Entry(1, inferred, START, "v", fence=3))
    outbox.put(Entry(1, inferred, START, "v", fence=5))
    outbox.put(Entry(1, call("c1", CallState.CONNECTED), START, "v", fence=6))
    outbox.put(Entry(1, call("c1"), START, "v", fence=7))
    pen.may_write.set()
    assert outbox.flush(5.0)
    (last,) = (entry for batch in pen.written for entry in batch if entry.call.call_id == "c1")
    assert (last.call.state, last.fence) == (CallState.CONNECTED, 7)


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
    assert is_newer(Said(current), Said(news)) is expected


SEEN, INFERRED = Said(CallState.HANGUP), Said(CallState.HANGUP, is_inferred=True)


@pytest.mark.parametrize(
    ("known", "news", "expected"),
    [
        (SEEN._replace(fence=3), Said(CallState.CONNECTED, fence=4), False),
        (SEEN._replace(fence=3), INFERRED._replace(fence=4), False),
        (INFERRED._replace(fence=4), SEEN._replace(fence=3), True),
        (INFERRED._replace(fence=4), INFERRED._replace(fence=3), False),
        (INFERRED._replace(fence=4), Said(CallState.CONNECTED, fence=4), False),
        (INFERRED._replace(fence=4), Said(CallState.CONNECTED, fence=5), True),
        (Said(CallState.RINGING, fence=4), Said(CallState.CONNECTED, fence=3), False),
        (Said(CallState.RINGING, fence=4), SEEN._replace(fence=3), True),
        (Said(CallState.CONNECTED, fence=4), INFERRED._replace(fence=3), False),
        (Said(CallState.RINGING, fence=4), Said(CallState.CONNECTED), True),
    ],
)
def test_a_later_holders_word_stands_but_an_end_that_was_seen_stands_above_all(
    known: Said, news: Said, expected: bool
) -> None:
    assert is_newer(known, news) is expected
