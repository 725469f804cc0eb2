"""From a dialog-info document to notifications: tables, and nothing that remembers.

state of the dialog       state of the leg
trying, proceeding        None (it exists, there is nothing to show)
early                     RINGING
confirmed                 CONNECTED; ON_HOLD while the local target says +sip.rendering=no
terminated                HANGUP, whatever the parameters say
"""

import re
from datetime import UTC, datetime
from urllib.parse import unquote

from ...calls.notifications import LegNotification, Snapshot
from ...calls.numbers import NumberPlan, Party, classify
from ...calls.states import CallState, Direction, EndReason
from ...wire.dialog_info import DialogElement, DialogInfo, Participant

__all__ = ["own_extension", "provider_call_id", "sip_node", "translate"]

_STATES = {
    "early": CallState.RINGING,
    "confirmed": CallState.CONNECTED,
    "terminated": CallState.HANGUP,
}

_DIRECTIONS = {"initiator": Direction.OUTBOUND, "recipient": Direction.INBOUND}

_END_REASONS = {
    ("rejected", 486): EndReason.BUSY,
    ("rejected", 600): EndReason.BUSY,
    ("rejected", 403): EndReason.REJECTED,
    ("rejected", 603): EndReason.REJECTED,
    ("rejected", None): EndReason.REJECTED,
    ("replaced", None): EndReason.TRANSFERRED,
}

_NODE = re.compile(r"(user|ivr|queue|conf):([1-9][0-9]{1,15})")
_CALL_NUMBER = re.compile(r"[0-9]+(?=-)")
_TIMESTAMP = re.compile(r"[0-9]{1,10}")


def translate(info: DialogInfo, node: str, plan: NumberPlan) -> list[Snapshot | LegNotification]:
    """What `info` says about `node` ("" for the agent's own): a Snapshot if it is full, else one leg per dialog."""
    legs = tuple(_leg(dialog, node, plan) for dialog in info.dialogs)
    return [Snapshot(node=node, legs=legs)] if info.is_full else list(legs)


def provider_call_id(dialog_id: str) -> str:
    """The id that REST knows the call of `dialog_id` by.

    VoIPstudio writes "<call id>-<leg>". Other servers write dialog ids of their own make, in which the part before
    the first "-" is the same for every call: there the whole id has to do.
    """
    number = _CALL_NUMBER.match(dialog_id)
    return number[0] if number else dialog_id


def own_extension(dialog: DialogElement, plan: NumberPlan) -> str:
    """The extension of whoever is watched, as far as `dialog` shows it; "" if it does not.

    The local side of an outbound dialog is who dialled. That of an inbound one may name a group or a queue, but not
    where its target is the very same.
    """
    named, reached = _party(dialog.local, plan), _party(Participant(dialog.local.target), plan)
    is_sure = _direction(dialog) is Direction.OUTBOUND or named.extension == reached.extension
    return named.extension if is_sure else ""


def sip_node(node: str) -> str:
    """The user part of the SIP URI that `node` ("user:10032", "ivr:12") is subscribed at, "" if it is no node."""
    match = _NODE.fullmatch(node)
    if match is None:
        return ""
    kind, number = match.groups()
    return number if kind == "user" else f"{kind}-{number}"


def _leg(dialog: DialogElement, node: str, plan: NumberPlan) -> LegNotification:
    state = _state(dialog)
    is_over = state is CallState.HANGUP
    return LegNotification(
        provider_call_id=provider_call_id(dialog.dialog_id),
        leg_id=dialog.dialog_id,
        state=state,
        direction=_direction(dialog),
        local=_party(dialog.local, plan),
        remote=_party(dialog.remote, plan),
        node=node,
        end_reason=_end_reason(dialog) if is_over else None,
        cause=_cause(dialog) if is_over else "",
        started_at=_started_at(dialog),
        # A call number in front of a dialog id is good for one call; what other servers write comes back.
        reuses_ids=_CALL_NUMBER.match(dialog.dialog_id) is None,
        raw={"id": dialog.dialog_id, "state": dialog.state, "context": dialog.local.params.get("context", "")},
    )


def _state(dialog: DialogElement) -> CallState | None:
    state = _STATES.get(dialog.state)
    if state is CallState.CONNECTED and dialog.local.params.get("+sip.rendering", "").lower() == "no":
        return CallState.ON_HOLD
    return state


def _direction(dialog: DialogElement) -> Direction:
    if dialog.direction in _DIRECTIONS:
        return _DIRECTIONS[dialog.direction]
    # RFC 4235 lets a server leave it out. Only who calls sees "trying" and "proceeding" as a rule; and taking a call
    # for an inbound one at worst shows a card, while the other mistake would hide a ringing caller.
    return Direction.OUTBOUND if dialog.state in ("trying", "proceeding") else Direction.INBOUND


def _party(participant: Participant, plan: NumberPlan) -> Party:
    uri = participant.identity or participant.target
    if "%" in uri:
        uri = unquote(uri, errors="replace")
    return classify(uri, participant.display, plan)


def _end_reason(dialog: DialogElement) -> EndReason | None:
    exact = _END_REASONS.get((dialog.event, dialog.code))
    return exact or (_END_REASONS.get((dialog.event, None)) if dialog.event == "replaced" else None)


def _cause(dialog: DialogElement) -> str:
    told = (str(dialog.code) if dialog.code else "", dialog.event)
    return " ".join(part for part in told if part)


def _started_at(dialog: DialogElement) -> datetime | None:
    for side in (dialog.local, dialog.remote):
        stamp = side.params.get("timestamp.start", "")
        if _TIMESTAMP.fullmatch(stamp) and int(stamp):
            return datetime.fromtimestamp(int(stamp), UTC)
    return None
