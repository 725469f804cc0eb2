"""What a process does for its sessions now and then: rights looked up before a ring has to, memory, the call log."""

import asyncio
import contextlib
import logging
import math
from typing import Any

from django import db

from .. import calllog, contacts, deliveries, metrics
from ..threads import WORK_THREADS
from .access import PERMISSION
from .collector import Collector
from .office import Office

__all__ = ["Rounds"]

logger = logging.getLogger(__name__)

ROUND_SECONDS = 1.0
REAP_SECONDS = 60.0  # between looks for calls that no session follows


class Rounds:
    """One process's rounds."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._collector = Collector()
        self._stale: list[Any] = []  # agents whose rights are to be looked up anew, in turn
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, if that has not been done."""
        if self._task is None or self._task.done():
            metrics.watch("tabs", lambda: sum(len(desk.tabs.here) for desk in list(self._office.desks.values())))
            metrics.watch("leases_held", lambda: len(self._office.keeper.held))
            metrics.watch("sessions", self._links)
            self._task = asyncio.ensure_future(self._go())

    def stop(self) -> None:
        """No more rounds."""
        if self._task is not None:
            self._task.cancel()

    def _links(self) -> dict[str, int]:
        links: dict[str, int] = {}
        for agent_id in list(self._office.tenures):
            link = self._office.desks[agent_id].state.state.value
            links[link] = links.get(link, 0) + 1
        return links

    async def _go(self) -> None:
        reap_in = 0.0
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            running = set(self._office.tenures)
            self._collector.follow(len(running))
            try:
                await self._refresh_rights(running)
                reap_in -= ROUND_SECONDS
                if reap_in <= 0:
                    reap_in = REAP_SECONDS
                    await WORK_THREADS.run(calllog.reap)
                    await WORK_THREADS.run(deliveries.purge)
            except db.Error as error:
                logger.warning("A round was cut short: the database cannot be reached (%s)", type(error).__name__)
            except Exception:
                logger.exception("A round failed")

    async def _refresh_rights(self, running: set[Any]) -> None:
        """Look up the rights of a few agents anew, so that no ring has to: each one's before they are too old."""
        self._stale = [agent_id for agent_id in self._stale if agent_id in running] or list(running)
        share = math.ceil(len(running) * ROUND_SECONDS / (contacts.RIGHTS_SECONDS / 2))
        for agent_id in self._stale[:share]:
            with contextlib.suppress(db.Error):
                rights = await contacts.arefresh_rights(agent_id)
                desk = self._office.desks.get(agent_id)
                if desk is not None and desk.keep_open and not rights.has_perm(PERMISSION):
                    desk.keep_open = False  # no page is there whose socket would be closed
                    await self._office.close(agent_id)
        del self._stale[:share]
