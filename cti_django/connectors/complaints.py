"""Errors for the agent, paced: a telephone system that sends rubbish all day must not fill her screen with it."""

import asyncio
from collections.abc import Callable

from ..calls.notifications import Notification, SessionNotification

__all__ = ["Complaints"]

PAUSE_SECONDS = 60.0


class Complaints:
    """Says an ERROR at most once a minute for each `code`.

    Args:
        say: where it is said.
    """

    __slots__ = ("_said_at", "_say")

    def __init__(self, say: Callable[[Notification], None]) -> None:
        self._say = say
        self._said_at: dict[str, float] = {}

    def tell(self, code: str, message: str) -> bool:
        """Say `message` unless `code` was said a moment ago; whether it was said."""
        now = asyncio.get_running_loop().time()
        said_at = self._said_at.get(code)
        if said_at is not None and now - said_at < PAUSE_SECONDS:
            return False
        self._said_at[code] = now
        self._say(SessionNotification(name="ERROR", message=message, code=code))
        return True
