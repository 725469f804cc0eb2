"""The whole run: the site is built, agents work, things break, all is mended, and the books are compared."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from .browser import Browser
from .faults import Hand
from .leases import Leases
from .playbook import Console, Player
from .processes import until
from .site import DATABASE, Site, running_site
from .timeline import timeline
from .verdict import Evidence, Verdict, judge, read_rows, read_writes
from .watch import Watch

__all__ = ["Run", "run"]

READY_SECONDS = 60.0
MEND_SECONDS = 60.0
SETTLE_SECONDS = 35.0  # a half-open socket is found within 27 s
WRITE_SECONDS = 3.0  # for what the outboxes still hold
PROGRESS_SECONDS = 15.0
TABS = 2


@dataclass(frozen=True, slots=True)
class Run:
    """What to do.

    Args:
        seconds: how long the agents work.
        seed: decides what happens on the telephone and what goes wrong.
    """

    seconds: float
    seed: int
    processes: int = 4
    agents: int = 12
    lease_seconds: float = 4.0


async def run(wanted: Run, folder: Path, say: Callable[[str], None]) -> Verdict:
    """Do it; logs and the PBX's journal stay in `folder`.

    Raises:
        RuntimeError: a part of the site did not start, or the browsers were not ready in time.
    """
    async with (
        running_site(
            folder, processes=wanted.processes, lease_seconds=wanted.lease_seconds, agents=wanted.agents
        ) as site,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client,
    ):
        return await _Director(wanted, site, client, say).direct()


class _Director:
    def __init__(self, wanted: Run, site: Site, client: aiohttp.ClientSession, say: Callable[[str], None]) -> None:
        self._wanted, self._site, self._client, self._say = wanted, site, client, say
        focus = random.Random(f"{wanted.seed} focus")
        self._browsers = {}
        for agent in site.agents:
            focused = focus.randrange(TABS)
            self._browsers[agent.extension] = [
                Browser(f"{agent.extension}/{tab}", agent.cookie, focused=tab == focused, choose=site.choose)
                for tab in range(TABS)
            ]
        extensions = {agent.agent_id: agent.extension for agent in site.agents}
        self._leases = Leases(site.postgres.url(DATABASE), extensions, site.process_of_holder)
        self._watch = Watch(site, self._browsers, self._leases)
        self._hand = Hand(wanted.seed, site, self._browsers, self._leases)
        self._console = Console(client, f"http://127.0.0.1:{site.pbx_port}")
        self._player = Player(wanted.seed, self._console, site.journal, self._browsers, self._watch.up_seconds)

    async def direct(self) -> Verdict:
        tabs = [browser for each in self._browsers.values() for browser in each]
        async with AsyncExitStack() as stack:
            standing = [browser.run(self._client) for browser in tabs]
            await self._begin(stack, *standing, self._leases.follow())
            self._say(f"{len(tabs)} browsers connect to {len(self._site.web)} processes")
            if not await until(self._is_ready, READY_SECONDS):
                raise RuntimeError("the browsers were not ready in time")
            await self._begin(stack, self._watch.follow())
            async with AsyncExitStack() as work:
                days = [self._player.day(agent) for agent in self._browsers]
                began = await self._begin(work, *days, self._hand.light(), self._hand.heavy(), self._report())
                await self._last(began)
            return await self._conclude()

    def _is_ready(self) -> bool:
        self._site.journal.read()
        return self._watch.has_settled()

    @staticmethod
    async def _begin(stack: AsyncExitStack, *work: object) -> list["asyncio.Task[None]"]:
        tasks = [asyncio.ensure_future(each) for each in work]  # type: ignore[arg-type]

        async def end() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        stack.push_async_callback(end)
        return tasks

    async def _last(self, began: list["asyncio.Task[None]"]) -> None:
        """Let them work for the time wanted; what fails ends the run."""
        done, _ = await asyncio.wait(began, timeout=self._wanted.seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _report(self) -> None:
        began = time.time()
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            faults = Counter(fault.kind.value for fault in self._hand.done)
            self._say(
                f"{time.time() - began:5.0f} s  {len(self._site.journal.parts)} calls, "
                f"{self._player.commands} commands, " + ", ".join(f"{n} x {kind}" for kind, n in faults.items())
            )

    async def _conclude(self) -> Verdict:
        await self._mend()
        settled = False
        for _second in range(round(SETTLE_SECONDS)):
            await self._console.hang_up_all()  # again and again: a dial may come late out of a process that was stopped
            if settled := await until(self._watch.has_settled, 1.0):
                break
        await asyncio.sleep(WRITE_SECONDS)
        self._watch.finish()
        self._site.journal.read()
        url = self._site.postgres.url(DATABASE)
        extensions = {agent.agent_id: agent.extension for agent in self._site.agents}
        evidence = Evidence(
            site=self._site,
            browsers=[browser for each in self._browsers.values() for browser in each],
            leases=self._leases,
            watch=self._watch,
            faults=self._hand.done,
            rows=await asyncio.to_thread(read_rows, url, extensions),
            writes=await asyncio.to_thread(read_writes, url, extensions),
            commands=self._player.commands,
            turned_away=self._player.turned_away,
            has_settled=settled,
        )
        (self._site.folder / "timeline.txt").write_text(timeline(evidence))
        return judge(evidence)

    async def _mend(self) -> None:
        """See to it that everything runs again: a fault that had begun is seen through."""
        every = (*self._site.programs.values(), self._site.pbx)
        if not await until(
            lambda: all(program.is_up for program in every) and not self._site.is_away(time.time()), MEND_SECONDS
        ):
            raise RuntimeError("not everything came up again")
        self._hand.heal()
