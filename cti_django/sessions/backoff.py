"""How long to wait before a lost line is tried again."""

import random
from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(slots=True)
class Backoff:
    """Waiting times between attempts: anything from nothing to a limit that doubles from `first_seconds` on.

    The whole range is drawn from, so that a thousand sessions that lost their lines at one moment come back spread
    out. The ceiling is what the last of them waits, however long the outage was: all of them are to be back within
    30 s of the system, and logging in a thousand takes the better part of the rest.
    """

    first_seconds: float = 1.0
    ceiling_seconds: float = 20.0
    attempts: int = 0

    def next_seconds(self) -> float:
        """How long to wait before the next attempt."""
        limit = min(self.ceiling_seconds, self.first_seconds * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        return random.uniform(0.0, limit)  # noqa: S311 - spreading load, not a secret

    def reset(self) -> None:
        """The line held: begin anew."""
        self.attempts = 0
