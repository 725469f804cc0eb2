"""5,000 connector sessions in one process: how long their set-up takes, and what they weigh, on ws and on wss.

Two floors, each in a fresh process in turn with ours, against a telephone system that is new each time: as many bare
aiohttp WebSockets, which send nothing; and a bare speaker, which sends the very requests and frames of the log-in
without any code of ours, so that it can be seen what the protocol costs and what we add.
"""

import asyncio
import gc
import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from .crowd import BareSockets, BareSpeakers, Sessions, gather_paced
from .exchange import Exchange, certificate
from .report import line
from .world import lines

SESSIONS = 5_000
ROUNDS = {"ws": 2, "wss": 1}
SHARDS = 2
WARM = 20  # set up before: imports and pools are not a session's
CROWDS = {"bare": BareSockets, "speaker": BareSpeakers, "ours": Sessions}
MEMORY_GOALS = {"ws": "<= 45 kB", "wss": "<= 100 kB"}
WORKER_SECONDS = 240.0


@dataclass(slots=True)
class Cost:
    """What setting up so many took, summed over rounds; `kilobytes` is of one, in the last round."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    pbx_cpu_seconds: float = 0.0
    kilobytes: float = 0.0


def _set_up(pipe: Any, kind: str, exchange: Exchange, count: int) -> None:
    """In a process of its own: set up `count` of a kind, tell what it took, and be gone without good-byes."""

    async def measure() -> None:
        crowd = CROWDS[kind](exchange)
        users = list(enumerate(lines(count + WARM)))
        await gather_paced(crowd, users[:WARM])
        gc.collect()
        me = psutil.Process()
        memory, cpu, began = me.memory_info().rss, time.process_time(), time.perf_counter()
        await gather_paced(crowd, users[WARM:])
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        gc.collect()
        pipe.send((seconds, cpu_seconds, (me.memory_info().rss - memory) / count / 1000))
        os._exit(0)

    asyncio.run(measure())


def _measure(kind: str, count: int, tls: tuple[Path, Path] | None, cost: Cost) -> None:
    context = multiprocessing.get_context("spawn")
    with Exchange(count + WARM, SHARDS, tls) as exchange:
        before = exchange.cpu_seconds()
        ours, theirs = context.Pipe()
        process = context.Process(target=_set_up, args=(theirs, kind, _addressed(exchange), count), daemon=True)
        process.start()
        theirs.close()  # so that its end is heard as one
        try:
            if not ours.poll(WORKER_SECONDS):
                raise TimeoutError(f"{count} of {kind} were not set up in {WORKER_SECONDS} s")
            seconds, cpu_seconds, cost.kilobytes = ours.recv()
        finally:
            process.kill()
            process.join(20)
        cost.seconds += seconds
        cost.cpu_seconds += cpu_seconds
        cost.pbx_cpu_seconds += exchange.cpu_seconds() - before


def _addressed(exchange: Exchange) -> Exchange:
    """The same, as it can be sent to another process: where it is, without its processes."""
    return Exchange(exchange.agents, exchange.shards, exchange.tls, exchange.addresses)


def _report(scheme: str, count: int, rounds: int, costs: dict[str, Cost]) -> None:
    ours, bare, speaker = costs["ours"], costs["bare"], costs["speaker"]
    facts: dict[str, Any] = {"scheme": scheme, "sessions": count, "rounds": rounds, "pbx_processes": SHARDS}
    for kind, cost in costs.items():
        facts[f"{kind}_cpu_seconds"] = round(cost.cpu_seconds / rounds, 2)
        facts[f"{kind}_pbx_cpu_seconds"] = round(cost.pbx_cpu_seconds / rounds, 2)
    line(
        "session_setup",
        ours.seconds / rounds,
        "s",
        floor=bare.seconds / rounds,
        goal="ratio <= 1.5",
        floor_is="as many bare WebSockets",
        **facts,
    )
    line(
        "session_setup_protocol",
        ours.seconds / rounds,
        "s",
        floor=speaker.seconds / rounds,
        floor_is="the same requests and frames from a bare client",
        scheme=scheme,
        sessions=count,
    )
    line(
        "session_memory",
        ours.kilobytes,
        "kB",
        floor=bare.kilobytes,
        goal=MEMORY_GOALS[scheme],
        floor_is="a bare WebSocket",
        scheme=scheme,
        sessions=count,
    )


def main(count: int = SESSIONS) -> None:
    """Measure, and print three lines for each scheme."""
    with tempfile.TemporaryDirectory(prefix="cti-bench-") as name:
        tls = certificate(Path(name))
        if tls is None:
            print("  no openssl program: nothing is measured on wss", file=sys.stderr)
        for scheme in ("ws", "wss") if tls else ("ws",):
            costs = {kind: Cost() for kind in CROWDS}
            for _round in range(ROUNDS[scheme]):
                for kind, cost in costs.items():
                    _measure(kind, count, tls if scheme == "wss" else None, cost)
            _report(scheme, count, ROUNDS[scheme], costs)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
