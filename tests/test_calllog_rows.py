"""Rows and last words: what several holders say of one call, one after the other or at once, on both databases."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import close_old_connections, connection, connections, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from cti_django import calllog
from cti_django.calllog_rows import write
from cti_django.calls.events import Call
from cti_django.calls.numbers import Party, PartyKind, classify
from cti_django.calls.states import CallState, Direction, EndReason
from cti_django.models import AgentLease, CallNote, CallRecord
from cti_django.outbox import Entry
from tests.servers import PostgreSQL, as_default
from tests.test_outbox import START, call, life

CONNECTED, ENDED = life()[1].call, life()[-1].call


@pytest.fixture(scope="module")
def on_postgres(postgres_server: PostgreSQL, _postgres_template: str) -> Iterator[dict[str, Any]]:
    """One database for all of these tests: to make one takes longer than any of them."""
    yield postgres_server.create("calllog_rows", _postgres_template)
    postgres_server.drop("calllog_rows")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[None]:
    """The default database of this test; what is written is seen by other threads."""
    calllog.outbox.close(2.0)
    if request.param == "sqlite":
        yield
        return
    with as_default(request.getfixturevalue("on_postgres")):
        yield
        calllog.outbox.close(2.0)
        for model in (CallNote, CallRecord, AgentLease, get_user_model()):
            model._default_manager.all().delete()


@pytest.fixture
def alice(database: None) -> Any:
    return get_user_model().objects.create_user("alice").pk


def leased(agent_id: Any, fence: int, *, for_seconds: float = 0.0, **values: Any) -> None:
    """The agent's session runs under `fence`, since so many seconds."""
    since = Now() - timedelta(seconds=for_seconds)
    defaults = {"holder": "two", "fence": fence, "since": since, "expires_at": Now() + timedelta(seconds=60), **values}
    AgentLease.objects.update_or_create(agent_id=agent_id, defaults=defaults, create_defaults=defaults)


def say(agent_id: Any, said: Call, fence: int, seconds: float = 0.0) -> None:
    write([Entry(agent_id, said, START + timedelta(seconds=seconds), "voipstudio", fence=fence)])


def rows() -> list[tuple[Any, ...]]:
    found = CallRecord.objects.order_by("pk")
    return list(found.values_list("call_id", "state", "end_reason", "fence"))


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def inferred(said: Call, seconds: float) -> Call:
    return replace(said, state=CallState.HANGUP, ended_at=at(seconds), end_reason=EndReason.INFERRED)


def dialled(call_id: str, state: CallState = CallState.INITIAL, started: float = 0.0, **values: Any) -> Call:
    """An outbound call to Dana."""
    defaults: dict[str, Any] = {
        "provider_call_id": "",
        "leg_id": "",
        "direction": Direction.OUTBOUND,
        "source": Party(kind=PartyKind.UNAVAILABLE),
        "destination": classify("+442079460018"),
        "started_at": at(started),
    }
    return call(call_id, state, **{**defaults, **values})


# -- the row is there -------------------------------------------------------------------------------------------------


def test_a_row_keeps_the_highest_fence_that_wrote_it(alice: Any) -> None:
    leased(alice, 4)
    say(alice, call(), 4)
    say(alice, CONNECTED, 0)
    assert rows() == [("c1", "CONNECTED", "", 4)]


def test_what_a_former_holder_says_of_a_live_call_is_not_written_over_its_successors_word(alice: Any) -> None:
    leased(alice, 4)
    say(alice, call(), 4)
    say(alice, CONNECTED, 3)
    assert rows() == [("c1", "RINGING", "", 4)]


def test_but_that_it_was_there_when_the_call_began_and_was_answered_counts(alice: Any) -> None:
    leased(alice, 4)
    found = replace(CONNECTED, started_at=at(40), connected_at=at(40))
    say(alice, found, 4)
    say(alice, CONNECTED, 3)
    say(alice, replace(found, state=CallState.ON_HOLD), 4)
    row = CallRecord.objects.get()
    assert (row.state, row.started_at, row.connected_at, row.fence) == ("ON_HOLD", at(0), at(5), 4)


def test_before_its_successor_has_said_anything_of_the_call_its_word_counts_as_ever(alice: Any) -> None:
    leased(alice, 3)
    say(alice, call(), 3)
    leased(alice, 4)
    say(alice, CONNECTED, 3)
    assert rows() == [("c1", "CONNECTED", "", 3)]


