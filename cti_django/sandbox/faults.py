"""Misbehaviour on demand: which faults there are, and which are waiting to happen.

A fault either happens at once (the line drops), or is armed and happens at the next occasion, `count` times: to the
next answers of the REST API, or to the next NOTIFYs.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["ARMED", "AT_ONCE", "Armed", "Fault", "Faults"]


class Fault(StrEnum):
    """Everything that can go wrong."""

    # at once
    CLEAR = "clear"  # disarm everything
    DROP_LINE = "drop_line"  # close the SIP sockets without a word
    EXPIRE_TOKEN = "expire_token"  # noqa: S105
    MALFORMED_SIP = "malformed_sip"
    MALFORMED_XML = "malformed_xml"
    ENTITY_BOMB = "entity_bomb"
    OVERSIZED = "oversized"  # a NOTIFY of a megabyte
    END_SUBSCRIPTION = "end_subscription"  # Subscription-State: terminated;reason=deactivated
    # armed, for the line
    REFUSE_SOCKETS = "refuse_sockets"
    DUPLICATE = "duplicate"
    DELAY = "delay"
    REORDER = "reorder"  # held back until the next one has gone
    GAP = "gap"  # skip a version
    LOSE = "lose"  # one NOTIFY is never sent
    # armed, for the REST API
    SLOW = "slow"  # `seconds` pass between the deed and the answer
    HTML = "html"
    EMPTY = "empty"
    HUGE = "huge"
    NO_TOKEN = "no_token"  # noqa: S105
    SERVER_ERROR = "server_error"
    DISCONNECT = "disconnect"


AT_ONCE = frozenset(
    {
        Fault.CLEAR,
        Fault.DROP_LINE,
        Fault.EXPIRE_TOKEN,
        Fault.MALFORMED_SIP,
        Fault.MALFORMED_XML,
        Fault.ENTITY_BOMB,
        Fault.OVERSIZED,
        Fault.END_SUBSCRIPTION,
    }
)
ARMED = frozenset(Fault) - AT_ONCE
STANDING = frozenset({Fault.REFUSE_SOCKETS, Fault.SLOW})  # until cleared, unless a count is given


@dataclass(slots=True)
class Armed:
    """A fault that waits. `remaining` None: until it is cleared."""

    seconds: float
    remaining: int | None


class Faults:
    """The armed faults, for one user or for all."""

    def __init__(self) -> None:
        self._armed: dict[tuple[Fault, str], Armed] = {}

    def arm(self, fault: Fault, user_id: str = "", *, count: int | None = None, seconds: float = 1.0) -> None:
        """Let `fault` happen to that user ("": to anybody) at the next `count` occasions (None: the usual number)."""
        if count is None and fault not in STANDING:
            count = 1
        self._armed[fault, user_id] = Armed(seconds, count)

    def take(self, fault: Fault, user_id: str = "") -> Armed | None:
        """Whether `fault` happens now; it is used up by that."""
        if not self._armed:
            return None
        for key in ((fault, user_id), (fault, "")):
            armed = self._armed.get(key)
            if armed is None:
                continue
            if armed.remaining is not None:
                armed.remaining -= 1
                if armed.remaining <= 0:
                    del self._armed[key]
            return armed
        return None

    def clear(self) -> None:
        """Nothing is armed any more."""
        self._armed.clear()

    def to_json(self) -> list[dict[str, Any]]:
        """What is armed, for the console."""
        return [
            {"fault": fault.value, "user": user_id, "seconds": armed.seconds, "remaining": armed.remaining}
            for (fault, user_id), armed in self._armed.items()
        ]
