"""Calls that nobody has said anything about for too long: when to ask the telephone system whether they still live.

The end of a call can be missed for good: a notification that the system never sent, a phone that lost its power. No
call is ended here. The system is asked for a Snapshot, and the board ends what that no longer lists.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from ..calls.events import Call
from ..calls.states import CallState

__all__ = ["BELIEVED_SECONDS", "REAP_SECONDS", "Reaper"]

REAP_SECONDS = 60.0
"""How often a session looks at its calls."""
BELIEVED_SECONDS = 4 * 3600.0
RINGING_BELIEVED = timedelta(minutes=10)
PAUSE = timedelta(minutes=10)
"""A system is asked no oftener, whatever it answers."""

_UNANSWERED = frozenset({CallState.INITIAL, CallState.ACCEPTED, CallState.RINGING})


class Reaper:
    """Doubts about one agent's own calls.

    Args:
        believed_seconds: how long a call that was answered is believed to go on without a proof of life: its start,
            or a Snapshot that lists it. One that is not answered yet is believed for ten minutes at most.
    """

    __slots__ = ("_asked_at", "_believed", "_listed_at")

    def __init__(self, believed_seconds: float = BELIEVED_SECONDS) -> None:
        self._believed = timedelta(seconds=believed_seconds)
        self._listed_at: datetime | None = None
        self._asked_at: datetime | None = None

    def note_snapshot(self, now: datetime) -> None:
        """A Snapshot of the agent's own calls was folded: those that live after it were listed by it."""
        self._listed_at = now

    def should_ask(self, calls: Iterable[Call], now: datetime) -> bool:
        """Whether the system is to be asked now about `calls`, which live; if so it counts as asked.

        Args:
            now: aware UTC.
        """
        if self._asked_at is not None and now - self._asked_at < PAUSE:
            return False
        if not any(call.is_own and self._is_doubtful(call, now) for call in calls):
            return False
        self._asked_at = now
        return True

    def _is_doubtful(self, call: Call, now: datetime) -> bool:
        proofs = [moment for moment in (call.started_at, self._listed_at) if moment is not None]
        believed = min(self._believed, RINGING_BELIEVED) if call.state in _UNANSWERED else self._believed
        return not proofs or now - max(proofs) > believed
