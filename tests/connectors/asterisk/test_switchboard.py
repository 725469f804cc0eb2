"""What a PBX tells, and what that is to the agents: what the recorded flows do not have."""

import gc
from datetime import UTC, datetime

import pytest

from cti_django.calls.notifications import LegNotification, PresenceNotification, Snapshot
from cti_django.calls.numbers import PartyKind
from cti_django.calls.states import CallState, Direction, EndReason
from cti_django.connectors.asterisk import presence
from cti_django.connectors.asterisk.channels import Channel
from cti_django.connectors.asterisk.switchboard import Switchboard

from .events import CALL, A, B, E, P, answered, ringing
from .story import PLAN, Office


def switchboard(*watched):
    board = Switchboard(PLAN)
    for device in watched or ("PJSIP/1001", "PJSIP/1002"):
        board.watch(device)
    return board


def hear(board, *messages):
    """All that was told of it."""
    return [pair for message in messages for pair in board.receive(message)]


def states(told, device="PJSIP/1001"):
    return [leg.state for name, leg in told if name == device and leg.state]


def events(office, agent="1001"):
    return [(event["name"], event.get("number", "")) for event in office.told().get(agent, [])]


# -- who is told --------------------------------------------------------------------------------------------------


def test_only_watched_phones_are_told_of():
    board = switchboard("PJSIP/1002")
    assert hear(board, *answered()) == []


def test_a_phone_that_is_watched_later_has_its_call_in_the_snapshot():
    board = switchboard("PJSIP/1002")
    hear(board, *answered())
    board.watch("PJSIP/1001")
    (leg,) = board.snapshot("PJSIP/1001").legs
    assert (leg.provider_call_id, leg.leg_id, leg.state) == (CALL, A["Uniqueid"], CallState.CONNECTED)
    assert leg.remote.number == "+33123456789"
    assert states(hear(board, E("Hold", A))) == [CallState.ON_HOLD]


def test_a_phone_that_is_watched_no_longer_is_not_told_of():
    board = switchboard()
    hear(board, *ringing())
    board.unwatch("PJSIP/1001")
    assert hear(board, E("Newstate", A, state="Up"), E("DialEnd", P, A, status="ANSWER")) == []


def test_nothing_is_told_twice():
    board = switchboard()
    hear(board, *answered())
    assert hear(board, *answered(), E("NewCallerid", A), E("Newstate", A, state="Up")) == []


def test_a_leg_says_what_the_call_is_to_others_too():
    board = switchboard()
    *_, (device, leg) = hear(board, *ringing())
    assert device == "PJSIP/1001"
    assert isinstance(leg, LegNotification)
    assert (leg.provider_call_id, leg.leg_id, leg.direction) == (CALL, "1795390188.1", Direction.INBOUND)
    assert leg.local.extension == "1001"
    assert leg.started_at == datetime.fromtimestamp(1795390188, UTC)
    assert leg.follows_remote
    assert leg.raw["did"] == "+442071838750"


@pytest.mark.parametrize(
    ("linkedid", "epoch"),
    [
        ("1795390188.0", 1795390188),
        ("pbx1-1795390188.12", 1795390188),
        ("cti-1795390188-a1b2", 1795390188),
        ("cti-1795390188", 1795390188),
        ("179539018800.1", None),
        ("nonsense", None),
    ],
)
def test_when_a_call_began_stands_in_its_id(linkedid, epoch):
    board = switchboard()
    here = {**A, "Linkedid": linkedid}
    ((_, leg),) = hear(board, E("Newchannel", here, state="Ring", exten="1002"))
    assert leg.started_at == (datetime.fromtimestamp(epoch, UTC) if epoch else None)


# -- who calls whom -----------------------------------------------------------------------------------------------


def test_the_direction_comes_from_how_the_phone_was_reached_and_not_from_numbers():
    far = {"own": "+33612345678", "connected": "+33612345678"}
    board = switchboard()
    hear(
        board,
        E("Newchannel", A, state="Down", **far),
        E("DialBegin", None, A),
        E("Newstate", A, state="Ringing", **far),
    )
    (leg,) = board.snapshot("PJSIP/1001").legs
    assert (leg.direction, leg.state, leg.remote.number) == (Direction.OUTBOUND, None, "+33612345678")


def test_an_originated_call_of_somebody_else_rings_when_the_far_end_does():
    board = switchboard()
    mine, far = {**A, "Uniqueid": CALL}, {**P, "Uniqueid": "1795390189.9"}
    hear(board, E("Newchannel", mine, state="Down", connected="+33612345678"), E("DialBegin", None, mine))
    assert states(hear(board, E("Newstate", mine, state="Up"), E("DialEnd", None, mine, status="ANSWER"))) == []
    told = hear(
        board, E("Newchannel", far, state="Down"), E("DialBegin", mine, far), E("Newstate", far, state="Ringing")
    )
    assert states(told) == [CallState.RINGING]
    assert states(hear(board, E("DialEnd", mine, far, status="ANSWER"))) == [CallState.CONNECTED]


@pytest.mark.parametrize("unknown", ["", "<unknown>", None])
def test_an_unknown_caller_is_unknown_however_that_is_written(unknown):
    board = switchboard()
    messages = ringing(caller=unknown or "")
    if unknown is None:
        messages = [{key: value for key, value in each.items() if "Connected" not in key} for each in messages]
    *_, (_, leg) = hear(board, *messages)
    assert (leg.state, leg.remote.kind) == (CallState.RINGING, PartyKind.UNAVAILABLE)


