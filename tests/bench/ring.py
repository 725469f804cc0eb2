"""Ring to browser frame: from the moment the PBX writes the NOTIFY until the agent's browser has the frame.

The floor in the same server, on the same sockets' terms: a frame comes in, one indexed query, one ``group_send`` of
about the same size, a relaying consumer. Rounds of both alternate.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from .exchange import Exchange
from .plays import compare, floor_play, floor_sockets, ring_play, tabs
from .tabs import Arrivals
from .world import fill_database, free_ports, server, use_settings


async def _measure(kind: str, exchange: Exchange, keys: list[str], directory: Path, layer: str) -> None:
    (port,), agents = free_ports(1), len(keys)
    base = f"ws://127.0.0.1:{port}"
    rings, relays = Arrivals(), Arrivals()
    with server(kind, port, directory / "server.log"):
        async with (
            tabs(base, keys, rings, "bench-tab") as login_seconds,
            floor_sockets(base, base, keys, relays) as trigger,
        ):
            facts = {"server": kind, "layer": layer, "agents": agents, "login_seconds": round(login_seconds, 1)}
            ours, floor = ring_play(exchange, agents, rings), floor_play(trigger, agents, relays)
            await compare("ring_to_browser", ours, floor, facts)


def main(kind: str, agents: int, redis_url: str = "") -> None:
    """Measure one server with so many agents. To be run in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="cti-bench-") as name, Exchange(agents) as exchange:
        directory = Path(name)
        use_settings(directory, f"http://127.0.0.1:{exchange.addresses[0].port}", redis_url)
        keys = fill_database(agents)
        asyncio.run(_measure(kind, exchange, keys, directory, "redis" if redis_url else "memory"))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:4])
