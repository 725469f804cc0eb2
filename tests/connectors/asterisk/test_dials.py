"""What becomes of a click-to-call until the agent's own phone answers: what the recorded flows do not have."""

import pytest

from cti_django.calls.notifications import DialNotification, DialStage, LegNotification
from cti_django.calls.numbers import dialable
from cti_django.connectors.asterisk.switchboard import Switchboard

from .events import B, E
from .story import PLAN

ID = "cti-1795390188-a1b2"
MINE = {"Channel": "PJSIP/1001-00000007", "Uniqueid": ID, "Linkedid": ID}
FAR = {"Channel": "PJSIP/trunk-00000008", "Uniqueid": "1795390188.9", "Linkedid": ID}
RINGS = [E("Newchannel", MINE, state="Down"), E("DialBegin", None, MINE), E("Newstate", MINE, state="Ringing")]


def dialling(*, watch=True):
    board = Switchboard(PLAN)
    if watch:
        board.watch("PJSIP/1001")
    board.originations.begin(ID, "dial-1", dialable("+33612345678", PLAN), "PJSIP/1001")
    return board


def hear(board, *messages):
    return [notification for message in messages for _, notification in board.receive(message)]


def response(outcome, reason=""):
    return E("OriginateResponse", {"Channel": "PJSIP/1001", "Uniqueid": ID}, Response=outcome, Reason=reason)


def failure(*messages):
    (told,) = hear(dialling(), *messages)
    assert isinstance(told, DialNotification)
    assert told.stage is DialStage.FAILED
    return told.cause


def test_while_her_own_phone_rings_there_is_nothing_to_tell():
    board = dialling()
    assert hear(board, *RINGS) == []
    assert board.snapshot("PJSIP/1001").legs == ()
    assert board.leg("PJSIP/1001", ID).name == MINE["Channel"]


@pytest.mark.parametrize(
    "answer", [E("Newstate", MINE, state="Up"), E("DialEnd", None, MINE, status="ANSWER", DestChannelStateDesc="Up")]
)
def test_when_her_phone_answers_it_is_accepted_once(answer):
    board = dialling()
    dial, leg = hear(board, *RINGS, answer)
    assert (dial.stage, dial.command_id, dial.provider_call_id) == (DialStage.ACCEPTED, "dial-1", ID)
    assert isinstance(leg, LegNotification)
    assert (leg.provider_call_id, leg.state, leg.remote.number) == (ID, None, "+33612345678")
    assert hear(board, answer, response("Success", "4")) == []


def test_the_response_may_come_before_anything_else_says_that_her_phone_answered():
    board = dialling()
    dial, leg = hear(board, *RINGS, response("Success", "4"))
    assert dial.stage is DialStage.ACCEPTED
    assert leg.state is None
    assert hear(board, E("Newstate", MINE, state="Up")) == []


@pytest.mark.parametrize(
    ("messages", "cause"),
    [
        ([response("Failure", "0")], "Your phone is not registered with the telephone system."),
        ([response("Failure", "5")], "Your phone is busy, or it declined the call."),
        ([response("Failure", "8")], "The telephone system could not call your phone."),
        ([*RINGS, E("Hangup", MINE, cause="17")], "Your phone is busy, or it declined the call."),
        (
            [*RINGS, E("DialEnd", None, MINE, status="BUSY"), E("Hangup", MINE)],
            "Your phone is busy, or it declined the call.",
        ),
        ([*RINGS, E("Hangup", MINE, cause="21")], "Your phone declined the call."),
        ([*RINGS, E("Hangup", MINE, cause="19")], "Your phone did not answer."),
        ([*RINGS, response("Failure", "3"), E("Hangup", MINE, cause="16")], "Your phone did not answer."),
        ([*RINGS, E("Hangup", MINE, cause="16")], "The call was cancelled before your phone answered."),
        ([*RINGS, E("Hangup", MINE, cause="38")], "The telephone system could not call your phone."),
    ],
)
def test_why_her_phone_did_not_take_it_is_told_in_plain_words(messages, cause):
    assert failure(*messages) == cause
    assert failure(*messages, *messages) == cause


def test_after_a_failure_nothing_more_is_told():
    board = dialling()
    hear(board, *RINGS, E("Hangup", MINE, cause="17"))
    assert hear(board, response("Failure", "0"), E("Hangup", MINE, cause="17")) == []


def test_a_dial_that_was_withdrawn_is_nobodys():
    board = dialling()
    board.originations.withdraw(ID)
    assert hear(board, response("Failure", "0")) == []


def test_a_response_for_an_agent_who_is_gone_tells_no_call():
    board = dialling(watch=False)
    (dial,) = hear(board, *RINGS, response("Success", "4"))
    assert dial.stage is DialStage.ACCEPTED


def test_a_click_to_call_of_which_the_next_list_knows_nothing_is_in_doubt():
    board = dialling()
    board.begin_snapshot()
    dial, _ = [notification for _, notification in board.end_snapshot()]
    assert (dial.stage, dial.cause) == (DialStage.DOUBTFUL, "The line was lost; what became of the call is not known.")


def test_a_click_to_call_whose_phone_rang_and_is_not_in_the_next_list_has_failed():
    board = dialling()
    hear(board, *RINGS)
    board.begin_snapshot()
    dial, _ = [notification for _, notification in board.end_snapshot()]
    assert dial.stage is DialStage.FAILED


def test_a_click_to_call_that_was_answered_while_the_line_was_down_is_accepted():
    board = dialling()
    hear(board, *RINGS)
    board.begin_snapshot()
    hear(board, E("CoreShowChannel", MINE, state="Up", Application="Dial", BridgeId=""))
    dial, snapshot = [notification for _, notification in board.end_snapshot()]
    assert dial.stage is DialStage.ACCEPTED
    assert [leg.provider_call_id for leg in snapshot.legs] == [ID]


def test_the_far_end_is_told_by_her_own_dial_only():
    board = dialling()
    hear(board, *RINGS, E("Newstate", MINE, state="Up"))
    other = {**B, "Linkedid": ID}
    assert hear(board, E("Newchannel", FAR, state="Down"), E("DialBegin", FAR, other)) == []
    assert hear(board, E("DialBegin", MINE, FAR)) == []
    (rings,) = hear(board, E("Newstate", FAR, state="Ringing"))
    assert rings.state == "RINGING"
    (talks,) = hear(board, E("DialEnd", MINE, FAR, status="ANSWER"))
    assert talks.state == "CONNECTED"
    assert talks.remote.number == "+33612345678"


@pytest.mark.parametrize("order", [(MINE, FAR), (FAR, MINE)])
def test_both_in_one_bridge_are_connected_even_if_nobody_said_that_the_far_end_answered(order):
    board = dialling()
    hear(board, *RINGS, E("Newstate", MINE, state="Up"), E("DialBegin", MINE, FAR))
    first, second = order
    assert hear(board, E("BridgeEnter", first, bridge="b1")) == []
    (talks,) = hear(board, E("BridgeEnter", second, bridge="b1"))
    assert talks.state == "CONNECTED"


def test_only_so_many_click_to_calls_are_kept(monkeypatch):
    monkeypatch.setattr("cti_django.connectors.asterisk.dials.MAX_PENDING", 3)
    board = dialling()
    for number in range(10):
        board.originations.begin(f"cti-{number}", f"dial-{number}", dialable("1002", PLAN), "PJSIP/1001")
    assert [number for number in range(10) if board.originations.is_pending(f"cti-{number}")] == [7, 8, 9]