def test_the_caller_may_be_told_after_the_ringing():
    office = Office()
    office.tell(*[each for each in ringing(caller="") if each["Event"] != "NewConnectedLine"])
    office.tell(E("NewConnectedLine", A, connected="+33123456789"))
    assert events(office) == [("RINGING", ""), ("UPDATED", "+33123456789")]


def test_what_was_dialled_on_the_phone_is_the_remote_side_until_the_pbx_knows_better():
    office = Office()
    far = {**B, "Linkedid": A["Uniqueid"]}
    mine = {**A, "Linkedid": A["Uniqueid"]}
    office.tell(
        E("Newchannel", mine, state="Ring", exten="700"),
        E("DialBegin", mine, far),
        E("Newstate", far, state="Ringing"),
        E("DialEnd", mine, far, status="ANSWER"),
        E("NewConnectedLine", mine, state="Up", connected="1002", name="Blaise Pascal"),
    )
    assert events(office) == [("RINGING", "700"), ("CONNECTED", "700"), ("UPDATED", "1002")]


def test_a_dialled_service_of_the_pbx_itself_is_connected_when_it_answers():
    office = Office()
    office.tell(E("Newchannel", A, state="Ring", exten="700"), E("Newstate", A, state="Up"), E("Hangup", A, cause="16"))
    assert [name for name, _ in events(office)] == ["CONNECTED", "HANGUP"]


ONE = {"Channel": "Local/1001@ring-00000001;1", "Uniqueid": "1795390188.5", "Linkedid": CALL}
TWO = {"Channel": "Local/1001@ring-00000001;2", "Uniqueid": "1795390188.6", "Linkedid": CALL}
RINGING_THROUGH_LOCAL = [
    E("Newchannel", P, state="Ring", own="+33123456789"),
    E("Newchannel", ONE, state="Down"),
    E("Newchannel", TWO, state="Ring"),
    E("DialBegin", P, ONE),
    E("Newchannel", A, state="Down", connected="+33123456789"),
    E("DialBegin", TWO, A),
    E("Newstate", A, state="Ringing"),
]


def test_a_phone_that_is_dialled_through_a_local_channel_has_an_inbound_call():
    board = switchboard()
    hear(board, *RINGING_THROUGH_LOCAL)
    (leg,) = board.snapshot("PJSIP/1001").legs
    assert (leg.direction, leg.state) == (Direction.INBOUND, CallState.RINGING)
    mine = board.leg("PJSIP/1001", CALL)
    assert board.peer(mine).name == P["Channel"]


def test_a_click_to_call_through_a_local_channel_that_stays_is_connected_by_the_far_end():
    board = switchboard()
    one, two, far = {**ONE, "Uniqueid": CALL}, TWO, {**P, "Uniqueid": "1795390189.9"}
    told = hear(
        board,
        E("Newchannel", one, state="Down"),
        E("Newchannel", two, state="Ring"),
        E("Newchannel", A, state="Down"),
        E("DialBegin", two, A),
        E("Newstate", A, state="Up"),
        E("DialEnd", two, A, status="ANSWER"),
        E("BridgeEnter", A, bridge="b1"),
        E("BridgeEnter", two, bridge="b1"),
        E("DialBegin", one, far),
    )
    assert states(told) == []
    assert states(hear(board, E("DialState", one, far, status="RINGING"))) == [CallState.RINGING]
    assert states(hear(board, E("DialEnd", one, far, status="ANSWER"))) == [CallState.CONNECTED]


# -- hold, transfer, consultation -----------------------------------------------------------------------------------


def test_an_unhold_without_a_hold_is_nothing():
    board = switchboard()
    hear(board, *answered())
    assert hear(board, E("Unhold", A)) == []


def test_music_for_a_caller_in_the_bridge_is_no_hold():
    board = switchboard()
    hear(board, *answered())
    assert hear(board, E("MusicOnHoldStart", P)) == []


@pytest.mark.parametrize("music_first", [True, False])
def test_the_pbx_holds_a_call_whichever_event_comes_first(music_first):
    board = switchboard()
    hear(board, *answered(), E("BridgeLeave", P, bridge="b1"))
    rest = [E("MusicOnHoldStart", P), E("BridgeLeave", A, bridge="b1")]
    assert states(hear(board, *(rest if music_first else rest[::-1]))) == [CallState.ON_HOLD]
    mine = board.leg("PJSIP/1001", CALL)
    assert mine.is_parked
    assert board.peer(mine).uniqueid == CALL
    back = [E("MusicOnHoldStop", P), E("BridgeEnter", P, bridge="b2"), E("BridgeEnter", A, bridge="b2")]
    assert states(hear(board, *back)) == [CallState.CONNECTED]


