"""What deliveries add up to: one agent's calls, whatever the order."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cti_django.calls.board import CallBoard
from cti_django.calls.numbers import NumberPlan
from cti_django.calls.states import CallState, EndReason
from cti_django.connectors.webhook import calls as calls_module
from cti_django.connectors.webhook.calls import PushedCalls, leg_of
from cti_django.connectors.webhook.shapes import read_report

T0 = datetime(2026, 1, 2, 9, 0, tzinfo=UTC)
PLAN = NumberPlan()
ALICE, BOB = frozenset({"alice"}), frozenset({"bob"})
IN = {"direction": "in", "from": "442079460018", "to": "442079460100", "callId": "1"}
OUT = {**IN, "direction": "out", "from": "442079460100", "to": "442079460018"}


def new(*users, **more):
    return {"event": "newCall", "user": users, **IN, **more}


def answer(*users, **more):
    return {"event": "answer", "user": users, **IN, **more}


def hangup(cause="normalClearing", **more):
    return {"event": "hangup", "cause": cause, **IN, **more}


def report_of(fields):
    return read_report("sipgate", {k: (v,) if isinstance(v, str) else tuple(v) for k, v in fields.items()})


def played(deliveries, names=ALICE, step=1.0):
    """The events of the agent's board, (name, end reason or "") each; and the board."""
    calls, board, said = PushedCalls(), CallBoard(lambda seed: seed), []
    for number, fields in enumerate(deliveries):
        at = T0 + timedelta(seconds=number * step)
        call = calls.fold(report_of(fields), at)
        leg = leg_of(call, calls.origin(call), names, PLAN)
        said += board.fold(leg, at) if leg else []
    return [(event.name.value, event.call.end_reason or "") for event in said], said


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ([new("Alice"), answer("Alice"), hangup()], ["RINGING", "CONNECTED", "HANGUP completed"]),
        ([new("Alice", "Bob"), answer("Bob"), hangup()], ["RINGING", "HANGUP elsewhere"]),
        ([new("Alice", "Bob"), answer("Alice"), hangup()], ["RINGING", "CONNECTED", "HANGUP completed"]),
        ([new("Bob"), answer("Bob"), hangup()], []),
        ([new("Alice"), hangup("cancel")], ["RINGING", "HANGUP missed"]),
        ([new("Alice"), hangup("noAnswer")], ["RINGING", "HANGUP missed"]),
        ([new("Alice"), hangup("busy")], ["RINGING", "HANGUP busy"]),
        ([new("Alice"), hangup("forwarded")], ["RINGING", "HANGUP transferred"]),
        ([new("Alice"), hangup("somethingNew")], ["RINGING", "HANGUP missed"]),
        # Nobody was told of the answer, but an established call has ended.
        ([new("Alice"), hangup()], ["RINGING", "HANGUP completed"]),
        # Who of several has answered was not told: it goes on ringing, and nobody has missed it.
        ([new("Alice", "Bob"), answer(), hangup()], ["RINGING", "HANGUP completed"]),
        ([new("Alice", "Bob"), answer(answeringNumber="4420123"), hangup()], ["RINGING", "HANGUP elsewhere"]),
        ([new("Alice"), answer(answeringNumber="4420123"), hangup()], ["RINGING", "CONNECTED", "HANGUP completed"]),
        ([new("Alice"), answer("voicemail"), hangup()], ["RINGING", "HANGUP elsewhere"]),
        ([new("Alice", **OUT), answer(**OUT), hangup(**OUT)], ["RINGING", "CONNECTED", "HANGUP completed"]),
        ([new("Alice", **OUT), hangup("busy", **OUT)], ["RINGING", "HANGUP busy"]),
        ([new("Alice", **OUT), hangup("notFound", **OUT)], ["RINGING", "HANGUP no_answer"]),
        # Late, early, and more than once.
        ([answer("Alice"), new("Alice"), hangup()], ["CONNECTED", "HANGUP completed"]),
        ([hangup("cancel"), new("Alice")], ["HANGUP missed"]),
        ([answer("Bob"), new("Alice", "Bob")], ["HANGUP elsewhere"]),
        ([new("Alice")] * 3 + [answer("Alice")] * 2 + [hangup()] * 2, ["RINGING", "CONNECTED", "HANGUP completed"]),
        ([new("Alice"), answer("Alice"), hangup(), new("Alice")], ["RINGING", "CONNECTED", "HANGUP completed"]),
    ],
)
def test_what_alice_hears(story, expected):
    told, _said = played(story)
    assert [f"{name} {reason}".strip() for name, reason in told] == expected


