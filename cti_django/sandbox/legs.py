"""What the sandbox PBX knows of a call: parties, legs, and the call that holds them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

__all__ = ["ANONYMOUS", "Call", "Cause", "Leg", "LegState", "Party", "Timer"]


class LegState(StrEnum):
    """How far one phone's part of a call has come; from EARLY on spelt as in RFC 4235."""

    SUMMONED = "summoned"  # click-to-call: the agent's own phone rings, watchers see nothing yet
    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Cause(StrEnum):
    """Why a leg or a call ended."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    BUSY = "busy"
    DECLINED = "declined"
    NO_ANSWER = "no_answer"
    NOT_REGISTERED = "not_registered"
    UNOBTAINABLE = "unobtainable"
    ANSWERED_ELSEWHERE = "answered_elsewhere"
    TRANSFERRED = "transferred"


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody on the telephone: `number` in digits (an extension or E.164 without '+'), or "anonymous"."""

    number: str
    name: str = ""

    @property
    def display(self) -> str:
        """What a telephone shows."""
        return self.name or self.number


ANONYMOUS = Party("anonymous", "Anonymous")


@dataclass(slots=True, eq=False)
class Leg:
    """One phone's part of a call.

    Args:
        leg_id: "7310025-1"; "" for a phone outside, which nobody can watch.
        node: where it is seen: a user id or "queue-17"; "" outside.
        initiator: whether this side began the call.
        party: who is on this phone.
        remote: who is on the other side, as this phone shows it.
        observes: no phone, but a queue or IVR that the call came through; it only follows what the others do.
    """

    call: "Call"
    leg_id: str
    node: str
    initiator: bool
    party: Party
    remote: Party
    state: LegState = LegState.EARLY
    on_hold: bool = False
    cause: Cause | None = None
    observes: bool = False

    @property
    def is_target(self) -> bool:
        """Whether this is a phone that was called."""
        return not (self.initiator or self.observes)

    @property
    def is_live(self) -> bool:
        return self.state is not LegState.TERMINATED

    def to_json(self) -> dict[str, Any]:
        """The leg for the console."""
        return {
            "id": self.leg_id,
            "node": self.node,
            "number": self.party.number,
            "name": self.party.name,
            "remote": self.remote.number,
            "direction": "initiator" if self.initiator else "receiver",
            "state": self.state.value,
            "on_hold": self.on_hold,
            "cause": self.cause.value if self.cause else None,
        }


class Timer(Protocol):
    """What ``loop.call_later`` gives."""

    def cancel(self) -> None: ...


@dataclass(slots=True, eq=False)
class Call:
    """One call with all its legs, the one that began it first; ended legs stay.

    Args:
        started_at, connected_at, ended_at: unix seconds; None if it has not come to that.
        target: who was called, as dialled.
        listeners: called at every change of the call, with the call.
    """

    call_id: str
    started_at: float
    target: Party
    legs: list[Leg] = field(default_factory=list)
    click_to_call: bool = False
    connected_at: float | None = None
    ended_at: float | None = None
    cause: Cause | None = None
    link: dict[str, str] | None = None
    referred_by: str = ""
    timers: list[Timer] = field(default_factory=list, repr=False)
    listeners: list[Callable[["Call"], None]] = field(default_factory=list, repr=False)

    @property
    def origin(self) -> Leg:
        """The leg that began the call."""
        return self.legs[0]

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    @property
    def state(self) -> str:
        """One word for the whole call, in the spelling of the REST API."""
        if self.ended:
            return "HANGUP"
        if self.origin.state is LegState.SUMMONED:
            return "INITIAL"
        live = [leg for leg in self.legs if leg.is_live]
        if any(leg.state is LegState.EARLY for leg in live):
            return "RINGING"
        return "ON_HOLD" if any(leg.on_hold for leg in live) else "CONNECTED"

    def live(self, node: str | None = None, state: LegState | None = None) -> list[Leg]:
        """The legs that live, on that node and in that state if these are given."""
        return [
            leg
            for leg in self.legs
            if leg.is_live and (node is None or leg.node == node) and (state is None or leg.state is state)
        ]

    def counterpart(self, leg: Leg) -> Leg | None:
        """The live leg on the other side of `leg`: the one it talks to, or the one that makes it ring."""
        for one in self.live():
            if one is not leg and not one.observes and (one.initiator or one.state is LegState.CONFIRMED):
                return one
        return None

    def to_json(self) -> dict[str, Any]:
        """The call for the console."""
        return {
            "id": self.call_id,
            "call_id": self.call_id,
            "state": self.state,
            "from": self.origin.party.number,
            "from_name": self.origin.party.name,
            "to": self.target.number,
            "to_name": self.target.name,
            "click_to_call": self.click_to_call,
            "started_at": self.started_at,
            "connected_at": self.connected_at,
            "ended_at": self.ended_at,
            "cause": self.cause.value if self.cause else None,
            "link": self.link,
            "legs": [leg.to_json() for leg in self.legs],
        }
