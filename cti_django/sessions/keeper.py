"""This process's leases: claimed, renewed, given up in time, and those watched that may fall vacant.

A lease counts here for less than it counts in the database: ``holds`` turns false after 0.8 of its life without a
renewal, by a clock that nobody can set and that goes on while the machine sleeps. So whoever claims next, by the
database's clock, finds that the former holder has stopped.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any

from .. import metrics
from ..conf import get_settings
from ..threads import LEASE_THREAD, WORK_THREADS
from . import lease
from .lease import LOGGED_OUT, Standing

__all__ = ["LOOK_SECONDS", "Keeper"]

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5  # between looks for leases that somebody should hold
WHOLE_LOOK_SECONDS = 5.0  # between looks at all that are watched: a holder may have changed without a word
ERRAND_SECONDS = 1.0  # between looks for instructions
TRUST = 0.8  # the part of a lease's life that counts without a renewal
RETRY_SECONDS = 1.0  # after a renewal that failed
CLAIMS_AT_ONCE = 4  # on the leases' thread: renewals wait for no more of them, however many sessions begin

Work = Coroutine[Any, Any, None]


def _boot_clock() -> float:
    """Seconds, on a clock that nobody sets; where there is one, it goes on while the machine is suspended."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Keeper:
    """Keeps one process's leases.

    Args:
        holder: names this process, at most 64 characters.
        on_lost: a lease is lost, or could not be renewed in time: its session must stop at once.
        on_look: how a watched lease stands, at each look.
        on_instruction: an operator wants something done with a session ("hand_over", "close", "reload").
        clock: seconds that only ever rise.
    """

    def __init__(
        self,
        holder: str,
        *,
        on_lost: Callable[[Any], Work],
        on_look: Callable[[Any, Standing], None],
        on_instruction: Callable[[Any, str], Work],
        clock: Callable[[], float] = _boot_clock,
    ) -> None:
        self.holder = holder
        self._on_lost, self._on_look, self._on_instruction = on_lost, on_look, on_instruction
        self.is_renewing = True  # whether the newest renewal came through
        self._clock = clock
        self._deadlines: dict[Any, float] = {}  # until when each lease counts
        self._claiming: set[Any] = set()  # whose claims the database may have carried out, or may yet
        self._gate = asyncio.Semaphore(CLAIMS_AT_ONCE)
        self._watched: dict[Any, float] = {}  # and from when on it may be claimed
        self._hint = asyncio.Event()
        self._links: dict[Any, str] = {}  # what is not written yet
        self._rounds: list[asyncio.Task[None]] = []
        self._chores: set[asyncio.Task[None]] = set()

    # -- what is held -------------------------------------------------------------------------------------------

    def holds(self, agent_id: Any) -> bool:
        """Whether this process may act for the agent at this very moment."""
        deadline = self._deadlines.get(agent_id)
        return deadline is not None and self._clock() < deadline

    @property
    def held(self) -> Collection[Any]:
        """The agents whose leases this process has, or may have: a claim whose answer nobody waited for is one."""
        return self._deadlines.keys() | self._claiming

    def may_hold(self, agent_id: Any) -> bool:
        """Whether the agent is among ``held``."""
        return agent_id in self._deadlines or agent_id in self._claiming

    async def claim(self, agent_id: Any, above: int = 0) -> int | None:
        """Become the holder if nobody is: the fence, or None if somebody else is.

        Args:
            above: the highest fence that this process has seen for the agent.

        Raises:
            django.db.Error: the database cannot say.
        """
        self._start()
        async with self._gate:
            seconds = get_settings().lease_seconds
            asked_at = self._clock()
            self._claiming.add(agent_id)
            with metrics.claim_seconds.time():
                fence = await LEASE_THREAD.run(lease.claim, agent_id, self.holder, seconds, above)
            self._claiming.discard(agent_id)
        if fence is None:
            return None
        metrics.lease_claims_total.inc()
        self._deadlines[agent_id] = asked_at + TRUST * seconds
        self._watched.pop(agent_id, None)
        return fence

    async def release(self, agent_ids: Collection[Any], wanted_seconds: float = 0.0) -> None:
        """Let go of leases, in one statement.

        Args:
            wanted_seconds: for so long another process may take the sessions over; 0: they are over.

        Raises:
            django.db.Error: they run out by themselves then.
        """
        over = []
        for agent_id in agent_ids:
            self._deadlines.pop(agent_id, None)
            self._claiming.discard(agent_id)
            if self._links.pop(agent_id, "") == LOGGED_OUT:
                over.append(agent_id)
        if over:  # or whoever finds the lease vacant would log them in again
            await LEASE_THREAD.run(lease.note_links, self.holder, {LOGGED_OUT: over})
        if agent_ids:
            await LEASE_THREAD.run(lease.release, self.holder, list(agent_ids), wanted_seconds)

    def note_link(self, agent_id: Any, link: str) -> None:
        """Have the lease's row say, soon, how the session stands with the telephone system."""
        self._links[agent_id] = link

    # -- what others hold ---------------------------------------------------------------------------------------

    async def look(self, agent_id: Any) -> Standing:
        """How the agent's lease stands now. Raises django.db.Error."""
        found = await WORK_THREADS.run(lease.look, [agent_id], get_settings().linger_seconds)
        return found[agent_id]

    def watch(self, agent_id: Any, from_seconds: float = 0.0) -> None:
        """Look how the agent's lease stands, again and again; `from_seconds` from now on."""
        self._start()
        self._watched[agent_id] = max(self._watched.get(agent_id, 0.0), self._clock() + from_seconds)

    def unwatch(self, agent_id: Any) -> None:
        """No longer."""
        self._watched.pop(agent_id, None)

    # -- the rounds ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if not self._rounds or any(task.done() for task in self._rounds):
            for task in self._rounds:
                task.cancel()
            rounds = (self._keep_time(), self._renew(), self._look_around(), self._run_errands())
            self._rounds = [asyncio.ensure_future(each) for each in rounds]

    def stop(self) -> None:
        """No more rounds. Leases that are not released run out."""
        for task in (*self._rounds, *self._chores):
            if task is not asyncio.current_task():
                task.cancel()
        self._rounds = []

    async def _keep_time(self) -> None:
        """Give up what was not renewed in time. Beside the renewals: those may be stuck in the database."""
        while True:
            next_deadline = min(self._deadlines.values(), default=float("inf"))
            await asyncio.sleep(min(LOOK_SECONDS, max(0.0, next_deadline - self._clock())))
            now = self._clock()
            self.lose([agent_id for agent_id, deadline in self._deadlines.items() if now >= deadline])

    def lose(self, agent_ids: Iterable[Any]) -> None:
        """These leases do not count any more, whatever the database says."""
        for agent_id in agent_ids:
            if self._deadlines.pop(agent_id, None) is not None:
                metrics.lease_losses_total.inc()
                self._begin(self._on_lost(agent_id))

    async def _renew(self) -> None:
        pause = get_settings().lease_seconds / 3
        while True:
            await asyncio.sleep(pause)
            seconds = get_settings().lease_seconds
            pause = seconds / 3
            agent_ids = list(self._deadlines)
            if not agent_ids:
                continue
            try:
                await self._renew_these(agent_ids, seconds)
                self.is_renewing = True
            except Exception as error:
                logger.warning("The session leases could not be renewed (%s); trying again", type(error).__name__)
                self.is_renewing = False
                pause = min(pause, RETRY_SECONDS)

    async def _renew_these(self, agent_ids: list[Any], seconds: float) -> None:
        asked_at = self._clock()
        with metrics.renewal_seconds.time():
            renewed = await LEASE_THREAD.run(lease.renew, self.holder, seconds, agent_ids)
        if renewed < len(agent_ids):
            held = await LEASE_THREAD.run(lease.held_by, self.holder)
            lost = [agent_id for agent_id in agent_ids if agent_id not in held and agent_id in self._deadlines]
            for agent_id in lost:
                logger.warning("Another process holds the lease of agent %s, or its row is gone", agent_id)
            self.lose(lost)
        now = self._clock()
        for agent_id in agent_ids:
            # What was released, lost or claimed anew while the database worked has a deadline of its own, or none. One
            # that has passed stays so: what its session said since was told to nobody.
            if now < self._deadlines.get(agent_id, now) < asked_at + TRUST * seconds:
                self._deadlines[agent_id] = asked_at + TRUST * seconds

    def look_now(self) -> None:
        """Somebody has let go of leases: do not wait for the next look."""
        self._hint.set()

    async def _look_around(self) -> None:
        whole_look_at = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._hint.wait()
            self._hint.clear()
            now = self._clock()
            watched = [agent_id for agent_id, from_ in self._watched.items() if from_ <= now]
            if not watched:
                continue
            try:
                linger_seconds = get_settings().linger_seconds
                if now >= whole_look_at:
                    found = await WORK_THREADS.run(lease.look, watched, linger_seconds)
                    whole_look_at = now + WHOLE_LOOK_SECONDS
                else:
                    found = await WORK_THREADS.run(lease.wanted, linger_seconds)
            except Exception as error:
                logger.warning("How sessions elsewhere stand could not be seen (%s)", type(error).__name__)
                continue
            for agent_id, standing in found.items():
                if self._watched.get(agent_id, now + 1) <= now:
                    self._on_look(agent_id, standing)

    async def _run_errands(self) -> None:
        while True:
            await asyncio.sleep(ERRAND_SECONDS)
            if not self._deadlines:
                continue
            links, self._links = self._links, {}
            try:
                if links:
                    await LEASE_THREAD.run(lease.note_links, self.holder, _turned(links))
                instructions = await LEASE_THREAD.run(lease.take_instructions, self.holder)
            except Exception as error:
                logger.warning("Instructions could not be looked for (%s)", type(error).__name__)
                self._links = {**links, **self._links}
                continue
            for agent_id, instruction in instructions.items():
                self._begin(self._on_instruction(agent_id, instruction))

    def _begin(self, work: Work) -> None:
        chore = asyncio.ensure_future(work)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)


def _turned(links: dict[Any, str]) -> dict[str, list[Any]]:
    turned: dict[str, list[Any]] = {}
    for agent_id, link in links.items():
        turned.setdefault(link, []).append(agent_id)
    return turned
