"""A connector's notifications, gathered while a test goes on."""

import asyncio
from collections.abc import Callable

from cti_django.calls.notifications import DialNotification, LegNotification, SessionNotification, Snapshot


class Listener:
    def __init__(self, connector) -> None:
        self.said: list[object] = []
        self.error: BaseException | None = None
        self.is_over = False
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._listen(connector))

    async def _listen(self, connector) -> None:
        try:
            async for notification in connector.notifications():
                self.said.append(notification)
                self._news.set()
        except Exception as error:
            self.error = error
        self.is_over = True
        self._news.set()

    async def until(self, condition: Callable[["Listener"], object]) -> None:
        async with asyncio.timeout(5):
            while not condition(self):
                self._news.clear()
                await self._news.wait()

    async def until_said(self, name: str, times: int = 1) -> object:
        """Wait until `name` was said so many times; the last of them."""
        await self.until(lambda _: self.names().count(name) >= times)
        return [said for said in self.said if name_of(said) == name][times - 1]

    def names(self) -> list[str]:
        return [name_of(said) for said in self.said]


def name_of(said) -> str:
    match said:
        case SessionNotification():
            return said.name
        case DialNotification():
            return said.stage.name
        case Snapshot():
            return "Snapshot"
        case LegNotification():
            return said.state.value if said.state else "nothing"