def test_a_transfer_by_the_other_side_changes_whom_she_speaks_with():
    office = Office()
    office.tell(
        *answered(caller="1002"),
        E("BlindTransfer", None, Result="Success", TransfererUniqueid=CALL, TransfereeUniqueid=A["Uniqueid"]),
        E("BridgeLeave", A, bridge="b1"),
        E("BridgeLeave", P, bridge="b1"),
        E("Hangup", P, cause="16"),
        E("NewConnectedLine", A, connected="+33612345678"),
    )
    assert events(office) == [("RINGING", "1002"), ("CONNECTED", "1002"), ("UPDATED", "+33612345678")]
    office.tell(E("HangupRequest", A, cause="16"), E("Hangup", A, cause="16"))
    assert office.told()["1001"][-1]["endReason"] == "completed"


def test_a_transfer_that_failed_is_none():
    office = Office()
    office.tell(*answered(), E("BlindTransfer", None, Result="Fail", TransfererUniqueid=A["Uniqueid"]))
    office.tell(E("HangupRequest", A, cause="16"), E("Hangup", A, cause="16"))
    assert office.told()["1001"][-1]["endReason"] == "completed"


def test_an_attended_transfer_on_the_phone_ends_both_of_its_calls():
    """Two calls of one phone are joined; the colleague's call gets the first one's Linkedid, and stays one call."""
    office = Office()
    second = "1795390200.5"
    mine = {"Channel": "PJSIP/1001-00000005", "Uniqueid": second, "Linkedid": second}
    theirs = {**B, "Linkedid": second}
    office.tell(
        *answered(),
        E("Hold", A),
        E("Newchannel", mine, state="Ring", exten="1002"),
        E("Newchannel", theirs, state="Down", connected="1001"),
        E("DialBegin", mine, theirs),
        E("Newstate", theirs, state="Ringing"),
        E("DialEnd", mine, theirs, status="ANSWER"),
        E("BridgeEnter", theirs, state="Up", bridge="b2"),
        E("BridgeEnter", mine, state="Up", bridge="b2"),
        E(
            "AttendedTransfer",
            Result="Success",
            OrigTransfererUniqueid=A["Uniqueid"],
            SecondTransfererUniqueid=second,
        ),
        E("Hangup", mine, cause="16"),
        E("Hangup", A, cause="16"),
        E("BridgeEnter", {**theirs, "Linkedid": CALL}, bridge="b1"),
        E("NewConnectedLine", {**theirs, "Linkedid": CALL}, connected="+33123456789"),
    )
    ends = [event for event in office.told()["1001"] if event["name"] == "HANGUP"]
    assert [(event["id"], event["endReason"]) for event in ends] == [
        ("call-2", "transferred"),
        ("call-1", "transferred"),
    ]
    assert events(office, "1002") == [("RINGING", "1001"), ("CONNECTED", "1001"), ("UPDATED", "+33123456789")]


LOCAL = {"Channel": "Local/1002@internal-00000001;1", "Uniqueid": "1795390190.50", "Linkedid": CALL}


def consulting():
    return [
        *answered(),
        E("Hold", A),
        E("Newchannel", LOCAL, state="Down", exten="1002"),
        E("BridgeEnter", LOCAL, state="Down", bridge="b2"),
        E("BridgeLeave", A, bridge="b1"),
        E("BridgeEnter", A, bridge="b2"),
        E("NewConnectedLine", A, connected="<unknown>"),
        E("NewConnectedLine", A, connected="1002", name="Blaise Pascal"),
    ]


def test_who_is_consulted_is_told_and_the_call_keeps_its_other_side():
    board = switchboard()
    (*_, (_, leg)) = hear(board, *consulting())
    assert (leg.state, leg.remote.number) == (CallState.ON_HOLD, "+33123456789")
    assert (leg.consult.extension, leg.consult.name) == ("1002", "Blaise Pascal")
    assert hear(board, E("Hold", A), E("Unhold", A)) == []


def test_who_is_consulted_is_told_by_what_was_dialled_if_nobody_says_more():
    board = switchboard()
    told = hear(board, *consulting()[:-1])
    assert not [leg for _, leg in told if leg.consult]
    told = hear(board, E("Newstate", LOCAL, state="Ringing"), E("NewCallerid", A))
    assert [leg.consult.extension for _, leg in told] == ["1002"]


def test_if_the_caller_hangs_up_she_goes_on_with_whom_she_asked():
    office = Office()
    office.tell(*consulting(), E("HangupRequest", P), E("Hangup", P, cause="16"))
    last = office.told()["1001"][-1]
    assert (last["name"], last["number"], last.get("consult")) == ("CONNECTED", "1002", None)


# -- how a call ends ------------------------------------------------------------------------------------------------


def end(*messages):
    board = switchboard()
    told = hear(board, *messages)
    legs = [leg for device, leg in told if device == "PJSIP/1001"]
    return (legs[-1].state, legs[-1].end_reason, legs[-1].cause)


def test_a_call_that_was_picked_up_elsewhere():
    pickup = E("Pickup", B, TargetUniqueid=A["Uniqueid"])
    assert end(*ringing(), pickup, E("Hangup", A, cause="16")) == (CallState.HANGUP, EndReason.ELSEWHERE, "")


def test_a_call_that_another_phone_of_the_same_dial_answered():
    others = [E("DialBegin", P, B), E("DialEnd", P, B, status="ANSWER"), E("DialEnd", P, A, status="CANCEL")]
    assert end(*ringing(), *others, E("Hangup", A, cause="16"))[1] is EndReason.ELSEWHERE


