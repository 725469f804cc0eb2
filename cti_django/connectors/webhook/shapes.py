"""The spoken shapes: a table each, from the fields of a delivery to a Report. Nothing here remembers anything.

sipgate     event=newCall | answer | hangup, from, to, direction=in | out, callId, origCallId, user[], userId[],
            fullUserId[], answeringNumber, cause, diversion. Other events (dtmf) say nothing of a call's state.
zammad      the same words without ids of users; user may be one text or several; call_id, queue.
generic     this project's own: event=ringing | answered | held | resumed | ended, call_id, direction=inbound |
            outbound, from, to, from_name, to_name, agent (one or several), answered_by, original_call_id, cause,
            event_id (what tells two holds of one call from one that is sent twice).

Source: sipgate.io's push API (github.com/sipgate/sipgate.io, README); Zammad's "Generic CTI" (docs.zammad.org).
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from ...calls.states import Direction
from ...exceptions import WebhookError
from .bodies import Fields, single

__all__ = ["FIELDS", "SHAPES", "Report", "Stage", "name_of", "read_report"]

MAX_ID = 100  # characters of a call's id that is kept as it is; the call log has room for 128
MAX_TEXT = 128

_NUMBERISH = re.compile(r"\+?[\d\s().\-/]+")


class Stage(StrEnum):
    """What a delivery says of a call."""

    RINGING = "ringing"
    ANSWERED = "answered"
    HELD = "held"
    RESUMED = "resumed"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One thing that a system told of one call.

    Args:
        stage: what has happened.
        provider_call_id: the system's id of the call.
        original_call_id: of the call that this one was forwarded or transferred from, "" if none.
        direction: seen from the company's own users; None if it was not told.
        caller, callee: as the system wrote them, "" if it did not.
        caller_name, callee_name: their names, where the system tells them.
        names: who of the company's own side it is about, as ``name_of`` spells them: users, their ids, their number.
        user_count: how many users it was offered to, as far as it was told.
        answerers: the user who has answered, spelt likewise; with ANSWERED, and with ENDED where that tells it.
        answering: the number that has answered, spelt likewise.
        cause: of the end, in the shape's own word, "" if it told none.
    """

    stage: Stage
    provider_call_id: str
    original_call_id: str = ""
    direction: Direction | None = None
    caller: str = ""
    callee: str = ""
    caller_name: str = ""
    callee_name: str = ""
    names: frozenset[str] = field(default_factory=frozenset)
    user_count: int = 0
    answerers: frozenset[str] = field(default_factory=frozenset)
    answering: frozenset[str] = field(default_factory=frozenset)
    cause: str = ""


def name_of(text: str) -> str:
    """How users and numbers are compared: numbers by their digits alone, everything else without regard to case."""
    text = text.strip()
    if _NUMBERISH.fullmatch(text):
        digits = "".join(char for char in text if char.isdecimal() and char.isascii())
        return digits.removeprefix("00") or text
    return " ".join(text.casefold().split())


def read_report(shape: str, fields: Fields) -> Report | None:
    """What `fields` say in `shape`; None for an event that says nothing of a call's state.

    Raises:
        WebhookError: no event, no id of the call, or a value that cannot be.
    """
    return _READERS[shape](fields)


# -- sipgate and zammad -----------------------------------------------------------------------------------------------

_PUSHED = {"newcall": Stage.RINGING, "answer": Stage.ANSWERED, "hangup": Stage.ENDED}
_DIRECTIONS = {
    "in": Direction.INBOUND,
    "out": Direction.OUTBOUND,
    "inbound": Direction.INBOUND,
    "outbound": Direction.OUTBOUND,
}
_OWN_SIDE = {Direction.INBOUND: "to", Direction.OUTBOUND: "from", None: ""}


