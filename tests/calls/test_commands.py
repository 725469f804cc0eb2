"""What an agent may ask for, and whether it makes sense now."""

import pytest

from cti_django.calls.commands import (
    MAX_TEXT,
    Answer,
    CancelTransfer,
    Capability,
    CompleteTransfer,
    Consult,
    Dial,
    DoNotDisturb,
    HangUp,
    Link,
    Pause,
    QueueLogin,
    QueueLogout,
    SendDTMF,
    Transfer,
    Unpause,
    actions,
    parse_command,
    refusal,
)
from cti_django.calls.events import Call
from cti_django.calls.numbers import Party, PartyKind
from cti_django.calls.states import CallState, Direction
from cti_django.exceptions import InvalidCommand, NotCapable

VOIPSTUDIO = frozenset({Capability.DIAL, Capability.ANSWER, Capability.HANG_UP, Capability.HOLD, Capability.TRANSFER})
SOMEBODY = Party(kind=PartyKind.NUMBER, number="+442079460018")


def call(state, direction=Direction.INBOUND, **more):
    return Call(
        call_id="c", provider_call_id="1", leg_id="1-1", state=state, direction=direction,
        source=SOMEBODY, destination=SOMEBODY, **more,
    )  # fmt: skip


def test_a_message_becomes_a_command():
    message = {"command": "transfer", "id": "7", "call_id": "c", "number": " 10032 "}
    assert parse_command(message) == Transfer(command_id="7", call_id="c", number="10032")
    assert parse_command({"command": "answer", "id": "8"}) == Answer(command_id="8", call_id="")


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ({"command": "consult", "call_id": "c", "number": "999"}, Consult(command_id="7", call_id="c", number="999")),
        ({"command": "complete", "call_id": "c"}, CompleteTransfer(command_id="7", call_id="c")),
        ({"command": "back", "call_id": "c"}, CancelTransfer(command_id="7", call_id="c")),
        ({"command": "dtmf", "call_id": "c", "digits": "1*#aD"}, SendDTMF(command_id="7", call_id="c", digits="1*#aD")),
        ({"command": "queue_login"}, QueueLogin(command_id="7", queue="")),
        ({"command": "queue_login", "queue": "sales"}, QueueLogin(command_id="7", queue="sales")),
        ({"command": "queue_logout", "queue": "sales"}, QueueLogout(command_id="7", queue="sales")),
        ({"command": "pause"}, Pause(command_id="7", reason="")),
        ({"command": "pause", "reason": "lunch"}, Pause(command_id="7", reason="lunch")),
        ({"command": "unpause"}, Unpause(command_id="7")),
        ({"command": "dnd", "state": "on"}, DoNotDisturb(command_id="7", state="on")),
    ],
)  # fmt: skip
def test_what_only_some_systems_can_do_becomes_a_command(message, command):
    assert parse_command({**message, "id": "7"}) == command


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"command": "reboot", "id": "1"},
        {"command": ["call"], "id": "1"},
        {"command": "call", "number": "1"},
        {"command": "call", "id": "1"},
        {"command": "call", "id": "1", "number": 123},
        {"command": "call", "id": "1", "number": "1" * (MAX_TEXT + 1)},
        {"command": "call", "id": "1", "number": "10032\r\nX: y"},
        {"command": "call", "id": {"a": 1}, "number": "10032"},
        {"command": "hangup", "id": "1"},
        {"command": "consult", "id": "1", "call_id": "c"},
        {"command": "dtmf", "id": "1", "call_id": "c"},
        {"command": "dtmf", "id": "1", "call_id": "c", "digits": "1,2"},
        {"command": "dtmf", "id": "1", "call_id": "c", "digits": "1" * 33},
        {"command": "dtmf", "id": "1", "call_id": "c", "digits": "١"},
        {"command": "dnd", "id": "1"},
        {"command": "dnd", "id": "1", "state": True},
        {"command": "dnd", "id": "1", "state": "maybe"},
        {"command": "pause", "id": "1", "reason": "x\r\nPaused: false"},
        {"command": "queue_login", "id": "1", "queue": ["support"]},
    ],
)
def test_a_malformed_message_is_refused_with_a_sentence(message):
    with pytest.raises(InvalidCommand) as caught:
        parse_command(message)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("state", "direction", "offered"),
    [
        (CallState.RINGING, Direction.INBOUND, ["answer"]),
        (CallState.RINGING, Direction.OUTBOUND, []),
        (CallState.INITIAL, Direction.OUTBOUND, []),
        (CallState.CONNECTED, Direction.INBOUND, ["hangup", "hold", "transfer"]),
        (CallState.ON_HOLD, Direction.OUTBOUND, ["hangup", "resume"]),
        (CallState.HANGUP, Direction.INBOUND, []),
    ],
)
def test_only_what_makes_sense_now_is_offered(state, direction, offered):
    assert actions(call(state, direction), VOIPSTUDIO) == offered


