"""The telephone system is killed and started again: how long until 1,000 sessions are READY again after it listens.

Floor: as many bare WebSockets, each of which tries again four times a second until it is connected. It is quick, and it
is the stampede that the sessions avoid: the most handshakes under way at once are given for both.
"""

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from .crowd import BareSockets, Sessions, gather_paced
from .exchange import Exchange, certificate
from .report import line
from .world import lines

SESSIONS = 1_000
DOWN_SECONDS = 10.0
RETRY_SECONDS = 0.25  # of the floor
LIMIT_SECONDS = 90.0


class Stubborn(BareSockets):
    """Bare sockets that come back by themselves, without any manners."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self.connecting = 0
        self.most_connecting = 0
        self.all_ready = asyncio.Event()
        self.ready = 0
        self._lives: list[asyncio.Task[None]] = []

    async def add(self, index: int, user: Any) -> None:
        first = asyncio.Event()
        self._lives.append(asyncio.create_task(self._live(index, first)))
        await first.wait()

    async def _live(self, index: int, first: asyncio.Event) -> None:
        while True:
            self.connecting += 1
            self.most_connecting = max(self.most_connecting, self.connecting)
            try:
                socket = await self.open(index)
            except (aiohttp.ClientError, OSError):
                socket = None
            finally:
                self.connecting -= 1
            if socket is not None:
                first.set()
                self._count(1)
                await socket.receive()
                self._count(-1)
            await asyncio.sleep(RETRY_SECONDS)

    def _count(self, change: int) -> None:
        self.ready += change
        if self.ready == len(self._lives):
            self.all_ready.set()
        else:
            self.all_ready.clear()

    async def close(self) -> None:
        for life in self._lives:
            life.cancel()
        await asyncio.wait(self._lives)
        await super().close()


@dataclass(slots=True)
class Return:
    """How it went: seconds from listening until the last was ready, and the most that were connecting at once."""

    seconds: float
    most_connecting: int


async def _measure(kind: type[Sessions] | type[Stubborn], exchange: Exchange, down_seconds: float) -> Return:
    crowd = kind(exchange)
    await gather_paced(crowd, list(enumerate(lines(SESSIONS))))
    await asyncio.to_thread(exchange.kill)
    await asyncio.to_thread(exchange.start, time.monotonic() + down_seconds)
    began, crowd.most_connecting = time.perf_counter(), crowd.connecting
    assert crowd.ready < SESSIONS / 2, f"{crowd.ready} have not noticed"
    async with asyncio.timeout(LIMIT_SECONDS):
        await crowd.all_ready.wait()
    found = Return(time.perf_counter() - began, crowd.most_connecting)
    await crowd.close()
    return found


def main(down_seconds: float = DOWN_SECONDS) -> None:
    """Measure, on wss if there can be a certificate, and print a line."""
    with tempfile.TemporaryDirectory(prefix="cti-bench-") as name:
        tls = certificate(Path(name))
        found = {}
        for kind in (Stubborn, Sessions):
            with Exchange(SESSIONS, tls=tls) as exchange:
                found[kind] = asyncio.run(_measure(kind, exchange, down_seconds))
        line(
            "reconnect",
            found[Sessions].seconds,
            "s",
            floor=found[Stubborn].seconds,
            goal="<= 30 s",
            scheme="wss" if tls else "ws",
            sessions=SESSIONS,
            down_seconds=down_seconds,
            most_connecting=found[Sessions].most_connecting,
            floor_most_connecting=found[Stubborn].most_connecting,
        )


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
