"""The shell around ``wire.sip_user_agent``: one socket, one reading task, one timer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ..exceptions import ConnectionLost
from ..wire.sip_subscriber import Subscriber
from ..wire.sip_user_agent import FlowFailed
from .transports import Socket

__all__ = ["Machine", "SIPLine", "Subscriptions"]

logger = logging.getLogger(__name__)


class Machine(Protocol):
    """What drives the line: a UserAgent, or a Subscriber on one."""

    def receive_data(self, data: bytes, now: float) -> None:
        """Take one message."""

    def events_received(self) -> list[Any]:
        """What has happened."""

    def data_to_send(self) -> list[bytes]:
        """The messages to send."""

    def next_deadline(self) -> float | None:
        """When ``handle_timeout`` is due."""

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""


class SIPLine:
    """One open line.

    Args:
        socket: open; the line closes it.
        machine: new; its clock is ``now``.
        on_event: hears each of the machine's events. Must not block.
        on_lost: hears why the line is gone, unless ``close`` was called before.
        room: awaited after each message, so that a flood waits on the network and not in memory.
    """

    __slots__ = (
        "_is_closed",
        "_machine",
        "_on_event",
        "_on_lost",
        "_reading",
        "_room",
        "_sending",
        "_socket",
        "_timer",
    )

    def __init__(
        self,
        socket: Socket,
        machine: Machine,
        *,
        on_event: Callable[[Any], None],
        on_lost: Callable[[ConnectionLost], None],
        room: Callable[[], Awaitable[None]],
    ) -> None:
        self._socket = socket
        self._machine = machine
        self._on_event = on_event
        self._on_lost = on_lost
        self._room = room
        self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._reading = asyncio.create_task(self._read())

    @staticmethod
    def now() -> float:
        """The machine's clock: the running loop's time, seconds."""
        return asyncio.get_running_loop().time()

    def flush(self) -> None:
        """Say and send what has come up outside of reading: to be called when the machine was asked for something.
        Once the line is closed, nothing happens: what outlives it may still ask."""
        if self._is_closed:
            return
        self._tell()
        self._set_timer()
        # One sender at a time keeps the order; a sender that waits takes along what has come up meanwhile.
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def close(self) -> None:
        """Hang up. Never raises; may be called twice."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = [task for task in (self._reading, self._sending) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._socket.close()

    async def _read(self) -> None:
        try:
            while True:
                message = await self._socket.receive()
                self._machine.receive_data(message, self.now())
                self._tell()
                for answer in self._machine.data_to_send():
                    await self._socket.send(answer)
                self._set_timer()
                await self._room()
                await asyncio.sleep(0)  # whoever floods us must not keep the others waiting
        except ConnectionLost as lost:
            self._on_lost(lost)
        except Exception:
            # A fault of ours in reading a message must end in a sentence and a new line, not in a silent one.
            logger.exception("Reading a telephone line failed")
            self._on_lost(ConnectionLost("The telephone line failed unexpectedly.", code="internal_error"))

    async def _send(self) -> None:
        try:
            while messages := self._machine.data_to_send():
                for message in messages:
                    await self._socket.send(message)
        except ConnectionLost as lost:
            self._on_lost(lost)

    def _tell(self) -> None:
        for event in self._machine.events_received():
            if isinstance(event, FlowFailed):
                self._on_lost(ConnectionLost("The telephone system does not answer any more.", code="timed_out"))
            else:
                self._on_event(event)

    def _set_timer(self) -> None:
        deadline = self._machine.next_deadline()
        if self._timer is not None:
            if not self._timer.cancelled() and self._timer.when() == deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        # A timer may fire a hair early; the machine's clock must not see the deadline as still ahead.
        self._machine.handle_timeout(max(self.now(), self._machine.next_deadline() or 0.0))
        self.flush()


class Subscriptions:
    """A ``Subscriber`` on its line, for a ``Watch``."""

    __slots__ = ("_line", "_subscriber")

    def __init__(self, line: SIPLine, subscriber: Subscriber) -> None:
        self._line = line
        self._subscriber = subscriber

    def subscribe(self, node: str) -> None:
        """Subscribe to `node`, the user part of its SIP URI."""
        self._subscriber.subscribe(node, self._line.now())
        self._line.flush()

    def refresh(self, node: str) -> None:
        """Ask for the full state of `node`."""
        self._subscriber.refresh(node, self._line.now())
        self._line.flush()