def test_a_more_capable_system_offers_more():
    more = VOIPSTUDIO | {Capability.REFUSE, Capability.DEFLECT}
    assert actions(call(CallState.RINGING), more) == ["answer", "hangup", "transfer"]


EVERYTHING = frozenset(Capability)


@pytest.mark.parametrize(
    ("state", "direction", "consult", "offered"),
    [
        (CallState.RINGING, Direction.INBOUND, None, "answer hangup transfer"),
        (CallState.RINGING, Direction.OUTBOUND, None, "hangup"),
        (CallState.INITIAL, Direction.OUTBOUND, None, "hangup"),
        (CallState.ACCEPTED, Direction.OUTBOUND, None, "hangup"),
        (CallState.CONNECTED, Direction.INBOUND, None, "hangup hold transfer consult dtmf"),
        (CallState.ON_HOLD, Direction.OUTBOUND, None, "hangup resume transfer consult"),
        (CallState.CONNECTED, Direction.INBOUND, SOMEBODY, "complete back dtmf"),
        (CallState.ON_HOLD, Direction.OUTBOUND, SOMEBODY, "complete back dtmf"),
        (CallState.HANGUP, Direction.INBOUND, None, ""),
    ],
)
def test_a_system_that_can_do_everything_offers_what_makes_sense_now(state, direction, consult, offered):
    assert actions(call(state, direction, consult=consult), EVERYTHING) == offered.split()


@pytest.mark.parametrize("state", [CallState.CONNECTED, CallState.ON_HOLD])
def test_who_cannot_ask_first_is_not_offered_it(state):
    everything_else = EVERYTHING - {Capability.CONSULT, Capability.DTMF}
    assert not {"consult", "complete", "back", "dtmf"} & set(actions(call(state), everything_else))
    asking = call(state, consult=SOMEBODY)
    assert actions(asking, everything_else) == []
    assert isinstance(refusal(CompleteTransfer(command_id="1", call_id="c"), asking, everything_else), NotCapable)


def test_while_she_asks_somebody_everything_else_waits():
    asking = call(CallState.ON_HOLD, consult=SOMEBODY)
    for command in (HangUp(command_id="1", call_id="c"), Consult(command_id="1", call_id="c", number="10033")):
        assert refusal(command, asking, EVERYTHING).code == "not_now"
    assert refusal(Link(command_id="1", call_id="c", url="https://x.example/", text=""), asking, EVERYTHING) is None


def test_there_is_nobody_to_connect_before_she_asks():
    for command in (CompleteTransfer(command_id="1", call_id="c"), CancelTransfer(command_id="1", call_id="c")):
        assert refusal(command, call(CallState.CONNECTED), EVERYTHING).code == "not_now"


@pytest.mark.parametrize(
    ("command", "capability"),
    [
        (QueueLogin(command_id="1", queue=""), Capability.QUEUES),
        (QueueLogout(command_id="1", queue="support"), Capability.QUEUES),
        (Pause(command_id="1", reason=""), Capability.PAUSE),
        (Unpause(command_id="1"), Capability.PAUSE),
        (DoNotDisturb(command_id="1", state="on"), Capability.DND),
    ],
)
def test_what_is_of_no_call_needs_its_capability_alone(command, capability):
    assert refusal(command, None, frozenset({capability})) is None
    assert isinstance(refusal(command, None, EVERYTHING - {capability}), NotCapable)


def test_calls_that_are_only_watched_offer_nothing():
    assert actions(call(CallState.CONNECTED, node="user:10032"), VOIPSTUDIO) == []


def test_hanging_up_a_call_that_only_rings_is_info_and_not_an_error():
    why = refusal(HangUp(command_id="1", call_id="c"), call(CallState.RINGING), VOIPSTUDIO)
    assert (why.event_name, why.code) == ("INFO", "not_now")


def test_what_the_system_cannot_do_at_all_is_said_so():
    assert isinstance(refusal(Dial(command_id="1", number="10032"), None, frozenset()), NotCapable)
    assert isinstance(refusal(Answer(command_id="1", call_id="c"), call(CallState.RINGING), frozenset()), NotCapable)


def test_a_command_for_a_call_that_is_over_says_so():
    for gone in (None, call(CallState.HANGUP)):
        assert refusal(HangUp(command_id="1", call_id="c"), gone, VOIPSTUDIO).code == "no_such_call"
    assert refusal(Answer(command_id="1", call_id=""), None, VOIPSTUDIO).code == "no_ringing_call"