@pytest.mark.parametrize("known", [CONNECTED, inferred(CONNECTED, 70)])
def test_an_end_that_a_former_holder_saw_counts_whatever_its_successor_says(alice: Any, known: Call) -> None:
    leased(alice, 4)
    say(alice, known, 4, 70)
    say(alice, ENDED, 3, 65)
    row = CallRecord.objects.get()
    assert (row.state, row.end_reason, row.cause, row.ended_at) == ("HANGUP", "completed", "Normal clearing", at(65))


def test_an_end_that_it_only_inferred_does_not(alice: Any) -> None:
    leased(alice, 4)
    say(alice, CONNECTED, 4)
    say(alice, inferred(CONNECTED, 65), 3, 65)
    assert rows() == [("c1", "CONNECTED", "", 4)]


def test_an_inferred_end_lies_between_the_last_news_and_the_snapshot(alice: Any) -> None:
    leased(alice, 3)
    say(alice, CONNECTED, 3, 5)
    say(alice, replace(CONNECTED, state=CallState.ON_HOLD), 3, 20)
    leased(alice, 4)
    say(alice, inferred(CONNECTED, 65), 4, 65)
    row = CallRecord.objects.get()
    assert (row.heard_at, row.ended_at, row.end_reason) == (at(20), at(65), "inferred")


def test_a_call_whose_end_was_inferred_and_that_a_later_holder_sees_live_is_open_again(alice: Any) -> None:
    leased(alice, 4)
    say(alice, inferred(CONNECTED, 65), 4, 65)
    say(alice, CONNECTED, 4)
    assert rows() == [("c1", "HANGUP", "inferred", 4)]
    leased(alice, 5)
    say(alice, CONNECTED, 5, 80)
    row = CallRecord.objects.get()
    assert (row.state, row.end_reason, row.ended_at, row.fence) == ("CONNECTED", "", None, 5)


# -- the row is not there ---------------------------------------------------------------------------------------------


def test_a_former_holders_end_of_a_call_that_nobody_else_knows_is_written(alice: Any) -> None:
    leased(alice, 4)
    say(alice, ENDED, 3, 65)
    assert rows() == [("c1", "HANGUP", "completed", 3)]


@pytest.mark.parametrize(
    ("said", "state"),
    [(call(), "HANGUP"), (CONNECTED, "HANGUP"), (dialled("c1"), "CANCEL")],
    ids=["ringing", "connected", "dialled"],
)
def test_a_live_call_of_a_former_holder_that_nobody_else_knows_is_written_as_over(
    alice: Any, said: Call, state: str
) -> None:
    leased(alice, 4)
    say(alice, said, 3, 7)
    row = CallRecord.objects.get()
    assert (row.state, row.end_reason, row.ended_at, row.heard_at) == (state, "inferred", at(7), at(7))
    assert row.started_at == START


def test_a_live_call_of_the_present_holder_or_of_nobody_in_particular_is_written_live(alice: Any) -> None:
    leased(alice, 4)
    say(alice, call("mine"), 4)
    say(alice, call("unfenced"), 0)
    write([Entry(None, call("nobodys"), START, "voipstudio", fence=4)])
    assert [state for _, state, _, _ in rows()] == ["RINGING"] * 3


def test_a_successor_that_finds_the_call_again_under_its_id_opens_it(alice: Any) -> None:
    leased(alice, 4)
    say(alice, call(), 3)
    say(alice, CONNECTED, 4, 9)
    assert rows() == [("c1", "CONNECTED", "", 4)]


def test_a_call_that_a_successor_knows_under_another_id_is_not_written_a_second_time(alice: Any) -> None:
    leased(alice, 4)
    say(alice, replace(CONNECTED, call_id="theirs", started_at=at(60)), 4, 60)
    say(alice, CONNECTED, 3, 5)
    assert rows() == [("theirs", "CONNECTED", "", 4)]


def test_an_older_call_under_the_same_providers_id_is_another_call(alice: Any) -> None:
    leased(alice, 4)
    over = replace(ENDED, call_id="old", started_at=at(-60), ended_at=at(-1))
    say(alice, over, 4, -1)
    say(alice, call(source=classify("+442079460055")), 3)
    assert rows() == [("old", "HANGUP", "completed", 4), ("c1", "HANGUP", "inferred", 3)]