def test_a_call_to_a_number_concerns_whoever_goes_by_it():
    told, _said = played([new(), answer(), hangup()], frozenset({"442079460100"}))
    assert [name for name, _reason in told] == ["RINGING", "CONNECTED", "HANGUP"]
    assert played([new()], frozenset({"442079460018"}))[0] == []


TRANSFERRED = [
    new("Alice", callId="A"),
    answer("Alice", callId="A"),
    new("Bob", callId="B", origCallId="A"),
    answer("Bob", callId="B", origCallId="A"),
    hangup(callId="A"),
    hangup(callId="B", origCallId="A"),
]


def test_a_transfer_ends_one_agents_call_and_is_the_others_with_the_first_caller():
    told, said = played(TRANSFERRED)
    assert told[-1] == ("HANGUP", EndReason.TRANSFERRED)
    told, theirs = played(TRANSFERRED, BOB)
    assert [name for name, _reason in told] == ["RINGING", "CONNECTED", "HANGUP"]
    assert theirs[0].call.source.number == "+442079460018"
    assert {event.call.provider_call_id for event in said + theirs} == {"A"}


def test_a_call_that_is_forwarded_to_the_agents_other_phone_stays_one_call():
    second = {"callId": "B", "origCallId": "A"}
    begin = [new("Alice", callId="A"), new("Alice", **second), hangup("forwarded", callId="A")]
    told, said = played([*begin, answer("Alice", **second), hangup(**second)])
    assert told == [("RINGING", ""), ("CONNECTED", ""), ("HANGUP", EndReason.COMPLETED)]
    assert len({event.call.call_id for event in said}) == 1


def test_calls_that_name_each_other_as_their_origin_do_no_harm():
    loop = [new("Alice", callId="A", origCallId="B"), new("Alice", callId="B", origCallId="A")]
    assert played([*loop, hangup(callId="A"), hangup(callId="B")])[0][-1][0] == "HANGUP"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_in_whatever_order_and_however_often_a_call_is_told_it_is_the_same_call(data):
    story = data.draw(st.sampled_from(["answered", "missed", "outbound"]))
    facts = {
        "answered": [new("Alice"), answer("Alice"), hangup()],
        "missed": [new("Alice"), hangup("cancel")],
        "outbound": [new("Alice", **OUT), answer(**OUT), hangup(**OUT)],
    }[story]
    repeated = facts + data.draw(st.lists(st.sampled_from(facts), max_size=4))
    _told, said = played(data.draw(st.permutations(repeated)))
    _told, straight = played(facts)
    assert len({event.call.call_id for event in said}) == 1
    last, expected = said[-1].call, straight[-1].call
    told = (last.state, last.end_reason, last.direction, last.source.number, last.destination.number)
    assert told == (
        *(expected.state, expected.end_reason, expected.direction),
        *(expected.source.number, expected.destination.number),
    )


@pytest.mark.parametrize("names", [ALICE, BOB])
def test_of_a_call_of_several_the_end_is_the_same_in_any_order_before_it(names):
    begin = [new("Alice", "Bob"), answer("Bob"), new("Alice", "Bob")]
    ends = {played([*order, hangup()], names)[0][-1] for order in permutations(begin)}
    assert ends == {("HANGUP", EndReason.ELSEWHERE if names is ALICE else EndReason.COMPLETED)}


