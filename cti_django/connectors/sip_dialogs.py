"""From a dialog of a dialog-info document to a leg: tables, and nothing that remembers.

state of the dialog       state of the leg
trying, proceeding        None (it exists, there is nothing to show)
early                     RINGING
confirmed                 CONNECTED; ON_HOLD while the local target says +sip.rendering=no
terminated                HANGUP, whatever the parameters say
"""

import re
from datetime import UTC, datetime
from urllib.parse import unquote

from ..calls.notifications import LegNotification
from ..calls.numbers import NumberPlan, Party, classify
from ..calls.states import CallState, Direction, EndReason
from ..wire.dialog_info import DialogElement, Participant

__all__ = ["leg_of", "own_extension"]

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

_TIMESTAMP = re.compile(r"[0-9]{1,10}")


def own_extension(dialog: DialogElement, plan: NumberPlan) -> str:
    """The extension of whoever is watched, as far as `dialog` shows it; "" if it does not.

    The local side of an outbound dialog is who dialled. That of an inbound one may name a group or a queue, but not
    where its target is the very same.
    """
    named, reached = _party(dialog.local, plan), _party(Participant(dialog.local.target), plan)
    is_sure = _direction(dialog) is Direction.OUTBOUND or named.extension == reached.extension
    return named.extension if is_sure else ""


def leg_of(
    dialog: DialogElement, node: str, plan: NumberPlan, *, provider_call_id: str, reuses_ids: bool
) -> LegNotification:
    """What `dialog` says of one leg on `node` ("" for the agent's own).

    Args:
        provider_call_id: the id of its call.
        reuses_ids: whether the server may give the dialog's id to another call later.
    """
    state = _state(dialog)
    is_over = state is CallState.HANGUP
    return LegNotification(
        provider_call_id=provider_call_id,
        leg_id=dialog.dialog_id,
        state=state,
        direction=_direction(dialog),
        local=_party(dialog.local, plan),
        remote=_party(dialog.remote, plan),
        node=node,
        end_reason=_end_reason(dialog) if is_over else None,
        cause=_cause(dialog) if is_over else "",
        started_at=_started_at(dialog),
        reuses_ids=reuses_ids,
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
