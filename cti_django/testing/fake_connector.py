"""A connector without a telephone system: a test says what it hears, and reads what it was asked."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

from ..calls.commands import Capability, Command
from ..calls.events import Call
from ..calls.notifications import LegNotification, Notification, SessionNotification, Snapshot
from ..calls.numbers import Party, classify
from ..calls.states import CallState, Direction
from ..connectors.base import Connector

__all__ = ["FakeConnector"]


class FakeConnector(Connector):
    """Says what ``say`` is given and keeps what ``execute`` is asked in ``executed``.

    ``refresh`` says a Snapshot of ``legs``: those that ``leg`` has said and that live; what a test takes out has ended
    unseen. ``open_errors`` are raised by the next openings, one each; ``lose(error)`` breaks the line. Unless
    ``ready`` is False an opened line says LOGGED_IN, SUBSCRIBED and READY by itself.
    """

    name = "fake"
    capabilities = frozenset(Capability)

    def __init__(self, credentials, options, **more) -> None:  # type: ignore[no-untyped-def]
        super().__init__(credentials, options, **more)
        self.ready: bool = options.get("ready", True)
        self.open_errors: list[Exception] = []
        self.execute_error: Exception | None = None
        self.executed: list[tuple[Command, Call | None]] = []
        self.openings = 0
        self.refreshes = 0
        self.legs: dict[str, LegNotification] = {}  # by leg_id
        self.closed = False
        self._said: asyncio.Queue[Notification | Exception | None] = asyncio.Queue()

    async def open(self) -> None:
        self.openings += 1
        self.closed = False
        if self.open_errors:
            raise self.open_errors.pop(0)
        self._said = asyncio.Queue()
        if self.ready:
            self.say(SessionNotification(name="LOGGED_IN"))
            self.say(SessionNotification(name="SUBSCRIBED", uri="user:10031"))
            self.say(SessionNotification(name="READY"))

    async def notifications(self) -> AsyncIterator[Notification]:
        while (said := await self._said.get()) is not None:
            if isinstance(said, Exception):
                raise said
            yield said

    async def execute(self, command: Command, call: Call | None = None) -> None:
        self.executed.append((command, call))
        if self.execute_error is not None:
            raise self.execute_error

    async def refresh(self) -> None:
        self.refreshes += 1
        self.say(Snapshot(legs=tuple(self.legs.values())))

    async def close(self) -> None:
        self.closed = True

    def say(self, notification: Notification) -> None:
        """Let the telephone system say this."""
        self._said.put_nowait(notification)

    def lose(self, error: Exception) -> None:
        """Break the line."""
        self._said.put_nowait(error)

    def end(self) -> None:
        """End the notifications, as after LOGGED_OUT."""
        self._said.put_nowait(None)

    def leg(
        self,
        state: CallState,
        number: str = "+442079460018",
        name: str = "Dana",
        *,
        provider_call_id: str = "731",
        leg_id: str = "",
        direction: Direction = Direction.INBOUND,
        started_at: datetime | None = None,
    ) -> None:
        """Say that a leg of a call with `number`, which began at `started_at`, is in `state`."""
        leg = LegNotification(
            provider_call_id=provider_call_id,
            leg_id=leg_id or f"{provider_call_id}-1",
            state=state,
            direction=direction,
            local=self._party("10031", "Alice Agent"),
            remote=self._party(number, name),
            started_at=started_at,
        )
        self.legs[leg.leg_id] = leg
        if state is CallState.HANGUP:
            del self.legs[leg.leg_id]
        self.say(leg)

    def _party(self, number: str, name: str) -> Party:
        return classify(number, name, self.number_plan)