def test_a_call_is_put_on_hold_and_taken_back():
    calls, states = PushedCalls(), []
    for second, event in enumerate(("ringing", "answered", "held", "resumed", "held", "answered")):
        fields = {"event": (event,), "call_id": ("1",), "direction": ("inbound",), "agent": ("Alice",)}
        call = calls.fold(read_report("generic", fields), T0 + timedelta(seconds=second))
        states.append(leg_of(call, "1", ALICE, PLAN).state)
    held, connected = CallState.ON_HOLD, CallState.CONNECTED
    assert states == [CallState.RINGING, connected, held, connected, held, held]


def fold(calls, at=T0, **fields):
    return calls.fold(read_report("sipgate", {name: (value,) for name, value in {**IN, **fields}.items()}), at)


def test_what_is_remembered_is_bounded_and_a_call_goes_on_however_many_others_have_ended(monkeypatch):
    monkeypatch.setattr(calls_module, "MAX_LIVE", 10)
    monkeypatch.setattr(calls_module, "MAX_ENDED", 10)
    calls = PushedCalls()
    fold(calls, event="newCall", user="Alice", callId="long")
    for number in range(100):
        fold(calls, event="newCall", user="Bob", callId=f"{number}")
        fold(calls, event="hangup", callId=f"{number}")
    assert [call.provider_call_id for call in calls if call.ended_at is None] == ["long"]
    assert len(list(calls)) == 11
    for number in range(100):
        fold(calls, event="newCall", user="Bob", callId=f"live {number}")
    assert len(list(calls)) == 20


def test_history_does_not_push_out_what_goes_on(monkeypatch):
    monkeypatch.setattr(calls_module, "MAX_LIVE", 10)
    monkeypatch.setattr(calls_module, "MAX_ENDED", 10)
    calls = PushedCalls()
    fold(calls, event="newCall", user="Alice", callId="now")
    for number in range(100):
        long_ago = T0 - timedelta(hours=number)
        fold(calls, long_ago, event="newCall", user="Alice", callId=f"{number}")
        assert fold(calls, long_ago, event="hangup", user="Alice", callId=f"{number}").ended_at is not None
    assert {call.provider_call_id for call in calls} == {"now", "0"}


def test_what_nobody_has_ended_is_forgotten_one_day():
    calls = PushedCalls()
    fold(calls, event="newCall", user="Alice", callId="stuck")
    fold(calls, T0 + timedelta(hours=13), event="newCall", user="Alice", callId="new")
    assert [call.provider_call_id for call in calls] == ["new"]


def test_a_call_has_only_so_many_names():
    calls = PushedCalls()
    for number in range(1_000):
        call = fold(calls, event="newCall", user=f"user {number}")
    assert len(call.names) <= 110


def test_a_clock_that_was_ahead_for_a_while_costs_no_call():
    now = T0
    calls = PushedCalls(clock=lambda: now)
    report = {fields["event"]: report_of(fields) for fields in (new("Alice", "Bob"), answer("Alice"), hangup())}
    now = T0 + timedelta(days=400)
    calls.fold(report_of(new("Bob", callId="of the future")), now)
    now = T0
    for number, stage in enumerate(("newCall", "answer")):
        call = calls.fold(report[stage], T0 + timedelta(seconds=number))
    assert leg_of(call, "1", ALICE, PLAN).state is CallState.CONNECTED
    assert calls.fold(report["hangup"], T0 + timedelta(seconds=5)) is call
    assert calls.fold(report["newCall"], T0 + timedelta(seconds=6)).ended_at is not None


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("busy", "The line is busy."),
        ("notFound", "There is no such number."),
        ("cancel", ""),
        ("congestion", "congestion"),
    ],
)
def test_why_a_call_ended_is_said_in_words(told, shown):
    _, events = played([new("Alice", **OUT), hangup(told, **OUT)])
    assert events[-1].call.cause == shown
