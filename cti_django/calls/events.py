"""All that anyone above the core may hear: events, with the names of the VoIPstudio Connector.

``to_json()`` gives the shape that pages written for VoIPstudio's browser connector read
(``name``, ``message``, ``call.id`` ...). Ours add keys and never replace one.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from .numbers import Party
from .states import CallState, Direction, EndReason

__all__ = ["Call", "CallEvent", "Event", "EventName", "SessionEvent"]


class EventName(StrEnum):
    """Event names, spelt as VoIPstudio's documentation spells them. More may be added; none may be renamed."""

    READY = "READY"
    LOGGED_IN = "LOGGED_IN"
    LOGGED_OUT = "LOGGED_OUT"
    TWO_FACTOR_AUTH = "TWO_FACTOR_AUTH"
    SUBSCRIBED = "SUBSCRIBED"
    INITIAL = "INITIAL"
    ACCEPTED = "ACCEPTED"
    RINGING = "RINGING"
    CONNECTED = "CONNECTED"
    ON_HOLD = "ON_HOLD"
    HANGUP = "HANGUP"
    CANCEL = "CANCEL"
    UPDATED = "UPDATED"  # ours: the call's state is the same, the other side or `consult` is not
    INFO = "INFO"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as the agent sees it. Immutable: the board makes a new one at each change.

    Args:
        call_id: ours, the same from INITIAL to HANGUP, through provider ids, legs and transfers.
        provider_call_id: the telephone system's id; "" for a click-to-call that has none yet.
        leg_id: the leg that speaks for the call now.
        node: "" for the agent's own calls, else the watched node that it was seen on.
        state: what the call is doing.
        direction: seen from the agent.
        source: who called.
        destination: who was called.
        cause: the system's own words for its end, "" if it told none.
        end_reason: why it is over, None while it lives.
        command_id: of the Dial command that began it, "" for all others.
        consult: whom the agent asks before she transfers the call, while she does.
        started_at, connected_at, ended_at: aware UTC; None if it has not come to that.
    """

    call_id: str
    provider_call_id: str
    leg_id: str
    state: CallState
    direction: Direction
    source: Party
    destination: Party
    node: str = ""
    cause: str = ""
    end_reason: EndReason | None = None
    command_id: str = ""
    consult: Party | None = None
    started_at: datetime | None = None
    connected_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def remote(self) -> Party:
        """The other side, seen from the agent: the caller of an inbound call, the called of an outbound one."""
        return self.source if self.direction is Direction.INBOUND else self.destination

    @property
    def is_own(self) -> bool:
        """Whether this is the agent's own call, not one on a node that she only watches."""
        return not self.node

    def to_json(self) -> dict[str, Any]:
        """The ``call`` object of the protocol page, with our additions behind it."""
        return {
            "id": self.call_id,
            "cid": self.leg_id,
            "cause": self.cause,
            "direction": self.direction.value,
            "destination": self.destination.number_raw,
            "destinationName": self.destination.name,
            "source": self.source.number_raw,
            "sourceName": self.source.name,
            "status": self.state.value,
            # ours
            "number": self.remote.number or self.remote.extension,
            "kind": self.remote.kind.value,
            "node": self.node,
            "consult": {"number": _shown(self.consult), "name": self.consult.name} if self.consult else None,
            "endReason": self.end_reason.value if self.end_reason else "",
            "startedAt": _iso(self.started_at),
            "connectedAt": _iso(self.connected_at),
            "endedAt": _iso(self.ended_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEvent:
    """A call has reached a new state, or something else about it has changed.

    Args:
        name: the state's name, or UPDATED.
        call: the call, as it is now.
        at: when, aware UTC.
        message: a plain sentence, mostly "".
        extra: what higher floors know of it (``contacts``, ``pop``, ``actions``); merged into ``to_json()["call"]``.
    """

    name: EventName
    call: Call
    at: datetime
    message: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def with_extra(self, **extra: Any) -> "CallEvent":
        """The same event, knowing more."""
        return replace(self, extra={**self.extra, **extra})

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict: name, message, at, call."""
        return {
            "name": self.name.value,
            "message": self.message,
            "at": _iso(self.at),
            "call": {**self.call.to_json(), **self.extra},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvent:
    """Something about the session itself: READY, LOGGED_IN, LOGGED_OUT, TWO_FACTOR_AUTH, SUBSCRIBED, INFO, ERROR."""

    name: EventName
    at: datetime
    message: str = ""
    code: str = ""
    nonce: str = ""
    uri: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict: name, message, at, and what of code, nonce and uri there is."""
        json: dict[str, Any] = {"name": self.name.value, "message": self.message, "at": _iso(self.at)}
        json.update({key: value for key in ("code", "nonce", "uri") if (value := getattr(self, key))})
        return json


Event = CallEvent | SessionEvent


def _shown(party: Party) -> str:
    return party.number or party.extension or party.number_raw


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment else None