def test_a_transfer_that_she_refused_was_not_answered_elsewhere():
    away = [E("BridgeLeave", P, bridge="b1"), E("BridgeLeave", B, bridge="b1"), E("Hangup", B, cause="16")]
    again = [E("DialBegin", P, A), E("Newstate", A, state="Ringing"), E("DialEnd", P, A, status="BUSY")]
    assert end(*answered(B), *away, *again, E("Hangup", A, cause="17"))[1] is EndReason.REJECTED


def test_a_call_that_was_answered_while_a_local_channel_rang_her():
    others = [E("DialBegin", P, B), E("DialEnd", P, B, status="ANSWER"), E("DialEnd", P, ONE, status="CANCEL")]
    assert end(*RINGING_THROUGH_LOCAL, *others, E("Hangup", A, cause="16"))[1] is EndReason.ELSEWHERE


def test_an_originated_call_that_her_own_phone_refused_says_nothing_of_the_number():
    mine = {**A, "Linkedid": A["Uniqueid"]}
    assert end(E("Newchannel", mine, state="Down"), E("Hangup", mine, cause="17")) == (CallState.HANGUP, None, "")


def test_a_caller_who_was_taken_out_and_came_back_may_hang_up_as_any_other():
    back = [E("BridgeEnter", A, bridge="b2"), E("BridgeEnter", P, bridge="b2")]
    led_out = [E("BridgeLeave", P, bridge="b1"), E("BridgeLeave", A, bridge="b1")]
    assert end(*answered(), *led_out, *back, E("BridgeLeave", A, bridge="b2"), E("Hangup", A))[1] is None
    assert end(*answered(), *led_out, E("Hangup", A))[1] is EndReason.TRANSFERRED


@pytest.mark.parametrize("cause", ["17", "21"])
def test_a_call_that_she_refused(cause):
    assert end(*ringing(), E("Hangup", A, cause=cause))[1] is EndReason.REJECTED


def test_a_call_that_she_refused_rang_even_if_only_its_caller_was_told():
    rings = E("DialState", P, A, status="RINGING")
    assert end(*ringing()[:-1], rings, E("Hangup", A, cause="17"))[1] is EndReason.REJECTED


def test_a_phone_that_was_busy_before_it_rang():
    assert end(*ringing()[:-1], E("Hangup", A, cause="17"))[1] is EndReason.BUSY


@pytest.mark.parametrize(
    ("status", "cause", "reason", "words"),
    [
        ("BUSY", "17", EndReason.BUSY, "The number is busy."),
        ("BUSY", "", EndReason.BUSY, "The number is busy."),
        ("NOANSWER", "19", EndReason.NO_ANSWER, "Nobody answered."),
        ("NOANSWER", "16", EndReason.NO_ANSWER, "Nobody answered."),
        ("NOANSWER", "21", EndReason.REJECTED, "The call was declined."),
        ("NOANSWER", "1", None, "There is no such number."),
        ("CONGESTION", "34", None, "The number cannot be reached at the moment."),
        ("CANCEL", "16", None, ""),
        ("CANCEL", "nonsense", None, ""),
    ],
)
def test_a_call_that_the_far_end_did_not_take(status, cause, reason, words):
    mine, far = {**A, "Linkedid": A["Uniqueid"]}, {**B, "Linkedid": A["Uniqueid"]}
    told = end(
        E("Newchannel", mine, state="Ring", exten="+33612345678"),
        E("DialBegin", mine, far),
        E("Newstate", far, state="Ringing"),
        E("DialEnd", mine, far, status=status),
        E("Hangup", far, cause=cause),
        E("Hangup", mine, cause="16"),
    )
    assert told == (CallState.HANGUP, reason, words)


def test_a_second_try_that_succeeds_forgets_why_the_first_failed():
    mine = {**A, "Linkedid": A["Uniqueid"]}
    first, second = ({**B, "Linkedid": A["Uniqueid"], "Uniqueid": f"1795390190.{number}"} for number in (3, 4))
    told = end(
        E("Newchannel", mine, state="Ring", exten="+33612345678"),
        E("DialBegin", mine, first),
        E("DialEnd", mine, first, status="BUSY"),
        E("DialBegin", mine, second),
        E("DialEnd", mine, second, status="CANCEL"),
        E("Hangup", mine, cause="16"),
    )
    assert told == (CallState.HANGUP, None, "")


# -- an end that is held back ---------------------------------------------------------------------------------------

LED_AWAY = [E("DialEnd", P, A, status="CANCEL"), E("Hangup", A, cause="16")]


def test_an_end_is_held_back_while_the_caller_may_come_back_to_the_phone():
    board = switchboard()
    hear(board, *ringing())
    assert hear(board, *LED_AWAY) == []
    assert [leg.state for leg in board.snapshot("PJSIP/1001").legs] == [CallState.RINGING]
    assert board.settle() == []
    assert states(board.settle()) == [CallState.HANGUP]
    assert board.settle() == []
    assert board.snapshot("PJSIP/1001").legs == ()


@pytest.mark.parametrize(
    "then",
    [
        E("HangupRequest", P),
        E("Hangup", P, cause="16"),
        E("BridgeEnter", P, bridge="b1"),
        E("MusicOnHoldStart", P),
        E("Newstate", P, state="Up"),
    ],
    ids=lambda event: event["Event"],
)
def test_an_end_is_told_as_soon_as_the_caller_does_something_else(then):
    board = switchboard()
    hear(board, *ringing(), *LED_AWAY)
    assert states(hear(board, then)) == [CallState.HANGUP]


