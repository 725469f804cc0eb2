"""Ring to browser across two processes: the browser is connected to one, the session is run by the other.

Both processes, and the floor, use the same PostgreSQL and the same Redis (pub/sub layer). The floor: a frame reaches
the process that runs the sessions, one indexed query, one ``group_send`` of about the same size, a relaying consumer
in the other process. Rounds alternate; then both are driven harder, in turns, until their p99 exceeds 50 ms.
"""

import asyncio
import itertools
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .exchange import Exchange
from .report import line, percentile
from .tabs import Arrivals, log_in, paced, read_floor, read_tab
from .world import contact_number, fill_database, free_port, has_programs, server, sockets, use_settings

RATE = 20.0  # rings a second
ROUND_SECONDS = 5.0
ROUNDS = 3
LADDER = [40.0 * 1.3**step for step in range(11)]  # rings a second, 40 to 550
LADDER_SECONDS = 2.5
LIMIT_MS = 50.0
CLIMB_AGENTS = 1_000  # with fewer, many calls ring at one agent at once, which is nobody's day
SERVERS = ("daphne", "uvicorn")
_numbers = itertools.cycle(contact_number(index) for index in range(90_000))

Play = Callable[[float, float], Awaitable["Played"]]


@dataclass(slots=True)
class Played:
    """What came of some rings.

    Args:
        rate: how many a second there really were.
    """

    took: list[float]
    lost: int
    rate: float

    @property
    def p99(self) -> float:
        """In ms; endless if something was lost."""
        return percentile(self.took, 0.99) if self.took and not self.lost else float("inf")


@dataclass(slots=True)
class Climb:
    """The rate at which p99 passes the limit."""

    sustained: float = 0.0
    p99: float = 0.0
    is_over: bool = False
    steps: list[tuple[float, float]] = field(default_factory=list)

    async def step(self, play: Play, rate: float) -> None:
        """Try the next rate, twice if need be: one pause of the machine's is not the end."""
        for attempt in range(2):
            played = await play(rate, LADDER_SECONDS)
            if played.p99 <= LIMIT_MS and played.rate > 0.9 * rate:
                self.steps.append((round(played.rate), round(played.p99, 1)))
                self.sustained, self.p99 = played.rate, played.p99
                return
            if attempt:
                self.steps.append((round(played.rate), round(min(played.p99, 9_999.0), 1)))
                self.is_over = True


def _marks(agents: int, count: int) -> list[tuple[int, str]]:
    return [(index % agents, number) for index, number in zip(range(count), _numbers, strict=False)]


async def _finished(arrivals: Arrivals, began: dict[str, float]) -> Played:
    took = await arrivals.milliseconds(began)
    span = max(began.values()) - min(began.values())
    return Played(took, len(began) - len(took), (len(began) - 1) / span if span else 0.0)


def _ours(exchange: Exchange, agents: int, arrivals: Arrivals) -> Play:
    async def play(rate: float, seconds: float) -> Played:
        arrivals.clear()
        began = await exchange.ring(_marks(agents, int(rate * seconds)), rate)
        played = await _finished(arrivals, began)
        await exchange.hang_up_all()
        await arrivals.until(lambda: arrivals.hung_up >= len(began), 5.0)
        return played

    return play


def _floor(trigger: Any, agents: int, arrivals: Arrivals) -> Play:
    async def ring(agent: int, number: str) -> None:
        await trigger.send_str(f"{agent + 1} {number} {number}")  # the users' ids begin with 1

    async def play(rate: float, seconds: float) -> Played:
        arrivals.clear()
        return await _finished(arrivals, await paced(_marks(agents, int(rate * seconds)), rate, ring))

    return play


@asynccontextmanager
async def _tabs(base: str, keys: list[str], arrivals: Arrivals, name: str) -> AsyncIterator[float]:
    """A tab of each agent, logged in; the seconds that this took."""
    async with sockets([(f"{base}/ws/cti/", key) for key in keys]) as opened:
        ready = [asyncio.Event() for _ in keys]
        readers = [asyncio.create_task(read_tab(one, arrivals, on)) for one, on in zip(opened, ready, strict=True)]
        yield await log_in(opened, ready, name)
        for reader in readers:
            reader.cancel()


