"""From the journal of what systems push to the sessions that this process runs.

Whoever journals a delivery hints that there is one; whoever runs sessions then reads the journal on from where it was.
A hint may be lost, so everybody looks now and then, too; and a row may become visible after the next one, so those
looks begin a little further back. The journal is the only way: hints carry nothing, and nobody can forge a call.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import NamedTuple

from django import db

from .. import calllog
from .. import deliveries as journal
from ..calls.board import CallBoard
from ..calls.events import CallEvent
from ..calls.notifications import Notification
from ..connectors.base import Connector, Delivery
from .desk import Desk

__all__ = ["Deliveries", "Missed"]

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between looks that nobody has hinted at
LATE_SECONDS = 10.0  # for so long after a row an earlier one may still become visible
LATE_ROWS = 100  # so many rows before the newest one that is seen first may one of those be
BATCH = 500
BATCHES = 20  # of one look; the rest is for the next one
AT_ONCE = 50  # deliveries of a replay, before others have a turn


class Missed(NamedTuple):
    """What has happened while nobody listened."""

    count: int  # of calls that are in the call log now
    ends: list[tuple[datetime, Notification]]  # of calls that the session still has to hear of, and when they were


class Deliveries:
    """One process's way from the journal to its sessions' connectors."""

    def __init__(self) -> None:
        self._members: set[Connector] = set()
        self._settled: int | None = None  # up to here nothing new can come; None: nobody listens
        self._newest = 0  # the highest number that was read
        self._seen: dict[int, float] = {}  # number -> when it was read, of those above ``_settled``
        self._hint = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def look_now(self) -> None:
        """Something was journalled: do not wait for the next look."""
        self._hint.set()

    def stop(self) -> None:
        """No more looks."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    # -- whose sessions -----------------------------------------------------------------------------------------

    async def join(self, connector: Connector) -> list[Delivery]:
        """Have `connector` receive what is pushed to its endpoint, from the history of its agent's calls on.

        Returns:
            That history, the oldest first. What comes while it is being read may come twice.

        Raises:
            django.db.Error: the journal cannot be read.
        """
        if self._settled is None:
            known = await journal.JOURNAL_THREADS.run(journal.newest, LATE_ROWS)
            if self._settled is None:
                self._begin_behind(known)
        self._members.add(connector)
        if self._task is None:
            self._task = asyncio.ensure_future(self._go())
        history = await journal.HISTORY_THREADS.run(journal.history, connector.endpoint, connector.names)
        for delivery in history:
            connector.receive(delivery)
        return history

    def leave(self, connector: Connector) -> None:
        """No longer. Nothing happens if it has not joined."""
        if connector not in self._members:
            return
        self._members.discard(connector)
        if not self._members:
            self._settled, self._newest = None, 0
            self._seen.clear()
            self.stop()

    def _begin_behind(self, known: list[int]) -> None:
        """Nothing of `known` is news; what becomes visible among it is, as at any other time."""
        self._settled = known[-1] - 1 if len(known) == LATE_ROWS else 0
        self._newest = known[0] if known else 0
        self._seen = dict.fromkeys(known, monotonic())

    # -- looking ------------------------------------------------------------------------------------------------

    async def _go(self) -> None:
        next_whole = monotonic() + LOOK_SECONDS
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_whole - monotonic())):
                    await self._hint.wait()
            self._hint.clear()
            is_whole = monotonic() >= next_whole
            if is_whole:
                next_whole = monotonic() + LOOK_SECONDS
            try:
                await self._look(is_whole=is_whole)
            except db.Error as error:
                logger.warning("The journal of deliveries cannot be read (%s)", type(error).__name__)
            except Exception:
                logger.exception("A look at the journal of deliveries failed")

    async def _look(self, *, is_whole: bool) -> None:
        """Read on, and pass on what was not seen yet. A whole look begins where something may have come late."""
        begin = self._settled if is_whole else self._newest
        for _batch in range(BATCHES):
            endpoints = {connector.endpoint for connector in self._members}
            if begin is None or not endpoints:
                return
            rows = await journal.JOURNAL_THREADS.run(journal.after, begin, endpoints, BATCH)
            for serial, delivery in rows:
                begin = serial
                if self._note(serial):
                    self._pass_on(delivery)
                    await asyncio.sleep(0)
            if len(rows) < BATCH:
                break
        self._settle()

    def _note(self, serial: int) -> bool:
        """Whether that number has not been seen yet; now it has."""
        if self._settled is None or serial <= self._settled or serial in self._seen:
            return False
        self._seen[serial] = monotonic()
        self._newest = max(self._newest, serial)
        return True

    def _pass_on(self, delivery: Delivery) -> None:
        for connector in tuple(self._members):
            if connector.endpoint == delivery.endpoint:
                try:
                    connector.receive(delivery)
                except Exception:  # of one connector; the others are owed it all the same
                    logger.exception("A connector could not take a delivery")

    def _settle(self) -> None:
        since = monotonic() - LATE_SECONDS
        for serial in sorted(self._seen):
            if self._seen[serial] > since:
                break
            del self._seen[serial]
            self._settled = serial

    # -- what nobody has heard ----------------------------------------------------------------------------------

    async def log_missed(
        self,
        desk: Desk,
        connector: Connector,
        history: list[Delivery],
        *,
        known: set[str],
        new_id: Callable[[str], str],
    ) -> Missed:
        """Record the calls of `history` that were over before anybody listened.

        They go to the call log with their own times, and to nobody else: no page pops, no signal is sent.

        Args:
            known: ids of calls that were live when the agent's former session last heard of them.
            new_id: the session's, so that a call has the same id whoever hears of it.

        Raises:
            django.db.Error: the call log cannot be read.
        """
        board = CallBoard(new_id)
        over: dict[str, CallEvent] = {}
        ends: list[tuple[datetime, Notification]] = []
        for count, (at, notification) in enumerate(connector.replay(history)):
            if count % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            for event in board.fold(notification, at):
                if not isinstance(event, CallEvent) or not event.call.state.is_final:
                    continue
                if event.call.call_id in known:
                    ends.append((at, notification))
                else:
                    over[event.call.call_id] = event
        logged = await journal.HISTORY_THREADS.run(journal.logged, list(over)) if over else set()
        missed = [event for call_id, event in over.items() if call_id not in logged]
        for event in missed:
            calllog.record(desk.agent_id, event, connector=desk.connector, fence=desk.fence)
        return Missed(len(missed), ends)
