"""The shell around ``wire.sip_subscriber``: one WebSocket, one reading task, one timer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..exceptions import ConnectionLost
from ..wire.sip_subscriber import Subscriber, SubscriberEvent
from .transports import WebSocket

__all__ = ["SIPLine"]

logger = logging.getLogger(__name__)


class SIPLine:
    """One open line.

    Args:
        socket: open; the line closes it.
        subscriber: new; `now` is the running loop's time.
        on_event: hears each of the subscriber's events. Must not block.
        on_lost: hears why the line is gone, unless ``close`` was called before.
        room: awaited after each frame, so that a flood waits on the network and not in memory.
    """

    __slots__ = ("_on_event", "_on_lost", "_reading", "_room", "_sending", "_socket", "_subscriber", "_timer")

    def __init__(
        self,
        socket: WebSocket,
        subscriber: Subscriber,
        *,
        on_event: Callable[[SubscriberEvent], None],
        on_lost: Callable[[ConnectionLost], None],
        room: Callable[[], Awaitable[None]],
    ) -> None:
        self._socket = socket
        self._subscriber = subscriber
        self._on_event = on_event
        self._on_lost = on_lost
        self._room = room
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._reading = asyncio.create_task(self._read())

    def subscribe(self, node: str) -> None:
        """Subscribe to `node`, the user part of its SIP URI."""
        self._subscriber.subscribe(node, _now())
        self._go_on()

    def refresh(self, node: str) -> None:
        """Ask for the full state of `node`."""
        self._subscriber.refresh(node, _now())
        self._go_on()

    async def close(self) -> None:
        """Hang up. Never raises; may be called twice."""
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
                frame = await self._socket.receive()
                self._subscriber.receive_data(frame, _now())
                self._tell()
                for message in self._subscriber.data_to_send():
                    await self._socket.send(message)
                self._set_timer()
                await self._room()
        except ConnectionLost as lost:
            self._on_lost(lost)
        except Exception:
            # A fault of ours in reading a frame must end in a sentence and a new line, not in a silent one.
            logger.exception("Reading a telephone line failed")
            self._on_lost(ConnectionLost("The telephone line failed unexpectedly.", code="internal_error"))

    def _go_on(self) -> None:
        """Say and send what has come up outside of reading."""
        self._tell()
        self._set_timer()
        # One sender at a time keeps the order; a sender that waits takes along what has come up meanwhile.
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        try:
            while messages := self._subscriber.data_to_send():
                for message in messages:
                    await self._socket.send(message)
        except ConnectionLost as lost:
            self._on_lost(lost)

    def _tell(self) -> None:
        for event in self._subscriber.events_received():
            self._on_event(event)

    def _set_timer(self) -> None:
        deadline = self._subscriber.next_deadline()
        if self._timer is not None:
            if not self._timer.cancelled() and self._timer.when() == deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        # A timer may fire a hair early; the subscriber's clock must not see the deadline as still ahead.
        self._subscriber.handle_timeout(max(_now(), self._subscriber.next_deadline() or 0.0))
        self._go_on()


def _now() -> float:
    return asyncio.get_running_loop().time()
