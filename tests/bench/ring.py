"""Ring to browser frame: from the moment the PBX writes the NOTIFY until the agent's browser has the frame.

The floor in the same server, on the same sockets' terms: a frame comes in, one indexed query, one ``group_send`` of
about the same size, a relaying consumer. Rounds of both alternate.
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from .report import line, percentile
from .world import contact_number, fill_database, free_port, lines, server, sockets, use_settings

RATE = 20.0  # rings a second
ROUND_SECONDS = 5.0


class Stopwatch:
    """When each ring began, and how long it took until its frame came."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}
        self.took: list[float] = []

    def frame(self, mark: str) -> None:
        """The frame of the ring `mark` has come."""
        began = self.began.pop(mark, None)
        if began is not None:
            self.took.append((time.perf_counter() - began) * 1000)


async def _paced(count: int, ring: Any) -> None:
    start = time.perf_counter()
    for index in range(count):
        await asyncio.sleep(max(0.0, start + index / RATE - time.perf_counter()))
        await ring(index)


async def _ours(watch: Stopwatch, sandbox: Any, agents: int) -> None:
    async def ring(index: int) -> None:
        number = contact_number(index * 37 % 90_000)
        watch.began[number] = time.perf_counter()
        sandbox.switch.ring(str(10031 + index % agents), number, "Dana")

    await _paced(int(RATE * ROUND_SECONDS), ring)
    await asyncio.sleep(0.7)
    sandbox.switch.hang_up_all()
    await asyncio.sleep(1.0)


async def _floor(watch: Stopwatch, trigger: aiohttp.ClientWebSocketResponse, agents: int) -> None:
    async def ring(index: int) -> None:
        mark = f"m{time.perf_counter_ns()}"
        watch.began[mark] = time.perf_counter()
        await trigger.send_str(f"{1 + index % agents} {contact_number(index * 37 % 90_000)} {mark}")

    await _paced(int(RATE * ROUND_SECONDS), ring)
    await asyncio.sleep(0.7)


async def _read_ours(socket: aiohttp.ClientWebSocketResponse, watch: Stopwatch, ready: asyncio.Event) -> None:
    async for message in socket:
        said = json.loads(message.data)
        name = said.get("event", {}).get("name")
        if name == "RINGING":
            watch.frame(said["event"]["call"]["number"])
        elif name == "READY":
            ready.set()


async def _read_floor(socket: aiohttp.ClientWebSocketResponse, watch: Stopwatch) -> None:
    async for message in socket:
        watch.frame(message.data.split(" ", 1)[0])


async def _log_in(sockets_: list[aiohttp.ClientWebSocketResponse], readers: list[asyncio.Event]) -> float:
    gate = asyncio.Semaphore(30)
    began = time.perf_counter()

    async def one(index: int) -> None:
        async with gate:
            await sockets_[index].send_json({"type": "hello", "tab": f"bench-tab-{index:06}", "focused": True})
            await sockets_[index].send_json({"type": "login", "id": "1"})
            await asyncio.wait_for(readers[index].wait(), 120)

    await asyncio.gather(*(one(index) for index in range(len(sockets_))))
    return time.perf_counter() - began


async def _measure(kind: str, agents: int, rounds: int, directory: Path, redis_url: str) -> None:
    from cti_django.sandbox.server import run_sandbox

    async with run_sandbox(users=lines(agents), port=0) as sandbox:
        use_settings(directory, sandbox.base_url, redis_url)
        keys = await asyncio.to_thread(fill_database, agents)
        port = free_port()
        with server(kind, port, directory / "server.log"):
            base = f"ws://127.0.0.1:{port}"
            urls = [(f"{base}/ws/cti/", key) for key in keys] + [(f"{base}/floor/", key) for key in keys]
            async with sockets([*urls, (f"{base}/trigger/", keys[0])]) as opened:
                ours, floor = Stopwatch(), Stopwatch()
                ready = [asyncio.Event() for _ in range(agents)]
                readers = [asyncio.create_task(_read_ours(opened[n], ours, ready[n])) for n in range(agents)]
                readers += [asyncio.create_task(_read_floor(opened[agents + n], floor)) for n in range(agents)]
                readers.append(asyncio.create_task(_read_floor(opened[-1], floor)))  # answers the server's pings
                login_seconds = await _log_in(opened[:agents], ready)
                for watch, play in (
                    (ours, _ours(Stopwatch(), sandbox, agents)),
                    (floor, _floor(Stopwatch(), opened[-1], agents)),
                ):
                    await play  # warm
                    watch.took.clear()
                for _ in range(rounds):
                    await _ours(ours, sandbox, agents)
                    await _floor(floor, opened[-1], agents)
                for reader in readers:
                    reader.cancel()
    layer = "redis" if redis_url else "memory"
    facts: dict[str, Any] = {"server": kind, "layer": layer, "agents": agents, "rings": len(ours.took)}
    facts["lost"] = len(ours.began)
    facts["login_seconds"] = round(login_seconds, 1)
    for share, name, goal in ((0.5, "p50", "ratio <= 1.5"), (0.99, "p99", "ratio <= 2")):
        line(
            f"ring_to_browser_{name}",
            percentile(ours.took, share),
            "ms",
            floor=percentile(floor.took, share),
            goal=goal,
            **facts,
        )


def main(kind: str, agents: int, rounds: int = 3, redis_url: str = "") -> None:
    """Measure one server with so many agents. To be run in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="cti-bench-") as name:
        asyncio.run(_measure(kind, agents, rounds, Path(name), redis_url))


if __name__ == "__main__":
    import sys

    main(sys.argv[1], int(sys.argv[2]), redis_url=sys.argv[3] if len(sys.argv) > 3 else "")
