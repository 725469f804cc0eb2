"""Ring to browser across two processes: the browser is connected to one, the session is run by the other.

Both processes, and the floor, use the same PostgreSQL and the same Redis (pub/sub layer). The floor: a frame reaches
the process that runs the sessions, one indexed query, one ``group_send`` of about the same size, a relaying consumer
in the other process. Rounds alternate; then both are driven harder, in turns, until their p99 exceeds 50 ms.
"""

import asyncio
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .exchange import Exchange
from .plays import Play, compare, floor_play, floor_sockets, ring_play, tabs
from .report import line
from .tabs import Arrivals
from .world import fill_database, free_ports, has_programs, server, use_settings

LADDER = [40.0 * 1.3**step for step in range(11)]  # rings a second, 40 to 550
LADDER_SECONDS = 2.5
LIMIT_MS = 50.0
ENDLESS_MS = 10_000.0  # for what never came
CLIMB_AGENTS = 1_000  # with fewer, many calls ring at one agent at once, which is nobody's day
SERVERS = ("daphne", "uvicorn")


@dataclass(slots=True)
class Climb:
    """How many rings a second there may be.

    Args:
        sustained: the rate at which p99 passes LIMIT_MS, between the last that was good and the first that was not.
        steps: (rings a second, p99 in ms).
    """

    sustained: float = 0.0
    is_over: bool = False
    steps: list[tuple[float, float]] = field(default_factory=list)

    async def step(self, play: Play, rate: float) -> None:
        """Try the next rate, twice if need be: one pause of the machine's is not the end."""
        for _attempt in range(2):
            played = await play(rate, LADDER_SECONDS)
            p99 = min(played.p99, ENDLESS_MS)
            if p99 <= LIMIT_MS and played.rate > 0.9 * rate:
                self.steps.append((played.rate, p99))
                self.sustained = played.rate
                return
        self.is_over = True
        if self.steps and p99 > LIMIT_MS:
            before, p99_before = self.steps[-1]
            self.sustained = before + (rate - before) * (LIMIT_MS - p99_before) / (p99 - p99_before)
        self.steps.append((played.rate, p99))

    @property
    def told(self) -> list[str]:
        """The steps, for the report."""
        return [f"{rate:.0f}/s {p99:.1f} ms" for rate, p99 in self.steps]


def _holders() -> set[int]:
    """The ids of the processes that hold leases."""
    from cti_django.models import AgentLease

    return {int(holder.split(":")[1]) for holder in AgentLease.objects.values_list("holder", flat=True) if holder}


async def _measure(kind: str, exchange: Exchange, keys: list[str], directory: Path, climbs: bool) -> None:
    agents = len(keys)
    front_port, back_port = free_ports(2)
    front, back = f"ws://127.0.0.1:{front_port}", f"ws://127.0.0.1:{back_port}"
    log = directory / "server.log"
    async with AsyncExitStack() as stack:
        stack.enter_context(server(kind, front_port, log))
        holder = stack.enter_context(server(kind, back_port, log))
        rings, relays = Arrivals(), Arrivals()
        # The tabs at the back bring the sessions there, and go.
        async with tabs(back, keys, Arrivals(), "bench-back") as login_seconds:
            await stack.enter_async_context(tabs(front, keys, rings, "bench-front"))
        trigger = await stack.enter_async_context(floor_sockets(front, back, keys, relays))
        held_by = await asyncio.to_thread(_holders)
        assert held_by == {holder.pid}, f"the sessions are run by {held_by}, not by {holder.pid}"
        ours, floor = ring_play(exchange, agents, rings), floor_play(trigger, agents, relays)
        facts = {"server": kind, "agents": agents, "login_seconds": round(login_seconds, 1)}
        await compare("ring_across", ours, floor, facts)
        if climbs:
            await _climb(ours, floor, facts)


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
        steps=climbs[ours].told,
        floor_steps=climbs[floor].told,
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
