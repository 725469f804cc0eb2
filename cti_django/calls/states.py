"""The states of a call, and the one gate between them.

    (nothing) ──> INITIAL ──> ACCEPTED ──> RINGING ──> CONNECTED <──> ON_HOLD
        │            │            │           │            │             │
        │            └─> CANCEL   └───────────┴─────┬──────┴─────────────┘
        │                                           v
        └──> RINGING, CONNECTED, ON_HOLD          HANGUP

INITIAL and ACCEPTED belong to click-to-call: the agent's own phone rings (INITIAL) until she picks it up (ACCEPTED).
A state may be skipped (a notification can be lost), but never re-entered, except that CONNECTED and ON_HOLD
alternate. HANGUP and CANCEL are final.
"""

from enum import StrEnum

__all__ = ["TRANSITIONS", "CallState", "Direction", "EndReason", "may_become"]


class CallState(StrEnum):
    """What a call is doing. Spelt like this in Python, JSON, CSS classes (lower case) and JavaScript."""

    INITIAL = "INITIAL"  # click-to-call: the agent's own phone rings
    ACCEPTED = "ACCEPTED"  # click-to-call: the agent has picked up, the other side is not ringing yet
    RINGING = "RINGING"  # inbound: the agent's phone rings; outbound: the other side's phone rings
    CONNECTED = "CONNECTED"
    ON_HOLD = "ON_HOLD"  # the agent has put the call on hold
    HANGUP = "HANGUP"  # over
    CANCEL = "CANCEL"  # click-to-call that ended before the agent picked up

    @property
    def is_final(self) -> bool:
        """Whether nothing follows this state."""
        return self in (CallState.HANGUP, CallState.CANCEL)


class Direction(StrEnum):
    """Who called whom, seen from the agent."""

    INBOUND = "INBOUND"
    OUTBOUND = "OUTBOUND"


class EndReason(StrEnum):
    """Why a call is over, in words that do not depend on the telephone system."""

    COMPLETED = "completed"  # it was connected, then somebody hung up
    MISSED = "missed"  # inbound, never connected
    NO_ANSWER = "no_answer"  # outbound, never connected
    BUSY = "busy"
    REJECTED = "rejected"
    CANCELLED = "cancelled"  # click-to-call that the agent's own phone did not take
    INFERRED = "inferred"  # nobody saw the end; it was missing from a full state
    TRANSFERRED = "transferred"
    ELSEWHERE = "elsewhere"  # inbound, a colleague or another phone of the agent took it


_LIVE = frozenset({CallState.CONNECTED, CallState.ON_HOLD, CallState.HANGUP})

TRANSITIONS: dict[CallState | None, frozenset[CallState]] = {
    None: frozenset(CallState) - {CallState.ACCEPTED, CallState.CANCEL},
    CallState.INITIAL: _LIVE | {CallState.ACCEPTED, CallState.RINGING, CallState.CANCEL},
    CallState.ACCEPTED: _LIVE | {CallState.RINGING},
    CallState.RINGING: _LIVE,
    CallState.CONNECTED: frozenset({CallState.ON_HOLD, CallState.HANGUP}),
    CallState.ON_HOLD: frozenset({CallState.CONNECTED, CallState.HANGUP}),
    CallState.HANGUP: frozenset(),
    CallState.CANCEL: frozenset(),
}


def may_become(current: CallState | None, new: CallState) -> bool:
    """Tell whether a call in state `current` (None: not known yet) may go to `new`.

    This is the only gate: whatever changes a call's state asks here first.
    """
    return new in TRANSITIONS[current]
