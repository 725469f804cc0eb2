"""A connector's notifications, and the events that they come to, gathered while a test goes on."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

from ..calls.board import CallBoard
from ..calls.events import CallEvent, Event
from ..calls.notifications import LegNotification, Notification, SessionNotification, Snapshot
from ..calls.states import CallState
from ..connectors.base import Connector

__all__ = ["Listener"]


class Listener:
    """Listens to a connector that was opened, from now on.

    Args:
        connector: open.
        board: where the notifications are folded; a new one unless a test goes on with an earlier one.
        patience_seconds: how long ``until`` waits.

    Attributes:
        said: every notification so far.
        events: what the board made of them.
        error: what ``notifications()`` raised, None if nothing.
        is_over: whether it has ended.
    """

    def __init__(self, connector: Connector, board: CallBoard | None = None, *, patience_seconds: float = 5.0) -> None:
        self.board = board or CallBoard(_ids())
        self.said: list[Notification] = []
        self.events: list[Event] = []
        self.error: BaseException | None = None
        self.is_over = False
        self._patience_seconds = patience_seconds
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._listen(connector))

    async def _listen(self, connector: Connector) -> None:
        try:
            async for notification in connector.notifications():
                self.said.append(notification)
                self.events += self.board.fold(notification, datetime.now(UTC))
                self._news.set()
        except Exception as error:
            self.error = error
        self.is_over = True
        self._news.set()

    async def until(self, condition: Callable[["Listener"], object], what: str = "") -> None:
        """Return as soon as `condition` holds.

        Raises:
            AssertionError: it does not within `patience_seconds`; the text says `what` was waited for.
        """
        try:
            async with asyncio.timeout(self._patience_seconds):
                while not condition(self):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            waited_for = what or "what the test waits for"
            raise AssertionError(f"{waited_for} was not said; said was: {self.names()}{self._end()}") from None

    def _end(self) -> str:
        return f", then {self.error!r}" if self.error else ", then the end" if self.is_over else ""

    async def until_said(self, name: str, times: int = 1) -> None:
        """Return when `name` (as ``names`` has it) was said so many times."""
        await self.until(lambda heard: heard.names().count(name) >= times, name)

    async def until_event(self, name: str, times: int = 1) -> CallEvent:
        """The call event of that name, as soon as it was said so many times."""
        await self.until(lambda heard: len(heard.call_events(name)) >= times, name)
        return self.call_events(name)[times - 1]

    async def until_ready(self) -> None:
        """Return when the line is up: READY was said, and how the agent's own calls stand."""
        await self.until_said("READY")
        await self.until_said("Snapshot")

    async def until_over(self) -> None:
        """Return when ``notifications()`` has ended, one way or the other."""
        await self.until(lambda heard: heard.is_over, "the end")

    def call_events(self, name: str = "") -> list[CallEvent]:
        """The call events of that name ("": all)."""
        return [event for event in self.events if isinstance(event, CallEvent) and name in ("", event.name.value)]

    def legs(self, state: CallState | None = None) -> list[LegNotification]:
        """The legs that were told, one by one and in Snapshots, in that state (None: in any)."""
        told: list[LegNotification] = []
        for said in self.said:
            told += [said] if isinstance(said, LegNotification) else said.legs if isinstance(said, Snapshot) else []
        return [leg for leg in told if state in (None, leg.state)]

    def names(self) -> list[str]:
        """What was said, a word each: READY, Snapshot, RINGING (a leg) ..."""
        return [_name_of(said) for said in self.said]

    async def stop(self) -> None:
        """Listen no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def _name_of(said: Notification) -> str:
    match said:
        case SessionNotification():
            return said.name
        case LegNotification():
            return said.state.value if said.state else "LegNotification"
        case Snapshot():
            return "Snapshot" if not said.node else f"Snapshot of {said.node}"
    stage = getattr(said, "stage", None)
    return stage.name if stage is not None else type(said).__name__


def _ids() -> Callable[[str], str]:
    """Names calls so that what has the same name in the telephone system has the same id on every board."""
    numbers = count(1)
    return lambda seed: seed or f"call {next(numbers)}"
