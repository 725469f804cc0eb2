"""A SIP connector with a board behind it, as a session would have it: what the agent is told, in order."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from cti_django.calls.board import CallBoard
from cti_django.calls.events import Call, CallEvent
from cti_django.calls.notifications import Snapshot
from cti_django.calls.numbers import NumberPlan
from cti_django.connectors.base import Credentials
from cti_django.connectors.sip.connector import SIPConnector
from cti_django.exceptions import ConnectorError

__all__ = ["PLAN", "Desk", "at_desk"]

PLAN = NumberPlan(region="GB", extension_pattern=r"[1-9][0-9]{2,3}")
FAST: dict[str, Any] = {"domain": "pbx.example", "keep_alive_seconds": 600}


class Desk:
    """One agent. ``story`` has what she is told: names of session events, (name, number) of call events."""

    def __init__(self, port: int, **options: Any) -> None:
        server = options.pop("server", f"sip:127.0.0.1:{port}")
        credentials = Credentials(username=options.pop("user", "1006"), password=options.pop("password", "secret"))
        self.connector = SIPConnector(credentials, {**FAST, "server": server, **options}, number_plan=PLAN)
        ids = itertools.count(1)
        self.board = CallBoard(new_id=lambda _: f"call-{next(ids)}")
        self.events: list[Any] = []
        self.snapshots = 0
        self.error: ConnectorError | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the line and listen."""
        await self.connector.open()
        self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Let go of the line."""
        await self.connector.close()
        if self._task is not None:
            await self._task

    async def _listen(self) -> None:
        try:
            async for notification in self.connector.notifications():
                self.snapshots += isinstance(notification, Snapshot)
                self.events += self.board.fold(notification, datetime.now(UTC))
                self._changed.set()
        except ConnectorError as error:
            self.error = error
        self._changed.set()

    @property
    def story(self) -> list[Any]:
        """All events."""
        return [_told(event) for event in self.events]

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The call events alone."""
        return [told for told in self.story if isinstance(told, tuple)]

    @property
    def call(self) -> Call:
        """The newest call."""
        return next(event.call for event in reversed(self.events) if isinstance(event, CallEvent))

    async def until(self, *told: Any, seconds: float = 8) -> None:
        """Wait until all of `told` was told (words for names, tuples for call events), or the line failed."""
        async with asyncio.timeout(seconds):
            while not all(each in self.story or each in [t[0] for t in self.calls] for each in told):
                if self.error is not None:
                    raise self.error
                self._changed.clear()
                await self._changed.wait()

    async def until_so(self, is_so: Callable[[], object], seconds: float = 8) -> None:
        """Wait until something is so; it is looked at whenever she is told something."""
        async with asyncio.timeout(seconds):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def until_failed(self, seconds: float = 8) -> ConnectorError:
        """Wait until the line has failed; why it has."""
        async with asyncio.timeout(seconds):
            while self.error is None:
                self._changed.clear()
                await self._changed.wait()
        return self.error


def _told(event: Any) -> Any:
    if isinstance(event, CallEvent):
        return (event.name.value, event.call.remote.number or event.call.remote.number_raw)
    return event.name.value


@asynccontextmanager
async def at_desk(port: int, **options: Any) -> AsyncIterator[Desk]:
    """A desk whose line is open and ready."""
    desk = Desk(port, **options)
    await desk.open()
    try:
        await desk.until("READY")
        yield desk
    finally:
        await desk.close()
