"""The one-way street from everything that happens on a line to the one task that iterates ``notifications()``."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from ..calls.notifications import Notification
from ..exceptions import ConnectorError

__all__ = ["NotificationStream"]

ROOM = 1_000  # notifications that may wait; the line is read no further while there are more


class NotificationStream:
    """Notifications in order, then an end: quiet (``end``) or with an error (``fail``). What comes later is dropped."""

    __slots__ = ("_error", "_is_over", "_reader", "_waiting", "_writer")

    def __init__(self) -> None:
        self._waiting: deque[Notification] = deque()
        self._is_over = False
        self._error: ConnectorError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be put in."""
        return self._is_over

    def put(self, notification: Notification) -> None:
        """Say `notification`."""
        if not self._is_over:
            self._waiting.append(notification)
            _wake(self._reader)

    def end(self) -> None:
        """Nothing more will be said."""
        self._is_over = True
        _wake(self._reader)
        _wake(self._writer)

    def fail(self, error: ConnectorError) -> None:
        """Nothing more will be said, because of `error`, which the reader is told behind all that was put in."""
        if not self._is_over:
            self._error = error
            self.end()

    async def room(self) -> None:
        """Return when the reader has caught up far enough. For one waiting task: the one that reads the line."""
        while len(self._waiting) > ROOM and not self._is_over:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer

    async def __aiter__(self) -> AsyncIterator[Notification]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
                if len(self._waiting) <= ROOM // 2:
                    _wake(self._writer)
            if self._is_over:
                break
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        if self._error is not None:
            raise self._error


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
