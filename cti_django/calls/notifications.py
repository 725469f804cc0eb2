"""All that a connector may say, as immutable facts.

A *notification* is one rung above a wire message and one below an event: a translate module makes it from the wire,
the board folds it into events. Nothing here has a clock, and nothing is trusted twice: texts are already capped and
parties already classified when a notification exists.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from .numbers import Party
from .states import CallState, Direction, EndReason

__all__ = [
    "DialNotification",
    "DialStage",
    "LegNotification",
    "Notification",
    "PresenceNotification",
    "SessionNotification",
    "Snapshot",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LegNotification:
    """One leg of one call is in this state now.

    Args:
        provider_call_id: the telephone system's id of the call.
        leg_id: the telephone system's id of this leg, unique within the call (VoIPstudio: the whole dialog id).
        state: RINGING, CONNECTED, ON_HOLD or HANGUP; None while the leg exists but there is nothing to show yet
            (RFC 4235 "trying" and "proceeding").
        direction: seen from the node that is watched.
        local: the party on the watched node's side.
        remote: the party on the other side.
        node: "" for the agent's own node, else the node that the agent also watches ("user:10032").
        end_reason: with HANGUP, if the system told it.
        cause: with HANGUP, the system's own words, "" if it told none.
        started_at: when the call began, aware UTC, if the system told it.
        follows_remote: `remote` is who the agent speaks with now, whoever it was before (a transfer replaces it); else
            what is known of the other side is never unlearnt.
        consult: whom the agent asks before she transfers the call, while she does.
        reuses_ids: the system may give a leg_id to one call after the other, and says everything in order: a leg that
            begins again is another call.
        raw: the wire's own fields, kept for signal receivers and logs.
    """

    provider_call_id: str
    leg_id: str
    state: CallState | None
    direction: Direction
    local: Party
    remote: Party
    node: str = ""
    end_reason: EndReason | None = None
    cause: str = ""
    started_at: datetime | None = None
    follows_remote: bool = False
    consult: Party | None = None
    reuses_ids: bool = False
    raw: Mapping[str, str] = field(default_factory=dict)


class DialStage(StrEnum):
    """How far a click-to-call has come."""

    STARTED = "started"  # the request is on its way; the agent's own phone is about to ring
    ACCEPTED = "accepted"  # the agent has picked up
    FAILED = "failed"  # the agent's phone is missing, declined or did not answer
    DOUBTFUL = "doubtful"  # nobody will say any more what became of it; a leg may yet show up


@dataclass(frozen=True, slots=True, kw_only=True)
class DialNotification:
    """A click-to-call has come this far.

    Args:
        command_id: the Dial command's id.
        destination: whom the agent wants to talk to.
        stage: how far it has come.
        provider_call_id: the telephone system's id of the call, as soon as it is known ("" before).
        cause: with FAILED and DOUBTFUL, a plain sentence.
    """

    command_id: str
    destination: Party
    stage: DialStage
    provider_call_id: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionNotification:
    """Something about the session itself, not about a call.

    Args:
        name: READY, LOGGED_IN, LOGGED_OUT, TWO_FACTOR_AUTH, SUBSCRIBED, INFO or ERROR (see ``events.EventName``).
        message: a plain sentence for people.
        code: a stable word for programs and translations.
        nonce: with TWO_FACTOR_AUTH, what must come back with the code.
        uri: with SUBSCRIBED, the node that is now watched, as the agent writes it ("user:10032").
    """

    name: str
    message: str = ""
    code: str = ""
    nonce: str = ""
    uri: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All the legs that are live on one node: what is missing here has ended.

    Args:
        node: "" for the agent's own node.
        legs: the legs; those in HANGUP are ended whatever else is said.
    """

    node: str = ""
    legs: tuple[LegNotification, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceNotification:
    """How the agent stands with the queues now.

    Args:
        queues: the queues that she may serve, and whether she is logged in to each.
        is_paused: she is logged in, and gets no queue calls for the moment.
        is_dnd: her phone takes no calls at all; None if the system does not tell.
    """

    queues: Mapping[str, bool] = field(default_factory=dict)
    is_paused: bool = False
    is_dnd: bool | None = None


Notification = LegNotification | DialNotification | SessionNotification | PresenceNotification | Snapshot
