"""Whom the agent speaks with now, and whom she asks: the call's other side changes, the call does not."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_django.calls.board import CallBoard
from cti_django.calls.events import EventName
from cti_django.calls.notifications import PresenceNotification, Snapshot
from cti_django.calls.numbers import Party, PartyKind, classify
from cti_django.calls.states import Direction, EndReason

from .test_board import AGENT, CONNECTED, DANA, HANGUP, NOW, ON_HOLD, PLAN, RINGING, fold_all, leg, names, new_board

BOB = classify("10032", "Bob Agent", PLAN)
DANA_ELSEWHERE = classify("+44 20 7946 0018", "", PLAN)
WITHHELD = Party(kind=PartyKind.WITHHELD, number_raw="anonymous")
UNAVAILABLE = Party(kind=PartyKind.UNAVAILABLE)


def following(state, leg_id="731-1", **more):
    return leg(state, leg_id, follows_remote=True, **more)


def test_a_transfer_that_comes_through_replaces_the_caller_and_says_so_once():
    board = new_board()
    events = fold_all(board, [following(RINGING, remote=BOB), following(CONNECTED, remote=BOB)])
    events += fold_all(board, [following(CONNECTED), following(CONNECTED)])
    assert names(events) == ["RINGING", "CONNECTED", "UPDATED"]
    assert events[-1].call == board.get("call-1")
    assert (events[-1].call.source, events[-1].call.destination, events[-1].call.state) == (DANA, AGENT, CONNECTED)


def test_an_outbound_call_follows_whom_she_speaks_with_as_its_destination():
    out = {"direction": Direction.OUTBOUND}
    events = fold_all(new_board(), [following(CONNECTED, **out), following(CONNECTED, remote=BOB, **out)])
    assert names(events) == ["CONNECTED", "UPDATED"]
    assert (events[-1].call.source, events[-1].call.destination) == (AGENT, BOB)


def test_without_that_promise_the_other_side_stays():
    board = new_board()
    assert names(fold_all(board, [leg(CONNECTED), leg(CONNECTED, remote=BOB)])) == ["CONNECTED"]
    assert board.get("call-1").source is DANA


def test_a_new_state_that_brings_another_side_is_one_event():
    events = fold_all(new_board(), [following(RINGING, remote=BOB), following(CONNECTED)])
    assert names(events) == ["RINGING", "CONNECTED"]
    assert events[-1].call.source is DANA


def test_the_same_telephone_written_in_another_way_is_no_news_and_keeps_its_name():
    board = new_board()
    assert names(fold_all(board, [following(CONNECTED), following(CONNECTED, remote=DANA_ELSEWHERE)])) == ["CONNECTED"]
    assert board.get("call-1").source is DANA


@pytest.mark.parametrize("hidden", [WITHHELD, UNAVAILABLE], ids=["withheld", "unavailable"])
def test_a_caller_without_a_number_is_no_news_however_often_it_is_said(hidden):
    board = new_board()
    again = following(RINGING, remote=hidden)
    assert names(fold_all(board, [again, again, leg(RINGING, remote=hidden), again])) == ["RINGING"]


def test_whom_she_speaks_with_is_not_unlearnt_for_a_moment_of_silence():
    board = new_board()
    fold_all(board, [following(CONNECTED), following(CONNECTED, remote=UNAVAILABLE)])
    assert board.get("call-1").source is DANA


def test_only_the_leg_that_speaks_for_the_call_is_followed():
    board = new_board()
    fold_all(board, [following(RINGING), following(CONNECTED, "731-2")])
    assert fold_all(board, [following(RINGING, remote=BOB)]) == []
    assert fold_all(board, [following(HANGUP, remote=BOB)]) == []
    assert board.get("call-1").source is DANA


def test_what_comes_late_does_not_bring_back_who_it_was_with():
    board = new_board()
    fold_all(board, [following(RINGING, remote=BOB), following(CONNECTED), following(RINGING, remote=BOB)])
    assert board.get("call-1").source is DANA


def test_whom_she_asks_is_told_and_so_is_that_she_has_gone_back():
    board = new_board()
    events = fold_all(board, [leg(CONNECTED), leg(ON_HOLD, consult=BOB), leg(ON_HOLD, consult=BOB), leg(ON_HOLD)])
    assert names(events) == ["CONNECTED", "ON_HOLD", "UPDATED"]
    assert [event.call.consult for event in events] == [None, BOB, None]
    assert events[1].to_json()["call"]["consult"] == {"number": "10032", "name": "Bob Agent"}
    assert events[2].to_json()["call"]["consult"] is None


def test_a_transfer_after_asking_ends_the_call_and_the_asking():
    board = new_board()
    (_, asking) = fold_all(board, [leg(CONNECTED), leg(CONNECTED, consult=BOB)])
    assert asking.name is EventName.UPDATED
    board.expect_end("call-1", EndReason.TRANSFERRED)
    (ended,) = fold_all(board, [leg(HANGUP, consult=BOB)])
    assert (ended.call.end_reason, ended.call.consult, ended.call.source) == (EndReason.TRANSFERRED, None, DANA)


def test_after_a_takeover_a_full_state_tells_whom_she_speaks_with_and_whom_she_asks():
    before = new_board()
    fold_all(before, [following(CONNECTED, remote=BOB)])
    board = CallBoard(new_id=lambda _: "other")
    board.restore(before.calls())
    (event,) = fold_all(board, [Snapshot(legs=(following(CONNECTED, consult=BOB),))])
    assert (event.name, event.call.call_id) == (EventName.UPDATED, "call-1")
    assert (event.call.source, event.call.consult) == (DANA, BOB)


def test_a_call_that_somebody_else_took_is_not_missed():
    events = fold_all(new_board(), [leg(RINGING), leg(HANGUP, end_reason=EndReason.ELSEWHERE, cause="Answered by Bob")])
    assert (events[-1].call.end_reason, events[-1].call.cause) == (EndReason.ELSEWHERE, "Answered by Bob")


def test_how_she_stands_with_the_queues_is_not_of_a_call():
    assert new_board().fold(PresenceNotification(queues={"support": True}), NOW) == []


LIFE = [
    following(state, leg_id, remote=remote, consult=consult)
    for leg_id in ("731-1", "731-2")
    for state in (None, RINGING, CONNECTED, ON_HOLD, HANGUP)
    for remote, consult in ((DANA, None), (BOB, None), (DANA, BOB), (UNAVAILABLE, None))
]


@given(st.lists(st.sampled_from(LIFE), max_size=40))
def test_any_order_and_repetition_is_one_call_that_ends_and_says_nothing_twice(told):
    board = new_board()
    events = fold_all(board, [leg(RINGING), *told, following(HANGUP, "731-2"), following(HANGUP)])
    assert {event.call.call_id for event in events} == {"call-1"}
    assert names(events).count("HANGUP") == 1
    assert names(events)[-1] == "HANGUP"
    assert all(event.call.source in (DANA, BOB) and event.call.destination is AGENT for event in events)
    assert events[-1].call.consult is None
    for one, next_one in itertools.pairwise(events):
        assert next_one.call != one.call
        assert (next_one.name is EventName.UPDATED) == (next_one.call.state is one.call.state)