def test_a_call_that_rings_at_a_colleague_now_was_transferred():
    office = Office()
    office.tell(*ringing(), *LED_AWAY, E("Newchannel", B, state="Down"), E("DialBegin", P, B))
    assert office.told()["1001"][-1]["endReason"] == "transferred"


def test_an_end_is_held_back_for_a_caller_behind_local_channels_too():
    board = switchboard()
    hear(board, *RINGING_THROUGH_LOCAL, E("DialEnd", TWO, A, status="CANCEL"), E("Hangup", A, cause="16"))
    assert [leg.state for leg in board.snapshot("PJSIP/1001").legs] == [CallState.RINGING]
    assert states(hear(board, E("Hangup", P))) == [CallState.HANGUP]


def test_an_end_is_not_held_back_if_the_caller_gave_up():
    board = switchboard()
    hear(board, *ringing(), E("HangupRequest", P))
    assert states(hear(board, *LED_AWAY)) == [CallState.HANGUP]


def test_an_end_that_is_held_back_is_told_if_the_next_list_is_without_the_caller():
    board = switchboard()
    hear(board, *ringing(), *LED_AWAY)
    board.begin_snapshot()
    assert states([pair for pair in board.end_snapshot() if isinstance(pair[1], LegNotification)]) == [CallState.HANGUP]


def test_a_phone_that_rings_again_in_the_same_call_has_a_new_call():
    office = Office()
    office.tell(*ringing(), E("DialEnd", P, A, status="NOANSWER"), E("Hangup", A, cause="16"))
    again = {**A, "Channel": "PJSIP/1001-00000009", "Uniqueid": f"{int(office.now.timestamp())}.9"}
    office.tell(E("DialBegin", P, again), E("Newstate", again, state="Ringing", connected="+33123456789"))
    assert [(event["name"], event["id"]) for event in office.told()["1001"]] == [
        ("RINGING", "call-1"),
        ("HANGUP", "call-1"),
        ("RINGING", "call-2"),
    ]


# -- lists ----------------------------------------------------------------------------------------------------------


def row(channel, **headers):
    return E("CoreShowChannel", channel, BridgeId=headers.pop("bridge_id", ""), **headers)


def test_a_list_gives_every_watched_phone_a_snapshot():
    board = switchboard()
    board.begin_snapshot()
    assert (
        hear(board, row(P, state="Up", bridge_id="b1"), row(A, state="Up", bridge_id="b1", connected="+33123456789"))
        == []
    )
    told = dict(board.end_snapshot())
    assert isinstance(told["PJSIP/1002"], Snapshot)
    assert told["PJSIP/1002"].legs == ()
    (leg,) = told["PJSIP/1001"].legs
    assert (leg.direction, leg.state, leg.remote.number) == (Direction.INBOUND, CallState.CONNECTED, "+33123456789")


@pytest.mark.parametrize(
    ("mine", "others", "direction", "state"),
    [
        (row(A, state="Ringing"), [row(P, state="Ring")], Direction.INBOUND, CallState.RINGING),
        (
            row(A, state="Up", bridge_id="b"),
            [row(P, state="Up", bridge_id="b")],
            Direction.INBOUND,
            CallState.CONNECTED,
        ),
        (
            row({**A, "Linkedid": A["Uniqueid"]}, state="Ring", Application="Dial"),
            [],
            Direction.OUTBOUND,
            CallState.RINGING,
        ),
        (row({**A, "Linkedid": A["Uniqueid"]}, state="Ring", Application="Wait"), [], Direction.OUTBOUND, None),
        (row({**A, "Linkedid": A["Uniqueid"]}, state="Ringing"), [], Direction.OUTBOUND, None),
        (
            row({**A, "Linkedid": A["Uniqueid"]}, state="Up", Application="Dial"),
            [],
            Direction.OUTBOUND,
            CallState.RINGING,
        ),
        (row({**A, "Linkedid": A["Uniqueid"]}, state="Up", bridge_id="b"), [], Direction.OUTBOUND, CallState.CONNECTED),
        (row(A, state="Up"), [row(P, state="Up", Application="MusicOnHold")], Direction.INBOUND, CallState.ON_HOLD),
    ],
)
def test_what_a_list_says_of_a_call_that_nobody_heard_begin(mine, others, direction, state):
    board = switchboard()
    board.begin_snapshot()
    hear(board, mine, *others)
    (leg,) = dict(board.end_snapshot())["PJSIP/1001"].legs
    assert (leg.direction, leg.state) == (direction, state)


def listed(*rows, board=None):
    """The leg of 1001 after a list of just these channels."""
    board = board or switchboard()
    board.begin_snapshot()
    hear(board, *rows)
    (leg,) = dict(board.end_snapshot())["PJSIP/1001"].legs
    return leg


MINE = {**A, "Linkedid": A["Uniqueid"]}
THEIRS = {**P, "Uniqueid": "1795390188.9", "Linkedid": A["Uniqueid"]}