@pytest.mark.parametrize(
    ("theirs", "is_same"),
    [
        ({}, True),
        ({"started": 119.0}, True),
        ({"started": 121.0}, False),
        ({"started": -30.0}, False),
        ({"destination": classify("+442079460055")}, False),
        ({"direction": Direction.INBOUND, "source": classify("+442079460018")}, False),
    ],
    ids=["at once", "in time", "too late", "before", "somebody else", "the other way"],
)
def test_a_click_to_call_that_has_no_name_yet_is_known_by_its_other_side(
    alice: Any, theirs: dict[str, Any], is_same: bool
) -> None:
    leased(alice, 4)
    found = dialled("theirs", CallState.RINGING, **{"started": 5.0, "provider_call_id": "9", "leg_id": "9-1", **theirs})
    say(alice, found, 4, 6)
    say(alice, dialled("c1", command_id="tab:1"), 3)
    assert [call_id for call_id, *_ in rows()] == (["theirs"] if is_same else ["theirs", "c1"])


def test_a_call_that_was_closed_too_early_is_found_again_under_another_id(alice: Any) -> None:
    leased(alice, 4)
    say(alice, dialled("c1", command_id="tab:1"), 3)
    CallNote.objects.create(call=CallRecord.objects.get(), author_id=alice, text="rings back")
    found = dialled("theirs", CallState.RINGING, 5.0, provider_call_id="9", leg_id="9-1")
    say(alice, found, 4, 6)
    assert rows() == [("theirs", "RINGING", "", 4)]
    row = CallRecord.objects.get()
    assert (row.started_at, row.ended_at, row.notes.get().text) == (START, None, "rings back")


@pytest.mark.parametrize("reason", [EndReason.CANCELLED, EndReason.INFERRED])
def test_a_call_whose_end_somebody_saw_or_looked_for_is_not_found_again(alice: Any, reason: EndReason) -> None:
    leased(alice, 4)
    over = dialled("c1", CallState.CANCEL, ended_at=at(4), end_reason=reason, command_id="tab:1")
    say(alice, over, 3, 4)
    say(alice, dialled("again", CallState.RINGING, 9.0, provider_call_id="9", leg_id="9-1"), 4, 9)
    assert [call_id for call_id, *_ in rows()] == ["c1", "again"]


def test_once_a_lease_is_old_nobody_looks_for_former_holders_calls_any_more(alice: Any) -> None:
    leased(alice, 4, for_seconds=600)
    entries = [Entry(alice, call(f"c{number}"), START, "voipstudio", fence=4) for number in range(20)]
    with CaptureQueriesContext(connection) as captured:
        write(entries)
    asked = [query["sql"] for query in captured if query["sql"].startswith("SELECT")]
    assert len(asked) == 2  # the calls' rows and the agents' leases
    leased(alice, 5)
    with CaptureQueriesContext(connection) as captured:
        write(
            [replace(entry, fence=5, call=replace(entry.call, call_id=f"d{entry.call.call_id}")) for entry in entries]
        )
    assert len([query for query in captured if query["sql"].startswith("SELECT")]) == 3
    assert CallRecord.objects.count() == 40


# -- at the same time -------------------------------------------------------------------------------------------------


def in_another_thread(threads: ThreadPoolExecutor, function: Any, *args: Any) -> "Future[Any]":
    def run() -> Any:
        try:
            return function(*args)
        finally:
            connections.close_all()

    return threads.submit(run)


def until_somebody_waits_for_a_lock() -> None:
    deadline = time.monotonic() + 10
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
    pytest.fail("Nobody waits.")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("first", "second"), [(call(), ENDED), (ENDED, call())], ids=["news", "old news"])
def test_two_processes_that_write_a_new_call_at_once_do_not_write_over_each_other(
    alice: Any, first: Call, second: Call
) -> None:
    leased(alice, 4)
    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            say(alice, first, 4, 65)
            other = in_another_thread(threads, say, alice, second, 3, 65)
            until_somebody_waits_for_a_lock()
        other.result(10)
    assert rows() == [("c1", "HANGUP", "completed", 4)]


# -- takeover ---------------------------------------------------------------------------------------------------------


def ago(seconds: float) -> datetime:
    return datetime.now(START.tzinfo) - timedelta(seconds=seconds)