@asynccontextmanager
async def _floor_sockets(front: str, back: str, keys: list[str], arrivals: Arrivals) -> AsyncIterator[Any]:
    """A browser of the floor for each agent, at the front; the socket at the back that makes them ring."""
    urls = [(f"{front}/floor/", key) for key in keys]
    async with sockets([*urls, (f"{back}/trigger/", keys[0])]) as opened:
        readers = [asyncio.create_task(read_floor(one, arrivals)) for one in opened]
        yield opened[-1]
        for reader in readers:
            reader.cancel()


def _holders() -> set[int]:
    """The ids of the processes that hold leases."""
    from cti_django.models import AgentLease

    return {int(holder.split(":")[1]) for holder in AgentLease.objects.values_list("holder", flat=True) if holder}


async def _measure(kind: str, exchange: Exchange, keys: list[str], directory: Path, climbs: bool) -> None:
    agents = len(keys)
    front_port, back_port = free_port(), free_port()
    front, back = f"ws://127.0.0.1:{front_port}", f"ws://127.0.0.1:{back_port}"
    log = directory / "server.log"
    async with AsyncExitStack() as stack:
        stack.enter_context(server(kind, front_port, log))
        holder = stack.enter_context(server(kind, back_port, log))
        rings, relays = Arrivals(), Arrivals()
        # The tabs at the back bring the sessions there, and go.
        async with _tabs(back, keys, Arrivals(), "bench-back") as login_seconds:
            await stack.enter_async_context(_tabs(front, keys, rings, "bench-front"))
        trigger = await stack.enter_async_context(_floor_sockets(front, back, keys, relays))
        held_by = await asyncio.to_thread(_holders)
        assert held_by == {holder.pid}, f"the sessions are run by {held_by}, not by {holder.pid}"
        ours, floor = _ours(exchange, agents, rings), _floor(trigger, agents, relays)
        facts = {"server": kind, "agents": agents, "login_seconds": round(login_seconds, 1)}
        await _compare(ours, floor, facts)
        if climbs:
            await _climb(ours, floor, facts)


async def _compare(ours: Play, floor: Play, facts: dict[str, Any]) -> None:
    took: dict[Play, list[float]] = {ours: [], floor: []}
    lost = {ours: 0, floor: 0}
    for play in took:
        await play(RATE, ROUND_SECONDS / 2)  # warm
    for _round in range(ROUNDS):
        for play, times in took.items():
            played = await play(RATE, ROUND_SECONDS)
            times += played.took
            lost[play] += played.lost
    for share, label, goal in ((0.5, "p50", "ratio <= 1.5"), (0.99, "p99", "ratio <= 2")):
        line(
            f"ring_across_{label}",
            percentile(took[ours], share),
            "ms",
            floor=percentile(took[floor], share),
            goal=goal,
            rings=len(took[ours]),
            lost=lost[ours],
            floor_lost=lost[floor],
            **facts,
        )


async def _climb(ours: Play, floor: Play, facts: dict[str, Any]) -> None:
    climbs = {ours: Climb(), floor: Climb()}
    for rate in LADDER:
        for play, climb in climbs.items():
            if not climb.is_over:
                await climb.step(play, rate)
    line(
        "rings_across_sustained",
        climbs[ours].sustained,
        "events/s",
        floor=climbs[floor].sustained,
        goal="ratio >= 0.7",
        limit_ms=LIMIT_MS,
        steps=climbs[ours].steps,
        floor_steps=climbs[floor].steps,
        **facts,
    )


def main(agents: int, kinds: tuple[str, ...] = SERVERS) -> None:
    """Measure, with so many agents, each kind of server. To be run in a process of its own."""
    if not has_programs("pg_ctl", "initdb", "redis-server"):
        return
    from tests.servers import postgres, redis

    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cti-bench-")))
        database, bus = stack.enter_context(postgres()), stack.enter_context(redis())
        exchange = stack.enter_context(Exchange(agents))
        base_url = f"http://127.0.0.1:{exchange.addresses[0].port}"
        use_settings(directory, base_url, bus.url, database.create("bench"))
        keys = fill_database(agents)
        for kind in kinds:
            asyncio.run(_measure(kind, exchange, keys, directory, climbs=agents >= CLIMB_AGENTS))


if __name__ == "__main__":
    if sys.argv[1:]:
        main(int(sys.argv[1]), tuple(sys.argv[2:]) or SERVERS)
    else:
        for agents in ("100", "1000"):
            subprocess.run([sys.executable, "-m", "tests.bench.across", agents], check=True)