def test_what_happened_between_two_lists_is_made_good():
    board = switchboard()
    hear(board, *answered(caller="1002"))
    leg = listed(row(A, state="Up", connected="+33612345678"), row(P, state="Up"), board=board)
    assert leg.remote.number == "+33612345678"
    mine = board.leg("PJSIP/1001", CALL)
    assert mine.bridge == ""
    assert board.peer(mine).uniqueid == CALL


def test_a_click_to_call_of_the_list_to_a_service_of_the_pbx_is_connected():
    leg = listed(row(MINE, state="Up", Application="Echo", own="*99", connected="*99"))
    assert leg.state is CallState.CONNECTED
    assert leg.local.extension == "1001"


def test_a_call_that_the_pbx_holds_is_held_whoever_began_it():
    far = row(THEIRS, state="Up", Application="MusicOnHold")
    assert listed(row(MINE, state="Up", Application="Wait"), far).state is CallState.ON_HOLD


def test_who_was_asked_before_the_list_is_who_she_speaks_with_if_the_caller_hangs_up():
    board = switchboard()
    rows = [
        row(P, state="Up", own="+33123456789", bridge_id="b1"),
        row(A, state="Up", connected="1002", bridge_id="b2"),
        row(LOCAL, state="Up", bridge_id="b2"),
    ]
    leg = listed(*rows, board=board)
    assert (leg.state, leg.consult.extension, leg.remote.number) == (CallState.ON_HOLD, "1002", "+33123456789")
    ((_, leg),) = hear(board, E("Hangup", P, cause="16"))
    assert (leg.state, leg.consult, leg.remote.extension) == (CallState.CONNECTED, None, "1002")


def test_whom_she_asked_before_may_be_whom_she_speaks_with_later():
    board = switchboard()
    back = [E("BridgeLeave", A, bridge="b2"), E("BridgeEnter", A, bridge="b1")]
    hear(board, *consulting(), *back)
    stale = row(A, state="Up", bridge_id="b1", connected="1002", name="Blaise Pascal")
    assert listed(stale, board=board).remote.number == "+33123456789"
    hear(board, E("NewConnectedLine", A, connected="+33123456789"))
    assert listed(stale, board=board).remote.extension == "1002"


def test_who_calls_a_phone_that_rings_is_known_after_a_list():
    board = switchboard()
    board.begin_snapshot()
    hear(board, row(A, state="Ringing"), row(P, state="Ring"))
    board.end_snapshot()
    assert board.peer(board.leg("PJSIP/1001", CALL)).uniqueid == CALL


def test_what_is_not_in_the_list_is_gone():
    board = switchboard()
    hear(board, *answered())
    board.begin_snapshot()
    assert dict(board.end_snapshot())["PJSIP/1001"].legs == ()
    assert board.leg("PJSIP/1001", CALL) is None
    assert hear(board, E("Hangup", A), E("Newstate", A, state="Up")) == []


def test_a_call_that_begins_while_the_list_is_told_is_not_gone():
    board = switchboard()
    board.begin_snapshot()
    hear(board, *answered())
    assert [leg.state for leg in dict(board.end_snapshot())["PJSIP/1001"].legs] == [CallState.CONNECTED]


def test_a_late_event_of_a_call_that_is_over_does_not_revive_it():
    board = switchboard()
    hear(board, *answered(), E("Hangup", A), E("Hangup", P))
    assert hear(board, *answered()) == []
    assert board.snapshot("PJSIP/1001").legs == ()


def test_an_end_may_overtake_the_beginning():
    board = switchboard()
    assert hear(board, E("Hangup", A), *ringing()) == []


def test_those_who_are_gone_are_kept_by_nobody():
    board = switchboard()
    hear(board, E("Newchannel", {**A, "Uniqueid": "1.0", "Linkedid": "long"}, state="Ring"))
    for number in range(1, 500):
        one, other = (
            {**A, "Uniqueid": f"1.{number - 1}", "Linkedid": "long"},
            {**A, "Uniqueid": f"1.{number}", "Linkedid": "long"},
        )
        hear(board, E("DialBegin", one, other), E("BridgeEnter", one, bridge="b"), E("BridgeEnter", other, bridge="b"))
        hear(board, E("DialEnd", one, other, status="ANSWER"), E("Hold", other), E("Hangup", one))
    gc.collect()
    assert sum(isinstance(each, Channel) and each.linkedid == "long" for each in gc.get_objects()) < 10


# -- for commands -----------------------------------------------------------------------------------------------------


def test_the_channel_of_a_call_and_whom_it_is_with():
    board = switchboard()
    hear(board, *ringing())
    mine = board.leg("PJSIP/1001", CALL)
    assert (mine.name, mine.state, mine.is_held) == (A["Channel"], "Ringing", False)
    assert board.peer(mine).name == P["Channel"]
    hear(board, *answered()[-4:], E("Hold", A))
    assert mine.is_held
    assert board.peer(mine).name == P["Channel"]
    assert board.leg("PJSIP/1001", "another") is None
    assert board.leg("PJSIP/1002", CALL) is None


def test_whom_a_phone_dials_is_known_while_it_rings():
    board = switchboard()
    mine, far = {**A, "Linkedid": A["Uniqueid"]}, {**B, "Linkedid": A["Uniqueid"]}
    hear(board, E("Newchannel", mine, state="Ring"), E("Newchannel", far, state="Down"))
    hear(board, E("Newstate", far, state="Ringing"))
    assert states(hear(board, E("DialBegin", mine, far))) == [CallState.RINGING]
    assert board.peer(board.leg("PJSIP/1001", A["Uniqueid"])).name == B["Channel"]