def test_a_new_holder_restores_the_open_calls_and_those_that_ended_just_now(alice: Any) -> None:
    leased(alice, 3)
    long_ago = replace(ENDED, call_id="long ago", ended_at=ago(130))
    just_now = replace(ENDED, call_id="just now", started_at=ago(200), ended_at=ago(60))
    missing = replace(inferred(CONNECTED, 0), call_id="missing", started_at=ago(199), ended_at=ago(50))
    going_on = replace(CONNECTED, call_id="going on", started_at=ago(190))
    for said in (long_ago, just_now, missing, going_on):
        write([Entry(alice, replace(said, connected_at=said.started_at), ago(50), "voipstudio", fence=3)])
    calllog.record(alice, replace(life("new")[0], at=ago(0)), fence=3)
    assert calllog.flush(5.0)
    calllog.outbox.close()
    assert {each.call_id for each in calllog.calls_to_restore(alice)} == {"just now", "missing", "going on", "new"}
    assert {each.call_id for each in calllog.open_calls(alice)} == {"going on", "new"}


def test_it_restores_them_oldest_first_as_they_are_known_here(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    say(alice, call("c1"), 0)
    say(alice, call("c2", started_at=at(1)), 0)
    monkeypatch.setattr(calllog.outbox, "_start", lambda: None)
    calllog.record(alice, life("c1")[1])
    over = life("c2")[-1]
    calllog.record(alice, replace(over, call=replace(over.call, ended_at=ago(500))))
    calllog.record(alice, life("c3")[0])
    restored = calllog.calls_to_restore(alice)
    calllog.outbox.discard()
    assert [(each.call_id, each.state.value) for each in restored] == [("c1", "CONNECTED"), ("c3", "RINGING")]


def test_it_does_not_restore_an_end_that_only_the_log_has_inferred(alice: Any) -> None:
    leased(alice, 4)
    write([Entry(alice, call(started_at=ago(20)), ago(15), "voipstudio", fence=3)])
    assert CallRecord.objects.get().end_reason == "inferred"
    assert calllog.calls_to_restore(alice) == []


def test_from_then_on_a_former_holders_word_of_the_open_calls_is_not_written(alice: Any) -> None:
    leased(alice, 3)
    say(alice, call(), 3)
    leased(alice, 4)
    assert [each.state for each in calllog.calls_to_restore(alice)] == [CallState.RINGING]
    say(alice, replace(CONNECTED, state=CallState.ON_HOLD), 3)
    assert rows() == [("c1", "RINGING", "", 4)]


def test_a_process_that_takes_its_own_session_over_goes_on_writing_what_it_knows(
    alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    leased(alice, 3)
    say(alice, call(), 3)
    with monkeypatch.context() as patched:
        patched.setattr(calllog.outbox, "_start", lambda: None)
        calllog.record(alice, life()[1], fence=3)
        calllog.record(alice, life("c2")[1], fence=3)
        leased(alice, 4)
        assert [each.state for each in calllog.calls_to_restore(alice)] == [CallState.CONNECTED] * 2
    calllog.record(alice, life("c3")[0], fence=4)
    assert calllog.flush(5.0)
    assert rows() == [("c1", "CONNECTED", "", 4), ("c2", "CONNECTED", "", 4), ("c3", "RINGING", "", 4)]


def test_a_call_that_ends_while_nobody_runs_the_session_is_closed_once_and_for_all(alice: Any) -> None:
    """The former holder saw the end and could not write it; the new one misses the call in its snapshot."""
    leased(alice, 3)
    say(alice, CONNECTED, 3, 5)
    leased(alice, 4)
    (restored,) = calllog.calls_to_restore(alice)
    say(alice, inferred(restored, 80), 4, 80)
    assert rows() == [("c1", "HANGUP", "inferred", 4)]
    say(alice, ENDED, 3, 65)
    row = CallRecord.objects.get()
    assert (row.end_reason, row.ended_at, row.heard_at, row.fence) == ("completed", at(65), at(65), 4)


# -- orphans ----------------------------------------------------------------------------------------------------------


def test_calls_that_no_session_follows_are_closed_at_the_last_time_that_they_were_heard_of(alice: Any) -> None:
    say(alice, call("ringing"), 0)
    say(alice, replace(CONNECTED, call_id="talking"), 0, 5)
    say(alice, replace(CONNECTED, call_id="held", state=CallState.ON_HOLD), 0, 30)
    say(alice, dialled("dialled"), 0)
    write([Entry(None, replace(CONNECTED, call_id="nobody's"), at(6), "voipstudio")])
    say(alice, replace(ENDED, call_id="over"), 0, 65)
    say(alice, replace(CONNECTED, call_id="young", started_at=ago(60)), 0)
    assert calllog.close_orphans(3600.0) == 5
    found = CallRecord.objects.exclude(end_reason="").order_by("pk")
    assert list(found.values_list("call_id", "state", "end_reason", "ended_at")) == [
        ("ringing", "HANGUP", "inferred", at(0)),
        ("talking", "HANGUP", "inferred", at(5)),
        ("held", "HANGUP", "inferred", at(30)),
        ("dialled", "CANCEL", "inferred", at(0)),
        ("nobody's", "HANGUP", "inferred", at(6)),
        ("over", "HANGUP", "completed", at(65)),
    ]
    assert calllog.open_calls(alice)[0].call_id == "young"
    assert calllog.close_orphans(3600.0) == 0


def test_calls_of_before_last_times_were_kept_are_closed_when_they_began_or_were_answered(alice: Any) -> None:
    say(alice, call("c1"), 0)
    say(alice, replace(CONNECTED, call_id="c2"), 0)
    CallRecord.objects.update(heard_at=None)
    assert calllog.close_orphans(3600.0) == 2
    assert list(CallRecord.objects.order_by("pk").values_list("ended_at", flat=True)) == [at(0), at(5)]


@pytest.mark.parametrize(
    ("lease", "is_closed"),
    [
        ({}, False),
        ({"holder": "", "expires_at": None}, True),
        ({"expires_at": Now() - timedelta(seconds=1)}, True),
        ({"fence": 5}, False),
        ({"fence": 5, "for_seconds": 600}, True),
    ],
    ids=["held", "released", "crashed", "claimed just now", "held by somebody who does not know the call"],
)
def test_a_call_is_followed_by_whoever_holds_the_lease_that_it_was_written_under(
    alice: Any, lease: dict[str, Any], is_closed: bool
) -> None:
    leased(alice, 4, for_seconds=600)
    say(alice, CONNECTED, 4)
    leased(alice, **{"fence": 4, **lease})
    assert calllog.close_orphans(3600.0) == is_closed


def test_a_call_that_was_restored_is_followed(alice: Any) -> None:
    leased(alice, 4)
    say(alice, CONNECTED, 4)
    leased(alice, 5, for_seconds=600)
    calllog.calls_to_restore(alice)
    assert calllog.close_orphans(3600.0) == 0


@pytest.mark.parametrize(("link", "fence", "counts"), [("ready", 4, True), ("lost", 4, False), ("ready", 5, False)])
def test_a_session_whose_line_was_up_followed_its_calls_until_its_last_renewal(
    alice: Any, link: str, fence: int, counts: bool
) -> None:
    leased(alice, 4)
    say(alice, CONNECTED, 4, 5)
    leased(alice, fence, link=link, expires_at=at(1210), for_seconds=600)
    assert calllog.close_orphans(3600.0) == 1
    row = CallRecord.objects.get()
    assert row.ended_at == row.heard_at == at(1200 if counts else 5)


def test_how_old_a_call_is_believed_to_be_is_a_setting(alice: Any, settings: Any) -> None:
    write([Entry(alice, call(started_at=ago(2 * 3600)), ago(10), "voipstudio")])
    assert calllog.reap() == 0
    settings.CTI_DJANGO = {"BELIEVED_SECONDS": 3600}
    assert calllog.reap() == 1
    assert calllog.calls_to_restore(alice) == []


def test_very_many_orphans_are_closed_in_batches(alice: Any) -> None:
    write([Entry(alice, call(f"c{number}"), START, "voipstudio") for number in range(450)])
    with CaptureQueriesContext(connection) as captured:
        assert calllog.close_orphans(3600.0) == 450
    assert len([query for query in captured if query["sql"].startswith("UPDATE")]) == 3


def test_two_processes_that_reap_at_once_close_each_call_once(alice: Any) -> None:
    write([Entry(alice, call(f"c{number}"), START, "voipstudio") for number in range(450)])
    with ThreadPoolExecutor(4) as threads:
        reaping = [in_another_thread(threads, calllog.close_orphans, 3600.0) for _each in range(4)]
        closed = [each.result(30) for each in reaping]
    assert sum(closed) == 450
    close_old_connections()
    assert not CallRecord.objects.exclude(end_reason="inferred").exists()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_call_that_another_process_is_writing_is_left_to_it(alice: Any) -> None:
    write([Entry(alice, call(call_id), START, "voipstudio") for call_id in ("c1", "c2")])
    with ThreadPoolExecutor(1) as threads, transaction.atomic():
        say(alice, ENDED, 0, 65)
        assert in_another_thread(threads, calllog.close_orphans, 3600.0).result(10) == 1
    assert [row[:3] for row in rows()] == [("c1", "HANGUP", "completed"), ("c2", "HANGUP", "inferred")]
