"""One line of a recording: a notification as JSON, and back. What is read is hostile until it is checked."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from ..calls.events import EventName
from ..calls.notifications import (
    DialNotification,
    DialStage,
    LegNotification,
    Notification,
    PresenceNotification,
    SessionNotification,
    Snapshot,
)
from ..calls.numbers import MAX_RAW, Party, PartyKind, classify
from ..calls.states import CallState, Direction, EndReason
from ..exceptions import CTIError
from .masking import Mask

__all__ = ["RecordingError", "Said", "notification_of", "text_of", "to_json"]

MAX_TEXT = 2_000
MAX_LEGS = 1_000
MAX_QUEUES = 1_000
_LEG_STATES = frozenset({CallState.RINGING, CallState.CONNECTED, CallState.ON_HOLD, CallState.HANGUP})
_SESSION_NAMES = frozenset({"READY", "LOGGED_IN", "LOGGED_OUT", "TWO_FACTOR_AUTH", "SUBSCRIBED", "INFO", "ERROR"})
_FAR = 1.5e9  # seconds, half a century: a telephone system may have a strange clock

E = TypeVar("E", bound=StrEnum)


class RecordingError(CTIError, ValueError):
    """A recording that cannot be understood."""

    code = "recording"


class Said(NamedTuple):
    """One thing that a recording holds: `seconds` since it began, what kind of thing, and its fields."""

    seconds: float
    kind: str
    fields: dict[str, Any]


# -- out --------------------------------------------------------------------------------------------------------------


def to_json(notification: Notification, began_at: datetime, mask: Mask | None) -> dict[str, Any]:
    """{"leg": {...}}, {"session": {...}} ... : a line of a recording that began at `began_at`, without its time."""
    match notification:
        case LegNotification():
            return {"leg": _leg(notification, began_at, mask)}
        case Snapshot(node=node, legs=legs):
            return {"snapshot": {"node": _node(node, mask), "legs": [_leg(leg, began_at, mask) for leg in legs]}}
        case DialNotification():
            return {
                "dial": _without_defaults(
                    command_id=notification.command_id,
                    destination=_party(notification.destination, mask),
                    stage=notification.stage.value,
                    provider_call_id=_id("Call", notification.provider_call_id, mask),
                    cause=_sentence(notification.cause, mask),
                )
            }
        case SessionNotification():
            return {
                "session": _without_defaults(
                    name=notification.name,
                    message=_sentence(notification.message, mask),
                    code=notification.code,
                    uri=_node(notification.uri, mask),
                )
            }
        case PresenceNotification(queues=queues, is_paused=is_paused, is_dnd=is_dnd):
            named = {mask.word("Queue", queue) if mask else queue: is_in for queue, is_in in queues.items()}
            return {"presence": {"queues": named, "is_paused": is_paused, "is_dnd": is_dnd}}


def _leg(leg: LegNotification, began_at: datetime, mask: Mask | None) -> dict[str, Any]:
    return _without_defaults(
        provider_call_id=_id("Call", leg.provider_call_id, mask),
        leg_id=_id("Leg", leg.leg_id, mask),
        state=leg.state.value if leg.state else "",
        direction=leg.direction.value,
        local=_party(leg.local, mask),
        remote=_party(leg.remote, mask),
        node=_node(leg.node, mask),
        end_reason=leg.end_reason.value if leg.end_reason else "",
        cause=_sentence(leg.cause, mask),
        started=_started(leg.started_at, began_at),
        follows_remote=leg.follows_remote,
        consult=_party(leg.consult, mask) if leg.consult else None,
        reuses_ids=leg.reuses_ids,
    )


def _started(started_at: datetime | None, began_at: datetime) -> float | None:
    seconds = round((started_at - began_at).total_seconds(), 3) if started_at else None
    return seconds if seconds is not None and abs(seconds) <= _FAR else None


def _without_defaults(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if not (value is None or value is False or value == "")}


def _party(party: Party, mask: Mask | None) -> dict[str, Any]:
    shown = mask.party(party) if mask else party
    return _without_defaults(
        kind=shown.kind.value,
        number_raw=shown.number_raw,
        name=shown.name,
        number=shown.number,
        extension=shown.extension,
    )


def _id(kind: str, text: str, mask: Mask | None) -> str:
    return mask.word(kind, text) if mask else text


def _node(node: str, mask: Mask | None) -> str:
    return mask.node(node) if mask else node


def _sentence(text: str, mask: Mask | None) -> str:
    return "" if mask else text[:MAX_TEXT]


# -- in ---------------------------------------------------------------------------------------------------------------


def notification_of(said: Said, began_at: datetime) -> Notification:
    """The notification that a line holds, as if the recording had begun at `began_at`.

    Raises:
        RecordingError: no connector could have said that.
    """
    return _READERS[said.kind](said.fields, began_at)


def text_of(fields: Mapping[str, Any], key: str) -> str:
    """A text of at most MAX_TEXT characters, "" if it is not there. Raises RecordingError."""
    value = fields.get(key, "")
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise RecordingError(f"“{key}” in the recording is no text, or too long.")
    return value


def _one_of(fields: Mapping[str, Any], key: str, kind: type[E]) -> E:
    try:
        return kind(text_of(fields, key))
    except ValueError:
        raise RecordingError(f"“{key}” in the recording has an unknown value.") from None


def _flag(fields: Mapping[str, Any], key: str) -> bool:
    value = fields.get(key, False)
    if not isinstance(value, bool):
        raise RecordingError(f"“{key}” in the recording is neither true nor false.")
    return value


def _read_leg(fields: Mapping[str, Any], began_at: datetime) -> LegNotification:
    state = _one_of(fields, "state", CallState) if fields.get("state") else None
    if state is not None and state not in _LEG_STATES:
        raise RecordingError("A leg in the recording is in a state that legs do not have.")
    return LegNotification(
        provider_call_id=text_of(fields, "provider_call_id"),
        leg_id=text_of(fields, "leg_id"),
        state=state,
        direction=_one_of(fields, "direction", Direction),
        local=_read_party(fields.get("local")),
        remote=_read_party(fields.get("remote")),
        node=text_of(fields, "node"),
        end_reason=_one_of(fields, "end_reason", EndReason) if fields.get("end_reason") else None,
        cause=text_of(fields, "cause"),
        started_at=_moment(fields.get("started"), began_at),
        follows_remote=_flag(fields, "follows_remote"),
        consult=_read_party(fields["consult"]) if fields.get("consult") is not None else None,
        reuses_ids=_flag(fields, "reuses_ids"),
    )


def _moment(seconds: Any, began_at: datetime) -> datetime | None:
    if seconds is None:
        return None
    good = isinstance(seconds, int | float) and not isinstance(seconds, bool) and math.isfinite(seconds)
    if not good or abs(seconds) > _FAR:
        raise RecordingError("“started” in the recording is no time.")
    return began_at + timedelta(seconds=seconds)


def _read_party(fields: Any) -> Party:
    if not isinstance(fields, Mapping):
        raise RecordingError("A party in the recording cannot be understood.")
    kind = _one_of(fields, "kind", PartyKind)
    # What travelled through a file is as hostile as what came from the wire: the same capping and stripping.
    texts = classify(text_of(fields, "number_raw"), text_of(fields, "name"))
    number, extension = text_of(fields, "number"), text_of(fields, "extension")
    if len(number) > MAX_RAW or len(extension) > MAX_RAW or not _is_number(number) or not _is_number(extension):
        raise RecordingError("A number in the recording is none.")
    return replace(texts, kind=kind, number=number, extension=extension)


def _is_number(text: str) -> bool:
    digits = text.removeprefix("+")
    return not text or (digits.isascii() and digits.isdecimal())


def _read_snapshot(fields: Mapping[str, Any], began_at: datetime) -> Snapshot:
    legs = fields.get("legs", [])
    if not isinstance(legs, list) or len(legs) > MAX_LEGS or not all(isinstance(leg, Mapping) for leg in legs):
        raise RecordingError("A snapshot in the recording cannot be understood.")
    return Snapshot(node=text_of(fields, "node"), legs=tuple(_read_leg(leg, began_at) for leg in legs))


def _read_dial(fields: Mapping[str, Any], _began_at: datetime) -> DialNotification:
    return DialNotification(
        command_id=text_of(fields, "command_id"),
        destination=_read_party(fields.get("destination")),
        stage=_one_of(fields, "stage", DialStage),
        provider_call_id=text_of(fields, "provider_call_id"),
        cause=text_of(fields, "cause"),
    )


def _read_session(fields: Mapping[str, Any], _began_at: datetime) -> SessionNotification:
    name = _one_of(fields, "name", EventName).value
    if name not in _SESSION_NAMES:
        raise RecordingError("The recording names an event that is none of a session.")
    return SessionNotification(
        name=name, message=text_of(fields, "message"), code=text_of(fields, "code"), uri=text_of(fields, "uri")
    )


def _read_presence(fields: Mapping[str, Any], _began_at: datetime) -> PresenceNotification:
    queues, is_dnd = fields.get("queues", {}), fields.get("is_dnd")
    good = isinstance(queues, Mapping) and len(queues) <= MAX_QUEUES and (is_dnd is None or isinstance(is_dnd, bool))
    if not good or not all(len(name) <= MAX_TEXT and isinstance(is_in, bool) for name, is_in in queues.items()):
        raise RecordingError("How the agent stands with the queues cannot be understood.")
    return PresenceNotification(queues=dict(queues), is_paused=_flag(fields, "is_paused"), is_dnd=is_dnd)


_READERS: dict[str, Callable[[Mapping[str, Any], datetime], Notification]] = {
    "leg": _read_leg,
    "snapshot": _read_snapshot,
    "dial": _read_dial,
    "session": _read_session,
    "presence": _read_presence,
}