def test_where_the_dialplan_has_got_to_is_kept():
    board = switchboard()
    hear(board, *ringing(), E("Newstate", P, state="Up", Context="queues", exten="700"))
    caller = board.peer(board.leg("PJSIP/1001", CALL))
    assert (caller.dialled, caller.context, caller.exten) == ("+442071838750", "queues", "700")


def test_the_channel_that_is_answered_speaks_for_the_call():
    board = switchboard()
    again = {**A, "Channel": "PJSIP/1001-00000009", "Uniqueid": "1795390189.9"}
    hear(board, *answered(), E("DialBegin", P, again), E("Newstate", again, state="Ringing"))
    assert board.leg("PJSIP/1001", CALL).uniqueid == A["Uniqueid"]


def test_a_channel_that_gets_another_name_is_the_same_phones():
    board = switchboard()
    hear(board, *answered(), E("Rename", A, Newname="PJSIP/1001-0000000a"))
    assert board.leg("PJSIP/1001", CALL).name == "PJSIP/1001-0000000a"
    assert states(hear(board, E("Hangup", A))) == [CallState.HANGUP]


def test_a_local_channel_that_gets_another_name_leads_to_its_other_end_still():
    board = switchboard()
    named = "Local/1001@ring-0000000b;"
    hear(board, *RINGING_THROUGH_LOCAL, E("Rename", ONE, Newname=f"{named}1"), E("Rename", TWO, Newname=f"{named}2"))
    assert board.peer(board.leg("PJSIP/1001", CALL)).name == P["Channel"]


# -- presence ---------------------------------------------------------------------------------------------------------


def test_the_queues_of_a_phone_are_told_when_they_change():
    board = switchboard()
    member = {"Queue": "support", "Interface": "PJSIP/1001", "Paused": "0"}
    assert hear(board, E("QueueMemberAdded", member)) == [
        ("PJSIP/1001", PresenceNotification(queues={"support": True})),
    ]
    assert hear(board, E("QueueMemberStatus", member)) == []
    ((_, paused),) = hear(board, E("QueueMemberPause", member, Paused="1"))
    assert paused.is_paused
    assert paused.is_dnd is None
    ((_, left),) = hear(board, E("QueueMemberRemoved", member, Paused="1"))
    assert (left.queues, left.is_paused) == ({"support": False}, False)


def test_a_list_of_the_queues_ends_memberships_too():
    board = switchboard()
    hear(board, E("QueueMemberAdded", {"Queue": "sales", "Interface": "PJSIP/1001"}))
    board.begin_snapshot()
    assert hear(board, E("QueueMember", {"Queue": "support", "Location": "PJSIP/1001", "Paused": "1"})) == []
    told = [notification for _, notification in board.end_snapshot() if isinstance(notification, PresenceNotification)]
    assert told == [PresenceNotification(queues={"sales": False, "support": True}, is_paused=True)]
    assert board.presence("PJSIP/1001") == told[0]


def test_a_member_that_is_called_by_way_of_a_local_channel_is_known_by_its_hint():
    board = switchboard()
    hear(
        board, E("ExtensionStatus", {"Hint": "PJSIP/1001&Custom:DND1001", "Context": "hints"}, exten="1001", Status="0")
    )
    member = {"Queue": "support", "Interface": "Local/1001@from-queue/n", "StateInterface": "hint:1001@hints"}
    ((device, _),) = hear(board, E("QueueMemberAdded", member, MemberName="Ada Lovelace"))
    assert device == "PJSIP/1001"
    assert board.extensions()["1001"].name == "Ada Lovelace"


@pytest.mark.parametrize(
    ("status", "presence"),
    [("0", "idle"), ("1", "busy"), ("2", "busy"), ("4", "offline"), ("8", "ringing"), ("9", "busy"), ("16", "hold")],
)
def test_how_an_extension_stands(status, presence):
    board = switchboard()
    hear(board, E("ExtensionStatus", {"Hint": "PJSIP/1001", "Context": "hints"}, exten="1001", Status=status))
    state = board.extensions()["1001"]
    assert (state.presence, state.device, state.context, state.name) == (presence, "PJSIP/1001", "hints", "")


def test_an_extension_gets_its_name_from_the_phone_and_goes_with_its_hint():
    board = switchboard()
    hear(board, E("ExtensionStatus", {"Hint": "PJSIP/1001"}, exten="1001", Status="0"))
    hear(board, E("Newchannel", A, state="Down", CallerIDNum="1001", CallerIDName="Ada Lovelace"))
    assert board.extensions()["1001"].name == "Ada Lovelace"
    hear(board, E("ExtensionStatus", None, exten="1001", Status="-1"))
    assert board.extensions() == {}


def test_an_extension_may_have_a_name_before_it_has_a_hint():
    board = switchboard()
    hear(board, E("QueueMember", {"Queue": "support", "Location": "PJSIP/1001", "Name": "Ada Lovelace"}))
    hear(board, E("ExtensionStatus", {"Hint": "PJSIP/1001"}, exten="1001", Status="0"))
    assert board.extensions()["1001"].name == "Ada Lovelace"


