"""The board folds notifications into events: one id per call, forward only, HANGUP final."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_django.calls.board import KEEP_ENDED, MAX_CALLS, PATIENCE, CallBoard
from cti_django.calls.entry import LATE, STALE
from cti_django.calls.events import CallEvent, EventName, SessionEvent
from cti_django.calls.notifications import (
    DialNotification,
    DialStage,
    LegNotification,
    SessionNotification,
    Snapshot,
)
from cti_django.calls.numbers import NumberPlan, classify, dialable
from cti_django.calls.states import CallState, Direction, EndReason

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
PLAN = NumberPlan(region="GB", extension_pattern=r"[1-9][0-9]{3,4}")
AGENT = classify("10031", "Alice Agent", PLAN)
DANA = classify("442079460018", "Dana", PLAN)
RINGING, CONNECTED, ON_HOLD, HANGUP = CallState.RINGING, CallState.CONNECTED, CallState.ON_HOLD, CallState.HANGUP


def new_board() -> CallBoard:
    counter = itertools.count(1)
    return CallBoard(new_id=lambda _: f"call-{next(counter)}")


def leg(state, leg_id="731-1", *, call="731", direction=Direction.INBOUND, remote=DANA, **more) -> LegNotification:
    return LegNotification(
        provider_call_id=call, leg_id=leg_id, state=state, direction=direction, local=AGENT, remote=remote, **more
    )


def dial(stage, command_id="c1", number="020 7946 0018", **more) -> DialNotification:
    return DialNotification(command_id=command_id, destination=dialable(number, PLAN), stage=stage, **more)


def fold_all(board, notifications, now=NOW):
    return [event for notification in notifications for event in board.fold(notification, now)]


def names(events):
    return [event.name.value for event in events]


def test_an_inbound_call_rings_connects_is_held_and_hangs_up_under_one_id():
    board = new_board()
    events = fold_all(board, [leg(s) for s in (RINGING, CONNECTED, ON_HOLD, CONNECTED, HANGUP)])
    assert names(events) == ["RINGING", "CONNECTED", "ON_HOLD", "CONNECTED", "HANGUP"]
    assert {event.call.call_id for event in events} == {"call-1"}
    assert events[0].call.source is DANA
    assert events[-1].call.end_reason is EndReason.COMPLETED


def test_an_unanswered_inbound_call_is_missed_and_an_unanswered_outbound_one_got_no_answer():
    inbound = fold_all(new_board(), [leg(RINGING), leg(HANGUP)])
    outbound = fold_all(new_board(), [leg(s, direction=Direction.OUTBOUND) for s in (RINGING, HANGUP)])
    assert inbound[-1].call.end_reason is EndReason.MISSED
    assert outbound[-1].call.end_reason is EndReason.NO_ANSWER


def test_trying_is_no_event_and_never_a_nameless_one():
    board = new_board()
    assert fold_all(board, [leg(None)]) == []
    assert board.calls() == []
    assert names(fold_all(board, [leg(RINGING)])) == ["RINGING"]


def test_repeated_and_late_notifications_say_nothing_new():
    events = fold_all(
        new_board(), [leg(RINGING), leg(RINGING), leg(CONNECTED), leg(RINGING), leg(HANGUP), leg(CONNECTED)]
    )
    assert names(events) == ["RINGING", "CONNECTED", "HANGUP"]


def test_two_phones_ringing_are_one_call_whose_state_is_the_best_legs():
    board = new_board()
    events = fold_all(
        board, [leg(RINGING, "731-1"), leg(RINGING, "731-2"), leg(CONNECTED, "731-2"), leg(HANGUP, "731-1")]
    )
    assert names(events) == ["RINGING", "CONNECTED"]
    (call,) = board.calls()
    assert call.leg_id == "731-2"
    assert names(fold_all(board, [leg(HANGUP, "731-2")])) == ["HANGUP"]


def test_several_calls_of_one_agent_keep_apart_and_the_oldest_ringing_comes_first():
    board = new_board()
    fold_all(board, [leg(RINGING, "1-1", call="1"), leg(RINGING, "2-1", call="2"), leg(CONNECTED, "1-1", call="1")])
    assert [call.state for call in board.calls()] == [CONNECTED, RINGING]
    assert board.oldest_ringing().provider_call_id == "2"


def test_click_to_call_keeps_its_id_through_the_dialog_that_follows():
    board = new_board()
    events = fold_all(board, [dial(DialStage.STARTED), dial(DialStage.ACCEPTED)])
    events += fold_all(board, [leg(s, direction=Direction.OUTBOUND) for s in (RINGING, CONNECTED, HANGUP)])
    assert names(events) == ["INITIAL", "ACCEPTED", "RINGING", "CONNECTED", "HANGUP"]
    assert {event.call.call_id for event in events} == {"call-1"}
    assert events[-1].call.provider_call_id == "731"


def test_a_dialog_that_overtakes_the_reply_still_gives_accepted_first():
    board = new_board()
    events = fold_all(board, [dial(DialStage.STARTED), leg(RINGING, direction=Direction.OUTBOUND)])
    events += fold_all(board, [dial(DialStage.ACCEPTED), leg(CONNECTED, direction=Direction.OUTBOUND)])
    assert names(events) == ["INITIAL", "ACCEPTED", "RINGING", "CONNECTED"]
    assert {event.call.call_id for event in events} == {"call-1"}


def test_the_reply_may_name_the_call_itself():
    board = new_board()
    elsewhere = classify("5550100", "", PLAN)  # the system shows a number that is written in its own way
    events = fold_all(board, [dial(DialStage.STARTED), dial(DialStage.ACCEPTED, provider_call_id="731")])
    events += fold_all(board, [leg(RINGING, direction=Direction.OUTBOUND, remote=elsewhere)])
    assert {event.call.call_id for event in events} == {"call-1"}


def test_a_call_dialled_on_the_phone_is_not_taken_for_a_pending_click_to_call():
    board = new_board()
    other = classify("447700900123", "", PLAN)
    events = fold_all(board, [dial(DialStage.STARTED), leg(RINGING, direction=Direction.OUTBOUND, remote=other)])
    assert names(events) == ["INITIAL", "RINGING"]
    assert events[0].call.call_id != events[1].call.call_id


def test_an_inbound_ring_during_a_click_to_call_is_a_call_of_its_own():
    board = new_board()
    events = fold_all(board, [dial(DialStage.STARTED), leg(RINGING)])
    assert events[0].call.call_id != events[1].call.call_id


def test_a_dial_that_the_phone_declines_is_cancelled_with_the_cause():
    events = fold_all(new_board(), [dial(DialStage.STARTED), dial(DialStage.FAILED, cause="Your phone declined.")])
    assert names(events) == ["INITIAL", "CANCEL"]
    assert events[1].call.cause == "Your phone declined."
    assert events[1].call.end_reason is EndReason.CANCELLED


def test_a_doubtful_click_to_call_is_the_call_whose_leg_shows_up_on_the_next_line():
    board = new_board()
    (initial,) = fold_all(board, [dial(DialStage.STARTED), dial(DialStage.DOUBTFUL, cause="The line was lost.")])
    events = fold_all(board, [leg(RINGING, direction=Direction.OUTBOUND)])
    assert {event.call.call_id for event in events} == {initial.call.call_id}
    assert board.give_up(NOW + timedelta(hours=1)) == []


def test_a_doubtful_click_to_call_without_a_leg_is_given_up_soon_with_what_is_known():
    board = new_board()
    fold_all(board, [dial(DialStage.STARTED), dial(DialStage.DOUBTFUL, cause="The line was lost.")])
    assert board.give_up(NOW + timedelta(seconds=30)) == []
    (event,) = board.give_up(NOW + timedelta(seconds=40))
    call = event.call
    assert (call.state, call.end_reason, call.cause) == (CallState.CANCEL, EndReason.INFERRED, "The line was lost.")


def test_a_failure_reply_after_the_dialog_began_is_ignored():
    board = new_board()
    fold_all(board, [dial(DialStage.STARTED), leg(CONNECTED, direction=Direction.OUTBOUND)])
    assert fold_all(board, [dial(DialStage.FAILED, cause="late")]) == []


def test_an_accepted_dial_without_any_dialog_is_given_up_in_the_end():
    board = new_board()
    fold_all(board, [dial(DialStage.STARTED), dial(DialStage.ACCEPTED)])
    patience = PATIENCE[CallState.ACCEPTED]
    assert board.give_up(NOW + patience) == []
    (event,) = board.give_up(NOW + patience + timedelta(seconds=1))
    assert (event.name, event.call.end_reason) == (EventName.HANGUP, EndReason.INFERRED)


def test_a_full_state_that_lists_live_calls_again_is_no_event():
    board = new_board()
    fold_all(board, [leg(CONNECTED)])
    assert fold_all(board, [Snapshot(legs=(leg(CONNECTED),))]) == []


def test_a_call_missing_from_a_full_state_has_ended_unseen():
    board = new_board()
    fold_all(board, [leg(CONNECTED), leg(RINGING, "9-1", call="9")])
    (event,) = fold_all(board, [Snapshot(legs=(leg(RINGING, "9-1", call="9"),))])
    assert (event.name, event.call.provider_call_id) == (EventName.HANGUP, "731")
    assert event.call.end_reason is EndReason.INFERRED


def test_a_full_state_of_one_node_ends_no_call_of_another():
    board = new_board()
    fold_all(board, [leg(RINGING), leg(RINGING, node="user:10032")])
    assert len(board.calls()) == 2
    (event,) = fold_all(board, [Snapshot(node="user:10032")])
    assert event.call.node == "user:10032"
    assert [call.is_own for call in board.calls()] == [True]


def test_a_full_state_that_goes_on_listing_an_ended_call_does_not_revive_it():
    board = new_board()
    fold_all(board, [leg(RINGING), leg(HANGUP)])
    for state in (RINGING, CONNECTED, HANGUP):
        assert fold_all(board, [Snapshot(legs=(leg(state),))]) == []


def test_an_end_that_was_all_we_saw_is_told_once_as_news_and_not_from_a_full_state():
    assert names(fold_all(new_board(), [leg(HANGUP), leg(HANGUP), leg(RINGING)])) == ["HANGUP"]
    assert fold_all(new_board(), [Snapshot(legs=(leg(HANGUP),)), leg(RINGING)]) == []


def test_the_same_provider_call_ringing_another_phone_later_is_a_new_call():
    board = new_board()
    fold_all(board, [leg(RINGING), leg(HANGUP)])
    assert board.fold(leg(RINGING, "731-2"), NOW + LATE / 2) == []
    (event,) = board.fold(leg(RINGING, "731-3"), NOW + LATE * 2)
    assert (event.name, event.call.call_id) == (EventName.RINGING, "call-2")


def test_a_leg_that_says_it_began_after_the_end_is_a_new_call_at_once():
    board = new_board()
    fold_all(board, [leg(RINGING), leg(HANGUP)])
    assert names(fold_all(board, [leg(RINGING, "731-2", started_at=NOW)])) == ["RINGING"]


BOB = classify("10032", "Bob Agent", PLAN)


def same_id(state, **more) -> LegNotification:
    """A leg of a system that writes one dialog id on every call."""
    return leg(state, "padi-1", call="padi-1", reuses_ids=True, **more)


def ids_and_names(events):
    return [(event.call.call_id, event.name.value) for event in events]


def lives(count):
    return [(f"call-{n}", name) for n in range(1, count + 1) for name in ("RINGING", "CONNECTED", "HANGUP")]


def test_calls_that_follow_one_another_under_one_id_are_calls_of_their_own():
    life = [same_id(state) for state in (None, RINGING, RINGING, CONNECTED, HANGUP, HANGUP)]
    assert ids_and_names(fold_all(new_board(), life * 3)) == lives(3)
    assert ids_and_names(fold_all(new_board(), [Snapshot(legs=(each,)) for each in life * 3])) == lives(3)


def test_calls_under_one_id_may_end_by_being_listed_no_more():
    life = [Snapshot(legs=(same_id(RINGING),)), Snapshot(legs=(same_id(CONNECTED),)), Snapshot()]
    assert ids_and_names(fold_all(new_board(), life * 2)) == lives(2)


def test_the_end_of_the_call_before_is_listed_beside_the_next_one_under_its_id():
    over, life = same_id(HANGUP), [same_id(state) for state in (RINGING, CONNECTED)]
    board = new_board()
    fold_all(board, [*life, over])
    documents = [Snapshot(legs=legs) for each in life for legs in ((over, each), (each, over))]
    assert ids_and_names(fold_all(board, documents)) == [("call-2", "RINGING"), ("call-2", "CONNECTED")]


def test_an_ended_call_that_is_still_listed_as_connected_does_not_come_back_under_its_id():
    board = new_board()
    fold_all(board, [same_id(CONNECTED), same_id(HANGUP)])
    assert board.fold(Snapshot(legs=(same_id(CONNECTED),)), NOW + STALE) == []
    assert names(board.fold(Snapshot(legs=(same_id(CONNECTED),)), NOW + STALE * 1.1)) == ["CONNECTED"]


@pytest.mark.parametrize(
    "other",
    [
        same_id(RINGING),
        same_id(CONNECTED, remote=BOB),
        same_id(CONNECTED, direction=Direction.OUTBOUND),
    ],
)
def test_an_id_that_changed_hands_while_nobody_listened_ends_one_call_and_begins_another(other):
    board = new_board()
    fold_all(board, [same_id(CONNECTED)])
    events = fold_all(board, [Snapshot(legs=(other,))])
    assert ids_and_names(events) == [("call-1", "HANGUP"), ("call-2", other.state.value)]


def test_an_id_that_is_used_again_begins_the_click_to_call_that_waits_for_it():
    board = new_board()
    life = [same_id(state, direction=Direction.OUTBOUND) for state in (RINGING, CONNECTED, HANGUP)]
    for command_id in ("c1", "c2"):
        events = fold_all(board, [dial(DialStage.STARTED, command_id), dial(DialStage.ACCEPTED, command_id), *life])
        assert names(events) == ["INITIAL", "ACCEPTED", "RINGING", "CONNECTED", "HANGUP"]
        assert len({event.call.call_id for event in events}) == 1


def test_restored_calls_go_on_under_their_id_or_end_with_the_next_full_state():
    old = new_board()
    fold_all(old, [leg(CONNECTED), leg(RINGING, "9-1", call="9")])
    board = CallBoard(new_id=lambda _: "fresh")
    board.restore(old.calls())
    events = fold_all(board, [Snapshot(legs=(leg(ON_HOLD),))])
    assert [(e.name.value, e.call.call_id) for e in events] == [("ON_HOLD", "call-1"), ("HANGUP", "call-2")]


def named_board() -> CallBoard:
    """A board that gives each call its name as its id; a call without a name gets another id each time."""
    counter = itertools.count(1)
    return CallBoard(new_id=lambda name: name or f"random-{next(counter)}")


BEGAN = NOW - timedelta(seconds=7)
STORY = [
    dial(DialStage.STARTED),
    dial(DialStage.ACCEPTED),
    leg(RINGING, "731-1", direction=Direction.OUTBOUND, started_at=BEGAN),
    leg(RINGING, "9-1", call="9", started_at=BEGAN),
    leg(CONNECTED, "8-1", call="8", started_at=BEGAN, node="user:10032"),
    leg(CONNECTED, "9-2", call="9", started_at=BEGAN),
    leg(HANGUP, "9-1", call="9", started_at=BEGAN),
]


def test_two_boards_that_hear_the_same_give_the_same_ids_and_no_two_calls_share_one():
    one, other = named_board(), named_board()
    fold_all(one, STORY)
    fold_all(other, STORY)
    ids = [call.call_id for call in one.calls()]
    assert ids == [call.call_id for call in other.calls()]
    assert len(set(ids)) == len(ids) == 3


def test_a_board_that_knows_nothing_gives_a_live_call_its_former_id_whatever_its_state_and_leg():
    former, later = named_board(), named_board()
    fold_all(former, [leg(RINGING, "9-1", call="9", started_at=BEGAN)])
    later.fold(Snapshot(legs=(leg(ON_HOLD, "9-2", call="9", started_at=BEGAN),)), NOW + timedelta(minutes=5))
    assert former.calls()[0].call_id == later.calls()[0].call_id


def test_a_call_whose_start_nobody_tells_gets_a_fresh_id():
    board = named_board()
    fold_all(board, [leg(RINGING, "9-1", call="9"), leg(RINGING, "8-1", call="8")])
    assert [call.call_id for call in board.calls()] == ["random-1", "random-2"]


def test_the_call_of_a_second_start_under_one_provider_id_has_another_id():
    board = named_board()
    life = [same_id(state, started_at=NOW) for state in (RINGING, HANGUP)]
    later = [same_id(state, started_at=NOW + timedelta(seconds=5)) for state in (RINGING, HANGUP)]
    assert len({event.call.call_id for event in fold_all(board, life + later)}) == 2


@pytest.mark.parametrize("pause", [LATE * 2, KEEP_ENDED * 3])
def test_calls_that_ring_again_under_one_name_have_ids_of_their_own_however_long_after(pause):
    board, other = named_board(), named_board()
    seen = []
    for lap in range(4):
        now = NOW + lap * pause
        news = [leg(RINGING, f"731-{lap}", started_at=BEGAN), leg(HANGUP, f"731-{lap}", started_at=BEGAN)]
        events = fold_all(board, news, now)
        assert names(events) == ["RINGING", "HANGUP"]
        assert fold_all(other, news, now) == events
        seen.append(events[0].call.call_id)
    assert len(set(seen)) == 4


def test_calls_that_were_over_before_a_takeover_stay_over_and_lend_their_id_to_nobody():
    old = named_board()
    (_, over) = fold_all(old, [leg(RINGING, started_at=BEGAN), leg(HANGUP, started_at=BEGAN)])
    (live,) = fold_all(old, [leg(CONNECTED, "9-1", call="9", started_at=BEGAN)])
    board = named_board()
    board.restore([live.call, over.call])
    assert board.calls() == [live.call]
    assert board.get(over.call.call_id) == over.call
    late = [leg(HANGUP, started_at=BEGAN), leg(CONNECTED, started_at=BEGAN)]
    assert fold_all(board, [*late, Snapshot(legs=(*late, leg(CONNECTED, "9-1", call="9", started_at=BEGAN)))]) == []
    (again,) = board.fold(leg(RINGING, "731-2", started_at=BEGAN), NOW + LATE * 2)
    assert again.call.call_id not in (over.call.call_id, live.call.call_id)
    board.fold(SessionNotification(name="INFO"), NOW + KEEP_ENDED * 2)
    assert board.get(over.call.call_id) is None


def test_a_provider_id_that_is_in_use_again_is_the_live_calls_after_a_takeover():
    old = named_board()
    (_, over) = fold_all(old, [leg(RINGING, started_at=BEGAN), leg(HANGUP, started_at=BEGAN)])
    (live,) = old.fold(leg(RINGING, "731-2", started_at=BEGAN), NOW + LATE * 2)
    board = named_board()
    board.restore([live.call, over.call])
    (connected,) = board.fold(leg(CONNECTED, "731-2", started_at=BEGAN), NOW + LATE * 2)
    assert (connected.name, connected.call.call_id) == (EventName.CONNECTED, live.call.call_id)


def test_a_cancelled_click_to_call_is_restored_as_over():
    old = named_board()
    (_, over) = fold_all(old, [dial(DialStage.STARTED), dial(DialStage.FAILED, cause="declined")])
    board = named_board()
    board.restore([replace(over.call, command_id="")])
    assert board.calls() == []
    assert board.get(over.call.call_id).state is CallState.CANCEL


def test_ended_calls_are_forgotten_after_a_while():
    board = new_board()
    fold_all(board, [leg(RINGING), leg(HANGUP)])
    assert board.get("call-1").state is HANGUP
    board.fold(SessionNotification(name="INFO"), NOW + KEEP_ENDED * 2)
    assert board.get("call-1") is None


def test_a_flood_of_calls_does_not_grow_the_board_without_bound():
    board = new_board()
    fold_all(board, [leg(RINGING, f"{n}-1", call=str(n)) for n in range(MAX_CALLS + 50)])
    assert len(board.calls()) == MAX_CALLS


def test_a_better_caller_identity_is_learnt_and_never_unlearnt():
    board = new_board()
    nobody = classify("", "", PLAN)
    fold_all(board, [leg(RINGING, remote=nobody), leg(CONNECTED), leg(ON_HOLD, remote=nobody)])
    assert board.calls()[0].source is DANA


def test_session_notifications_pass_through_as_session_events():
    (event,) = new_board().fold(SessionNotification(name="TWO_FACTOR_AUTH", message="Code?", nonce="n1"), NOW)
    assert isinstance(event, SessionEvent)
    assert event.to_json()["nonce"] == "n1"


def test_the_json_of_an_event_has_the_keys_of_the_protocol_page():
    (event,) = fold_all(new_board(), [leg(RINGING)])
    json = event.to_json()
    assert json["name"] == "RINGING"
    assert {
        "id",
        "cid",
        "cause",
        "direction",
        "destination",
        "destinationName",
        "source",
        "sourceName",
        "status",
    } <= set(json["call"])
    assert (json["call"]["cid"], json["call"]["source"], json["call"]["sourceName"]) == (
        "731-1",
        "442079460018",
        "Dana",
    )


CALL_LIFE = [
    leg(state, leg_id) for leg_id in ("731-1", "731-2") for state in (None, RINGING, CONNECTED, ON_HOLD, HANGUP)
]


@given(
    st.permutations(CALL_LIFE).flatmap(
        lambda order: st.lists(st.sampled_from(CALL_LIFE), max_size=10).map(lambda again: [*order, *again])
    )
)
def test_any_order_and_repetition_ends_in_the_same_call_and_hangup_is_final(notifications):
    board = new_board()
    events = fold_all(board, notifications)
    assert all(isinstance(event, CallEvent) and event.name in EventName for event in events)
    assert {event.call.call_id for event in events} == {"call-1"}
    assert names(events).count("HANGUP") == 1
    assert names(events)[-1] == "HANGUP"
    assert board.calls() == []
    last = board.get("call-1")
    assert (last.state, last.provider_call_id, last.source, last.destination) == (HANGUP, "731", DANA, AGENT)


OUTBOUND_LIFE = [
    dial(DialStage.ACCEPTED),
    *(leg(state, direction=Direction.OUTBOUND) for state in (None, RINGING, CONNECTED)),
]


@given(st.permutations(OUTBOUND_LIFE), st.lists(st.sampled_from(OUTBOUND_LIFE), max_size=6))
def test_a_click_to_call_is_one_call_in_any_order_of_reply_and_dialog(order, again):
    board = new_board()
    events = fold_all(board, [dial(DialStage.STARTED), *order, *again, leg(HANGUP, direction=Direction.OUTBOUND)])
    assert {event.call.call_id for event in events} == {"call-1"}
    assert names(events)[0] == "INITIAL"
    assert names(events)[-1] == "HANGUP"
    assert len(names(events)) == len(set(names(events)))


@pytest.mark.parametrize("state", [CallState.INITIAL, CallState.ACCEPTED])
def test_a_restored_click_to_call_waits_for_its_dialog_and_is_given_up_without_one(state):
    board = new_board()
    fold_all(board, [dial(DialStage.STARTED)] + ([dial(DialStage.ACCEPTED)] if state is CallState.ACCEPTED else []))
    calls = board.calls()
    again = new_board()
    again.restore(calls)
    assert fold_all(again, [Snapshot()]) == []
    other = new_board()
    other.restore(calls)
    joined = fold_all(other, [leg(CONNECTED, direction=Direction.OUTBOUND)])
    assert joined[-1].call.call_id == calls[0].call_id
    assert len(again.give_up(NOW + timedelta(seconds=200))) == 1
    assert again.calls() == []


def test_calls_that_ended_do_not_keep_new_ones_off_the_board():
    board = new_board()
    for number in range(MAX_CALLS * 2):
        events = fold_all(
            board, [leg(RINGING, f"{number}-1", call=str(number)), leg(HANGUP, f"{number}-1", call=str(number))]
        )
        assert names(events) == ["RINGING", "HANGUP"]
