"""The ring while somebody else in the process has a slow query: 200 ms, once a second, by Django's asynchronous ORM.

Django runs all such queries of a process on one thread. Value: the ring's p99 beside them; floor: the same rings in
the same process without them, in turns. How the floor of ``ring``, a query on that thread, fares is told with it.
"""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from .exchange import Exchange
from .plays import Play, floor_play, floor_sockets, ring_play, tabs
from .report import line, percentile
from .tabs import Arrivals
from .world import fill_database, free_ports, server, sockets, use_settings

AGENTS = 100
RATE = 20.0
ROUND_SECONDS = 5.0
ROUNDS = 3
PAUSE_SECONDS = 0.8  # after a slow query of 0.2


@asynccontextmanager
async def _slow_queries(socket: Any) -> AsyncIterator[None]:
    """One slow query a second meanwhile."""

    async def ask() -> None:
        while True:
            await socket.send_str("now")
            await socket.receive_str()
            await asyncio.sleep(PAUSE_SECONDS)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking


async def _measure(kind: str, exchange: Exchange, keys: list[str], directory: Path) -> None:
    (port,) = free_ports(1)
    base = f"ws://127.0.0.1:{port}"
    rings, relays = Arrivals(), Arrivals()
    with server(kind, port, directory / "server.log"):
        async with (
            tabs(base, keys, rings, "bench-tab"),
            floor_sockets(base, base, keys, relays) as trigger,
            sockets([(f"{base}/slow/", keys[0])]) as opened,
        ):
            plays: dict[str, Play] = {"ours": ring_play(exchange, AGENTS, rings)}
            plays["floor"] = floor_play(trigger, AGENTS, relays)
            took: dict[tuple[str, bool], list[float]] = {}
            for play in plays.values():
                await play(RATE, ROUND_SECONDS / 2)  # warm
            for _round in range(ROUNDS):
                for name, play in plays.items():
                    quiet = await play(RATE, ROUND_SECONDS)
                    async with _slow_queries(opened[0]):
                        slow = await play(RATE, ROUND_SECONDS)
                    took.setdefault((name, False), []).extend(quiet.took)
                    took.setdefault((name, True), []).extend(slow.took)
    line(
        "ring_beside_slow_query_p99",
        percentile(took["ours", True], 0.99),
        "ms",
        floor=percentile(took["ours", False], 0.99),
        goal="ratio <= 2",
        server=kind,
        agents=AGENTS,
        rings=len(took["ours", True]),
        bare_query_p99=round(percentile(took["floor", False], 0.99), 1),
        bare_query_beside_slow_query_p99=round(percentile(took["floor", True], 0.99), 1),
    )


def main(kind: str = "uvicorn") -> None:
    """Measure with one kind of server. To be run in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="cti-bench-") as name, Exchange(AGENTS) as exchange:
        use_settings(Path(name), f"http://127.0.0.1:{exchange.addresses[0].port}")
        asyncio.run(_measure(kind, exchange, fill_database(AGENTS), Path(name)))


if __name__ == "__main__":
    main(*sys.argv[1:2])
