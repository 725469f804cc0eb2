"""From a channel to the agent's leg: a table, and nothing that remembers.

how the channel came to be        direction, and when it rings or is connected
dialled by another channel        inbound: rings when the phone rings, connected when it is answered
dialled on the phone              outbound: rings when the far end rings, connected when that answers
made by the PBX (click-to-call)   outbound: the same; that the agent's own phone rings and answers says nothing yet
held by the phone or the PBX      ON_HOLD, with `consult` while somebody is asked before a transfer
gone                              HANGUP
"""

import re
from dataclasses import replace
from datetime import UTC, datetime

from ...calls.notifications import LegNotification
from ...calls.numbers import NumberPlan, Party, PartyKind, classify, same_party
from ...calls.states import CallState, Direction, EndReason
from .channels import Channel, Channels, Identity, Origin, is_known

__all__ = ["BUSY", "CANNOT_BE_REACHED", "DECLINED", "NO_ANSWER", "cause_in_words", "direction", "end_of", "leg"]

BUSY = 17  # hang-up causes of ITU-T Q.850
NO_ANSWER = frozenset({18, 19})
DECLINED = 21
CANNOT_BE_REACHED = "The number cannot be reached at the moment."
_NORMAL = frozenset({0, 16, 31, 127})
_IN_WORDS = {
    1: "There is no such number.",
    2: "There is no such number.",
    3: "There is no such number.",
    17: "The number is busy.",
    18: "Nobody answered.",
    19: "Nobody answered.",
    21: "The call was declined.",
    22: "The number has changed.",
    28: "That is not a valid number.",
}
_FAR_REASONS = {
    17: EndReason.BUSY,
    18: EndReason.NO_ANSWER,
    19: EndReason.NO_ANSWER,
    21: EndReason.REJECTED,
}
_EPOCH = re.compile(r"(?:^|-)([0-9]{9,10})(?:[.-]|$)")


def direction(channel: Channel) -> Direction | None:
    """Who called whom, seen from the phone; None while nobody can tell."""
    if channel.origin is Origin.DIALLED:
        return Direction.INBOUND
    if channel.origin is not Origin.UNKNOWN:
        return Direction.OUTBOUND
    if not channel.is_up:
        return None  # who dials it will be told in a moment
    return Direction.OUTBOUND if channel.uniqueid == channel.linkedid else Direction.INBOUND


def leg(channel: Channel, channels: Channels, plan: NumberPlan) -> LegNotification | None:
    """What `channel` is to its agent now; None while its direction is not known."""
    if channel.direction is None:
        channel.direction = direction(channel)
        if channel.direction is None:
            return None
    state = _state(channel)
    dialler = channels.dialler(channel)
    raw = {"channel": channel.name, "uniqueid": channel.uniqueid, "linkedid": channel.linkedid}
    raw["did"] = dialler.dialled if dialler is not None else ""
    return LegNotification(
        provider_call_id=channel.linkedid,
        leg_id=channel.uniqueid,
        state=state,
        direction=channel.direction,
        local=_local(channel, plan),
        remote=_remote(channel, plan),
        end_reason=channel.end_reason,
        cause=channel.cause,
        started_at=_started_at(channel.uniqueid if channel.rings_again else channel.linkedid),
        follows_remote=channel.direction is Direction.INBOUND or channel.is_answered,
        consult=_consult(channel, channels, plan) if state is CallState.ON_HOLD else None,
        raw=raw,
    )


def _state(channel: Channel) -> CallState | None:
    if channel.is_gone:
        return CallState.HANGUP
    if channel.is_held or channel.is_parked:
        return CallState.ON_HOLD
    if channel.is_answered or (channel.origin is Origin.DIALLING and channel.is_up):
        return CallState.CONNECTED
    if channel.origin is Origin.UNKNOWN:
        return CallState.CONNECTED if channel.is_up else None
    rings = channel.state == "Ringing" if channel.direction is Direction.INBOUND else channel.far_rings
    return CallState.RINGING if rings else None


def _local(channel: Channel, plan: NumberPlan) -> Party:
    number, name = channel.own
    return classify(number or channel.device.rpartition("/")[2], name, plan)


def _remote(channel: Channel, plan: NumberPlan) -> Party:
    told = channel.held_connected if channel.consulting else channel.connected
    connected = _party(told, plan)
    if channel.direction is Direction.INBOUND:
        return connected
    asked = channel.destination
    if asked is None and channel.origin is Origin.DIALLING and channel.dialled:
        asked = classify(channel.dialled, "", plan)
    if asked is not None and channel.dialling is not None:
        # The phone that rings knows its name, whether or not the connected line has told it yet.
        dialled = _party(channel.dialling.own, plan)
        if not asked.name and same_party(asked, dialled):
            asked = replace(asked, name=dialled.name)
    if asked is None or connected.kind is PartyKind.UNAVAILABLE:
        return asked or connected
    if same_party(asked, connected):
        return asked if channel.destination and told == channel.connected_first else connected
    is_news = channel.origin is Origin.DIALLING or told != channel.connected_first
    return connected if channel.is_answered and is_news else asked


def _consult(channel: Channel, channels: Channels, plan: NumberPlan) -> Party | None:
    if not channel.consulting:
        return None
    if is_known(channel.connected) and channel.connected != channel.held_connected:
        return _party(channel.connected, plan)
    local = next((member for member in channels.bridged(channel) if member.is_local), None)
    if local is not None and local.state != "Down":
        return classify(local.dialled, "", plan)
    return channel.told.consult if channel.told else None


def _party(identity: Identity, plan: NumberPlan) -> Party:
    return classify(*identity, plan)


def _started_at(text: str) -> datetime | None:
    """When the call began: Asterisk's ids begin with the second in which they were made."""
    epoch = _EPOCH.search(text)
    return datetime.fromtimestamp(int(epoch[1]), UTC) if epoch else None


def end_of(channel: Channel, channels: Channels) -> tuple[EndReason | None, str]:
    """Why `channel`, which is about to go, has ended, and that in words; None and "" where that is nothing special."""
    if channel.is_transferred or _is_led_away(channel):
        return EndReason.TRANSFERRED, ""
    if channel.is_answered:
        return None, ""
    if direction(channel) is Direction.OUTBOUND:
        cause = channel.far_cause or channel.hangup_cause
        if channel.origin is not Origin.DIALLING and not channel.is_up:
            cause = 0  # the agent's own phone has ended it
        return _FAR_REASONS.get(cause), cause_in_words(cause)
    if channels.is_answered_elsewhere(channel):
        return EndReason.ELSEWHERE, ""
    if channel.dial_status == "BUSY" or channel.hangup_cause in (BUSY, DECLINED):
        return (EndReason.REJECTED if channel.has_rung else EndReason.BUSY), ""
    return None, ""


def _is_led_away(channel: Channel) -> bool:
    """Whether its other side was taken out of the call alive, and nobody hung up (a transfer by Redirect)."""
    peer = channel.last_peer
    if peer is None or peer.is_gone or peer.hangup_requested or peer.bridge == channel.bridge != "":
        return False
    return channel.is_answered and channel.peer_left_first and not channel.hangup_requested


def cause_in_words(cause: int) -> str:
    """A plain sentence for a hang-up cause, "" for the usual ones."""
    return "" if cause in _NORMAL else _IN_WORDS.get(cause, CANNOT_BE_REACHED)
