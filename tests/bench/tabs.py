"""The browsers of the benches: sockets that log in, ask for the pops they are offered, and note when rings come."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import aiohttp

__all__ = ["Arrivals", "log_in", "paced", "read_floor", "read_tab"]

LOGIN_SECONDS = 60.0
LATE_SECONDS = 3.0  # what has not come so long after the last ring was sent counts as lost

Socket = aiohttp.ClientWebSocketResponse


@dataclass(slots=True)
class Arrivals:
    """When each mark (a caller's number) was first seen by a browser; perf_counter, the same in all processes."""

    rung: dict[str, float] = field(default_factory=dict)
    hung_up: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def clear(self) -> None:
        """Begin anew."""
        self.rung.clear()
        self.hung_up = 0

    async def until(self, is_enough: Callable[[], bool], seconds: float) -> None:
        """Wait for arrivals until that is so, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not is_enough():
                    self.changed.clear()
                    await self.changed.wait()

    async def milliseconds(self, began: dict[str, float]) -> list[float]:
        """How long each took that was sent at `began`, as soon as all have come or are lost."""
        await self.until(lambda: len(self.rung) >= len(began), LATE_SECONDS)
        return [(self.rung[mark] - at) * 1000 for mark, at in began.items() if mark in self.rung]


async def read_tab(socket: Socket, arrivals: Arrivals, ready: asyncio.Event) -> None:
    """Be a tab that is logged in."""
    is_elected = False
    async for message in socket:
        now = time.perf_counter()
        said = json.loads(message.data)
        is_elected = said.get("elected", is_elected)
        event = said.get("event") or {}
        name, call = event.get("name"), event.get("call") or {}
        if name == "RINGING":
            arrivals.rung.setdefault(call["number"], now)
            if is_elected and call.get("pop"):
                await socket.send_json({"type": "pop", "id": call["id"], "call_id": call["id"]})
        elif name == "HANGUP":
            arrivals.hung_up += 1
        arrivals.changed.set()
        if name == "READY" or (said.get("session") or {}).get("state") == "ready":
            ready.set()


async def read_floor(socket: Socket, arrivals: Arrivals) -> None:
    """Be a browser of the floor."""
    async for message in socket:
        arrivals.rung.setdefault(message.data.split(" ", 1)[0], time.perf_counter())
        arrivals.changed.set()


async def log_in(socket: Socket, tab_id: str, ready: asyncio.Event) -> None:
    """Say what a page says when it opens; return when the session is READY."""
    await socket.send_json({"type": "hello", "tab": tab_id, "focused": True})
    await socket.send_json({"type": "login", "id": "1"})
    await asyncio.wait_for(ready.wait(), LOGIN_SECONDS)


async def paced(
    marks: Iterable[tuple[int, str]], rate: float, send: Callable[[int, str], Awaitable[None]]
) -> dict[str, float]:
    """Send each (agent, mark) in its time, `rate` a second; when each began."""
    began: dict[str, float] = {}
    start = time.perf_counter()
    for index, (agent, mark) in enumerate(marks):
        pause = start + index / rate - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        began[mark] = time.perf_counter()
        await send(agent, mark)
    return began
