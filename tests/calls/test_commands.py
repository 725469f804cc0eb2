"""What an agent may ask for, and whether it makes sense now."""

import pytest

from cti_django.calls.commands import (
    MAX_TEXT,
    Answer,
    Capability,
    Dial,
    HangUp,
    Transfer,
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
