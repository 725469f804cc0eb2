"""What is played to a site under measurement: rings from the telephone system, and the rings of the floor."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from .exchange import Exchange
from .report import line, percentile
from .tabs import Arrivals, log_in, paced, read_floor, read_tab
from .world import contact_number, sockets

__all__ = ["Play", "Played", "compare", "floor_play", "floor_sockets", "ring_play", "tabs"]

RATE = 20.0  # rings a second
ROUND_SECONDS = 5.0
ROUNDS = 3
_numbers = itertools.cycle(contact_number(index) for index in range(90_000))

Play = Callable[[float, float], Awaitable["Played"]]
"""Plays so many rings a second for so many seconds."""


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


def _marks(agents: int, count: int) -> list[tuple[int, str]]:
    return [(index % agents, number) for index, number in zip(range(count), _numbers, strict=False)]


async def _finished(arrivals: Arrivals, began: dict[str, float]) -> Played:
    took = await arrivals.milliseconds(began)
    span = max(began.values()) - min(began.values())
    return Played(took, len(began) - len(took), (len(began) - 1) / span if span else 0.0)


def ring_play(exchange: Exchange, agents: int, arrivals: Arrivals) -> Play:
    async def play(rate: float, seconds: float) -> Played:
        arrivals.clear()
        began = await exchange.ring(_marks(agents, int(rate * seconds)), rate)
        played = await _finished(arrivals, began)
        await exchange.hang_up_all()
        await arrivals.until(lambda: arrivals.hung_up >= len(began), 5.0)
        return played

    return play


def floor_play(trigger: Any, agents: int, arrivals: Arrivals) -> Play:
    async def ring(agent: int, number: str) -> None:
        await trigger.send_str(f"{agent + 1} {number} {number}")  # the users' ids begin with 1

    async def play(rate: float, seconds: float) -> Played:
        arrivals.clear()
        return await _finished(arrivals, await paced(_marks(agents, int(rate * seconds)), rate, ring))

    return play


@asynccontextmanager
async def tabs(base: str, keys: list[str], arrivals: Arrivals, name: str) -> AsyncIterator[float]:
    """A tab of each agent, connected and logged in; the seconds that this took."""
    ready = [asyncio.Event() for _ in keys]
    urls = [(f"{base}/ws/cti/", key) for key in keys]
    began = time.perf_counter()
    async with sockets(
        urls,
        lambda index, socket: read_tab(socket, arrivals, ready[index]),
        lambda index, socket: log_in(socket, f"{name}-{index:06}", ready[index]),
    ):
        yield time.perf_counter() - began


@asynccontextmanager
async def floor_sockets(front: str, back: str, keys: list[str], arrivals: Arrivals) -> AsyncIterator[Any]:
    """A browser of the floor for each agent, at the front; the socket at the back that makes them ring."""
    urls = [*((f"{front}/floor/", key) for key in keys), (f"{back}/trigger/", keys[0])]
    async with sockets(urls, lambda _index, socket: read_floor(socket, arrivals)) as opened:
        yield opened[-1]


async def compare(name: str, ours: Play, floor: Play, facts: dict[str, Any]) -> None:
    """Play both in turns, and print p50 and p99 of ours beside the floor's."""
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
            f"{name}_{label}",
            percentile(took[ours], share),
            "ms",
            floor=percentile(took[floor], share),
            goal=goal,
            rings=len(took[ours]),
            lost=lost[ours],
            floor_lost=lost[floor],
            **facts,
        )
