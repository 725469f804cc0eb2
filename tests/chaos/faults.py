"""What goes wrong, and when: a schedule drawn from the seed, and the hand that does it.

Servers and processes fail one after the other, so that what each failure costs can be told; sockets and browsers fail
at any time, on top of that.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .browser import Browser
from .leases import Leases
from .processes import Program
from .proxy import Pipe
from .site import Site

__all__ = ["Fault", "Hand", "Kind", "draw_faults"]


class Kind(StrEnum):
    """Everything that goes wrong."""

    # one after the other
    KILL = "kill -9"
    DEPLOY = "SIGTERM"
    FREEZE = "SIGSTOP"
    REDIS = "Redis restart"
    POSTGRES = "PostgreSQL restart"
    PBX = "PBX restart"
    # at any time
    DROP_BROWSERS = "browser sockets dropped"
    DROP_LINES = "PBX sockets dropped"
    HALF_OPEN_BROWSER = "browser socket half open"
    HALF_OPEN_LINE = "PBX socket half open"
    SLOW_BROWSERS = "slow browsers"


HEAVY = (Kind.KILL, Kind.DEPLOY, Kind.FREEZE, Kind.REDIS, Kind.POSTGRES, Kind.PBX)
LIGHT = tuple(kind for kind in Kind if kind not in HEAVY)
HEAVY_PAUSE = (5.0, 9.0)  # seconds from the end of one to the next: a takeover has room
LIGHT_PAUSE = (2.0, 7.0)


@dataclass(slots=True)
class Fault:
    """One thing that went wrong.

    Args:
        target: the process, if it was one's.
        held: the agents (extensions) whose sessions that process ran then.
        ended_at: when it had started again, or was thawed.
        took: seconds, of a SIGTERM: until the process had ended.
    """

    kind: Kind
    began_at: float
    target: str = ""
    held: tuple[str, ...] = ()
    ended_at: float | None = None
    took: float = 0.0


@dataclass(slots=True)
class _Deck:
    """Every kind once, in random order, then again."""

    kinds: tuple[Kind, ...]
    rng: random.Random
    left: list[Kind] = field(default_factory=list)

    def draw(self) -> Kind:
        if not self.left:
            self.left = list(self.kinds)
            self.rng.shuffle(self.left)
        return self.left.pop()


def draw_faults(
    rng: random.Random, kinds: tuple[Kind, ...], pause: tuple[float, float], count: int
) -> list[tuple[float, Kind]]:
    """The first `count` faults: (seconds after the end of the one before, what)."""
    deck = _Deck(kinds, rng)
    return [(rng.uniform(*pause), deck.draw()) for _ in range(count)]


class Hand:
    """Lets things go wrong.

    Attributes:
        done: what has gone wrong so far, in order.
    """

    def __init__(self, seed: int, site: Site, browsers: Mapping[str, list[Browser]], leases: Leases) -> None:
        self._site, self._leases = site, leases
        self._browsers = [browser for tabs in browsers.values() for browser in tabs]
        self._seed = seed
        self.done: list[Fault] = []

    async def heavy(self) -> None:
        """Servers and processes, one after the other, until cancelled."""
        await self._play(random.Random(f"{self._seed} heavy"), HEAVY, HEAVY_PAUSE)

    async def light(self) -> None:
        """Sockets and browsers, until cancelled."""
        await self._play(random.Random(f"{self._seed} light"), LIGHT, LIGHT_PAUSE)

    async def _play(self, rng: random.Random, kinds: tuple[Kind, ...], pause: tuple[float, float]) -> None:
        for seconds, kind in draw_faults(rng, kinds, pause, 10_000):
            await asyncio.sleep(seconds)
            fault = Fault(kind, time.time())
            self.done.append(fault)
            # What has begun is seen through: a process that is down must come back.
            await asyncio.shield(asyncio.ensure_future(self._do(fault, random.Random(rng.random()))))
            fault.ended_at = time.time()

    async def _do(self, fault: Fault, rng: random.Random) -> None:
        acts: dict[Kind, Callable[[Fault, random.Random], object]] = {
            Kind.KILL: self._kill,
            Kind.DEPLOY: self._deploy,
            Kind.FREEZE: self._freeze,
            Kind.REDIS: self._restart_redis,
            Kind.POSTGRES: self._restart_postgres,
            Kind.PBX: self._restart_pbx,
            Kind.DROP_BROWSERS: self._drop_browsers,
            Kind.DROP_LINES: self._drop_lines,
            Kind.HALF_OPEN_BROWSER: self._half_open_browser,
            Kind.HALF_OPEN_LINE: self._half_open_line,
            Kind.SLOW_BROWSERS: self._slow_browsers,
        }
        done = acts[fault.kind](fault, rng)
        if asyncio.iscoroutine(done):
            await done

    # -- processes ----------------------------------------------------------------------------------------------

    def _take(self, fault: Fault, rng: random.Random) -> Program:
        """One of the processes that run sessions now."""
        held: dict[str, list[str]] = {}
        for agent, process in self._leases.holders().items():
            held.setdefault(process, []).append(agent)
        up = [program for program in self._site.programs.values() if program.is_up]
        program = rng.choice([each for each in up if each.name in held] or up)
        fault.target, fault.held = program.name, tuple(held.get(program.name, ()))
        fault.began_at = time.time()
        return program

    async def _kill(self, fault: Fault, rng: random.Random) -> None:
        program = self._take(fault, rng)
        await program.kill()
        await asyncio.sleep(rng.uniform(1.0, 6.0))
        await program.start()

    async def _deploy(self, fault: Fault, rng: random.Random) -> None:
        program = self._take(fault, rng)
        fault.took = await program.terminate()
        await program.start()

    async def _freeze(self, fault: Fault, rng: random.Random) -> None:
        program = self._take(fault, rng)
        program.freeze()
        await asyncio.sleep(self._site.lease_seconds * rng.uniform(1.3, 2.2))
        program.thaw()

    # -- servers ------------------------------------------------------------------------------------------------

    async def _restart_redis(self, fault: Fault, rng: random.Random) -> None:
        async with self._site.away("redis"):
            await asyncio.to_thread(self._site.redis.stop)
            await asyncio.sleep(rng.uniform(0.3, 3.0))
            await asyncio.to_thread(self._site.redis.start)

    async def _restart_postgres(self, fault: Fault, rng: random.Random) -> None:
        async with self._site.away("postgres"):
            await asyncio.to_thread(self._site.postgres.stop, rng.choice(("immediate", "fast")))
            await asyncio.sleep(rng.uniform(0.3, 4.0))
            await asyncio.to_thread(self._site.postgres.start)

    async def _restart_pbx(self, fault: Fault, rng: random.Random) -> None:
        async with self._site.away("pbx"):
            await self._site.pbx.kill()
            self._site.journal.end_all(fault.began_at)
            await asyncio.sleep(rng.uniform(0.3, 2.0))
            await self._site.pbx.start()

    # -- sockets ------------------------------------------------------------------------------------------------

    def _pipe(self, browser: Browser) -> Pipe | None:
        pipes = (front.pipe_from(browser.local_port) for front in self._site.fronts.values())
        return next((pipe for pipe in pipes if pipe is not None), None)

    def _drop_browsers(self, fault: Fault, rng: random.Random) -> None:
        for browser in rng.sample(self._browsers, max(2, len(self._browsers) // 6)):
            if pipe := self._pipe(browser):
                pipe.cut()

    def _half_open_browser(self, fault: Fault, rng: random.Random) -> None:
        browser = rng.choice(self._browsers)
        if pipe := self._pipe(browser):
            pipe.is_dead, browser.half_open_socket = True, browser.sockets

    def _lines(self) -> list[Pipe]:
        pipes = []
        for agent in self._site.agents:
            for dialog in self._site.journal.dialogs_of(agent.extension):
                back = self._site.backs.get(dialog.process)
                pipe = back.pipe_to(dialog.peer) if back else None
                pipes += [pipe] if pipe and not pipe.is_dead else []
        return pipes

    def _drop_lines(self, fault: Fault, rng: random.Random) -> None:
        lines = self._lines()
        for pipe in rng.sample(lines, min(3, len(lines))):
            pipe.cut()

    def _half_open_line(self, fault: Fault, rng: random.Random) -> None:
        if lines := self._lines():
            rng.choice(lines).is_dead = True

    def _slow_browsers(self, fault: Fault, rng: random.Random) -> None:
        loop = asyncio.get_running_loop()
        for browser in rng.sample(self._browsers, 2):
            browser.is_reading.clear()
            loop.call_later(rng.uniform(2.0, 8.0), browser.is_reading.set)

    def heal(self) -> None:
        """No browser is slow any more. Whatever else has begun to go wrong mends itself."""
        for browser in self._browsers:
            browser.is_reading.set()