def _pushed(fields: Fields) -> Report | None:
    stage = _PUSHED.get(_event(fields).lower())
    if stage is None:
        return None
    direction = _direction(fields)
    if direction is None and stage is Stage.RINGING:
        raise WebhookError("A new call must have a direction.")
    users, user_count = _users(fields, "user", "userId", "fullUserId")
    cause = _text(fields, "cause")
    # Who is named beside the end of a call that was answered is who has answered it.
    tells_answerer = stage is Stage.ANSWERED or (stage is Stage.ENDED and cause == "normalClearing")
    answering = _names(fields, "answeringNumber") if tells_answerer else frozenset()
    return Report(
        stage=stage,
        provider_call_id=_call_id(fields, "callId", "call_id"),
        original_call_id=_id(single(fields, "origCallId", "originalCallId")),
        direction=direction,
        caller=_text(fields, "from"),
        callee=_text(fields, "to"),
        names=users | answering | _names(fields, _OWN_SIDE[direction]),
        user_count=user_count if stage is Stage.RINGING else 0,
        answerers=users if tells_answerer and user_count == 1 else frozenset(),
        answering=answering,
        cause=cause,
    )


# -- generic ----------------------------------------------------------------------------------------------------------


def _generic(fields: Fields) -> Report | None:
    event = _event(fields)
    try:
        stage = Stage(event)
    except ValueError:
        return None
    direction = _direction(fields)
    if direction is None and stage is Stage.RINGING:
        raise WebhookError("A ringing call must have a direction.")
    agents, agent_count = _users(fields, "agent")
    answerers = _names(fields, "answered_by")
    if stage is Stage.ANSWERED and agent_count == 1 and not answerers:
        answerers = agents
    return Report(
        stage=stage,
        provider_call_id=_call_id(fields, "call_id"),
        original_call_id=_id(single(fields, "original_call_id")),
        direction=direction,
        caller=_text(fields, "from"),
        callee=_text(fields, "to"),
        caller_name=_text(fields, "from_name"),
        callee_name=_text(fields, "to_name"),
        names=agents | answerers | _names(fields, _OWN_SIDE[direction]),
        user_count=agent_count if stage is Stage.RINGING else 0,
        answerers=answerers,
        cause=_text(fields, "cause"),
    )


# -- small change -----------------------------------------------------------------------------------------------------


def _event(fields: Fields) -> str:
    event = single(fields, "event")
    if not event:
        raise WebhookError("There is no event.")
    return event


def _direction(fields: Fields) -> Direction | None:
    told = single(fields, "direction").lower()
    if told and told not in _DIRECTIONS:
        raise WebhookError("The direction is none.")
    return _DIRECTIONS.get(told)


def _call_id(fields: Fields, *names: str) -> str:
    call_id = _id(single(fields, *names))
    if not call_id:
        raise WebhookError("The call has no id.")
    return call_id


def _id(text: str) -> str:
    """An id that the call log has room for, the same for the same text."""
    return text if len(text) <= MAX_ID else "sha256-" + hashlib.sha256(text.encode()).hexdigest()


def _text(fields: Fields, name: str) -> str:
    """What a caller may have a hand in: too long a name must not cost the call."""
    return next((value[:MAX_TEXT] for value in fields.get(name, ()) if value), "")


def _names(fields: Fields, *names: str) -> frozenset[str]:
    spelt: Iterable[str] = (name_of(value) for name in names for value in fields.get(name, ()))
    return frozenset(name for name in spelt if name)


def _users(fields: Fields, *names: str) -> tuple[frozenset[str], int]:
    """All the names that users are called by, and how many users those are."""
    return _names(fields, *names), max(len(_names(fields, name)) for name in names)


_READERS: dict[str, Callable[[Fields], Report | None]] = {"sipgate": _pushed, "zammad": _pushed, "generic": _generic}

SHAPES = tuple(_READERS)
"""The shapes, as settings name them."""

FIELDS = frozenset(
    {
        *("event", "from", "to", "direction", "callId", "call_id", "origCallId", "originalCallId", "user", "userId"),
        *("fullUserId", "answeringNumber", "cause", "diversion", "queue", "xcid", "agent", "answered_by"),
        *("from_name", "to_name", "original_call_id", "event_id"),
    }
)
"""The fields that some shape knows: no other one is kept."""