def test_an_extension_that_is_not_in_the_next_list_is_gone_unless_no_list_was_told():
    board = switchboard()
    status = [E("ExtensionStatus", {"Hint": f"PJSIP/{exten}"}, exten=exten, Status="0") for exten in ("1001", "1002")]
    hear(board, *status)
    board.begin_snapshot()
    board.end_snapshot()
    assert set(board.extensions()) == {"1001", "1002"}
    board.begin_snapshot()
    hear(board, status[1])
    board.end_snapshot()
    assert set(board.extensions()) == {"1002"}


def test_a_colleague_has_her_name_from_the_first_ring_whatever_the_connected_line_says_when():
    board = switchboard()
    told = hear(
        board,
        E("Newchannel", A, state="Ring", exten="1002"),
        E("Newchannel", B, state="Down", own="1002", CallerIDName="Blaise Pascal"),
        E("DialBegin", A, B),
        E("Newstate", B, state="Ringing"),
    )
    ringing_out = [leg for device, leg in told if device == "PJSIP/1001" and leg.state is CallState.RINGING]
    assert [leg.remote.name for leg in ringing_out] == ["Blaise Pascal"]


def test_the_same_extension_of_two_tenants_is_two_phones():
    board = switchboard()
    for context, device, status in (("red", "PJSIP/red-1001", "0"), ("blue", "PJSIP/blue-1001", "1")):
        hear(board, E("ExtensionStatus", {"Hint": device, "Context": context}, exten="1001", Status=status))
    (red,), (blue,) = (board.extensions(context).values() for context in ("red", "blue"))
    assert (red.device, red.presence) == ("PJSIP/red-1001", "idle")
    assert (blue.device, blue.presence) == ("PJSIP/blue-1001", "busy")
    hear(board, E("ExtensionStatus", {"Context": "blue"}, exten="1001", Status="-1"))
    assert set(board.extensions("red")) == {"1001"}
    assert board.extensions("blue") == {}


def test_two_extensions_of_one_phone_do_not_hide_each_other():
    board = switchboard()
    hint = {"Hint": "PJSIP/1001"}
    hear(
        board,
        E("ExtensionStatus", hint, exten="1001", Status="0"),
        E("ExtensionStatus", hint, exten="2001", Status="0"),
    )
    hear(board, E("ExtensionStatus", None, exten="1001", Status="-1"))
    hear(board, E("Newchannel", A, state="Down", CallerIDName="Ada Lovelace"))
    assert board.extensions()["2001"].name == "Ada Lovelace"


# -- Local channels that come and go ----------------------------------------------------------------------------------


def test_an_end_of_a_local_channel_that_is_optimized_away_has_not_led_anybody_away():
    board = switchboard()
    end = {"Channel": "Local/1002@x-1;1", "Uniqueid": "1795390189.3", "Linkedid": CALL}
    hear(board, *answered(), E("BridgeEnter", A, bridge="b2"), E("BridgeEnter", end, bridge="b2"))
    hear(board, E("BridgeLeave", end, bridge="b2"), E("BridgeEnter", B, state="Up", bridge="b2"))
    told = hear(board, E("BridgeLeave", A, bridge="b2"), E("BridgeLeave", B, bridge="b2"), E("Hangup", A, cause="16"))
    (end_of_hers,) = [leg for device, leg in told if device == "PJSIP/1001"]
    assert (end_of_hers.state, end_of_hers.end_reason) == (CallState.HANGUP, None)


def test_a_held_caller_whom_somebody_has_taken_away_is_the_other_side_no_longer():
    board = switchboard()
    hear(board, *answered(), E("BridgeLeave", A, bridge="b1"), E("BridgeLeave", P, bridge="b1"))
    hear(board, E("MusicOnHoldStart", P))
    mine = board.leg("PJSIP/1001", CALL)
    assert mine.is_parked
    assert board.peer(mine).uniqueid == CALL
    hear(board, E("MusicOnHoldStop", P), E("BridgeEnter", B, state="Up", bridge="b3"), E("BridgeEnter", P, bridge="b3"))
    assert board.peer(mine) is None


def test_after_a_list_too_a_phone_that_a_local_channel_rings_is_not_rung_by_the_first_caller():
    board = switchboard()
    dialling = {"Channel": "Local/1002@x-1;2", "Uniqueid": "1795390189.4", "Linkedid": CALL}
    board.begin_snapshot()
    hear(
        board,
        E("CoreShowChannel", P, state="Up", exten="1001", Application="Dial", BridgeId="b1"),
        E("CoreShowChannel", B, state="Ringing", exten="1002", Application="AppDial"),
        E("CoreShowChannel", dialling, state="Ring", exten="1002", Application="Dial"),
    )
    board.end_snapshot()
    assert board.leg("PJSIP/1002", CALL).dialled_by.name == "Local/1002@x-1;2"


def test_members_without_end_are_not_kept_without_end(monkeypatch):
    monkeypatch.setattr(presence, "MAX_MEMBERS", 3)
    queues = presence.Queues(presence.Extensions())
    for number in range(20):
        queues.hear(E("QueueMember", {"Queue": "support", "Location": f"PJSIP/{number}"}))
    assert len(queues._members) == 3
