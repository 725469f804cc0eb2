"""Keeps Python's garbage collector from walking through a thousand quiet sessions while a phone rings.

A full collection looks at every object of the process: with 1,000 sessions, some 600,000 of them, that is a pause of
300 to 400 ms, many times what a ring takes. Sessions live for hours, so they are set aside (``gc.freeze``) as their
number grows, and come back under the collector's eyes when most of them have gone.
"""

import gc

__all__ = ["Collector"]

WORTHWHILE = 100  # sessions; with fewer a full collection is short
GROWTH = 1.1  # set the new ones aside when there are so many times as many as at the last time


class Collector:
    """Follows the number of sessions of this process; ``follow`` is cheap enough for every few seconds."""

    def __init__(self) -> None:
        self._set_aside = 0

    def follow(self, sessions: int) -> None:
        """Set aside what lives now, or take it back, as the number of running sessions demands.

        What is garbage at that moment, but not collected yet, stays until it is taken back: a little for each time,
        and the number of times is limited by the growth that each of them needs.
        """
        if sessions >= WORTHWHILE and sessions >= self._set_aside * GROWTH:
            gc.freeze()
            self._set_aside = sessions
        elif self._set_aside and sessions < self._set_aside / 2:
            gc.unfreeze()
            self._set_aside = 0
