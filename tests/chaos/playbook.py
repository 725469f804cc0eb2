"""What happens on the telephone: plans drawn from a seed, and the player that carries them out.

A plan decides what happens and when; whether a browser's command or the phone itself does it is part of the plan, but
where a browser cannot (its line is down), the phone does, so that no call goes on for ever.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from .browser import Browser
from .journal import Journal

__all__ = ["Console", "Plan", "Player", "draw_plan"]

By = Literal["browser", "phone"]
End = Literal["browser", "phone", "remote", "transfer outside", "transfer to colleague"]
OUT_OF_REACH = ("not_connected", "timed_out", "timeout", "connection_lost", "internal_error")
LOOK_SECONDS = 0.2
STEADY_SECONDS = 2.0  # a link that has been up for so long carries commands
KNOWN_NUMBERS = 500  # so many of the callers are in the CRM


@dataclass(frozen=True, slots=True)
class Plan:
    """One call. Times in seconds, each after what came before it.

    Args:
        pause: before the call.
        answer_by: None: it is missed, or turned down.
        holds: (before the hold, before it is resumed, who does both).
        talk: before the end.
    """

    pause: float
    is_outbound: bool
    answer_after: float
    answer_by: By | None
    holds: tuple[tuple[float, float, By], ...]
    talk: float
    end: End
    colleague: int


def draw_plan(rng: random.Random, agents: int) -> Plan:
    """The next call of one agent's day."""
    is_outbound = rng.random() < 0.3
    is_missed = rng.random() < 0.2
    is_long = rng.random() < 0.12
    holds = tuple(
        (rng.uniform(0.3, 2.0), rng.uniform(0.3, 2.5), rng.choice(("browser", "phone")))
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2)))
    )
    return Plan(
        pause=min(10.0, rng.expovariate(1 / 2.0)),
        is_outbound=is_outbound,
        answer_after=rng.uniform(0.5, 3.0),
        answer_by=None if is_missed else rng.choice(("browser", "browser", "phone")),
        holds=holds,
        talk=rng.uniform(12.0, 25.0) if is_long else min(8.0, 0.3 + rng.expovariate(1 / 2.5)),
        end=rng.choices(
            ("browser", "phone", "remote", "transfer outside", "transfer to colleague"), (35, 25, 30, 5, 5)
        )[0],
        colleague=rng.randrange(1, max(2, agents)),
    )


class Console:
    """The PBX's console. Every method gives None where the PBX refuses or is not there."""

    def __init__(self, client: aiohttp.ClientSession, url: str) -> None:
        self._client, self._url = client, url

    async def post(self, path: str, **data: Any) -> dict[str, Any] | None:
        """Do something."""
        try:
            async with self._client.post(f"{self._url}/console/api/{path}", json=data) as response:
                return dict(await response.json()) if response.ok else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None

    async def act(self, call_id: str, action: str, side: str = "", **data: Any) -> dict[str, Any] | None:
        """Do something to a call."""
        return await self.post(f"calls/{call_id}/{action}", side=side, **data)

    async def hang_up_all(self) -> None:
        """End every call."""
        async with self._client.get(f"{self._url}/console/api/state") as response:
            calls = (await response.json())["calls"]
        for call in calls:
            await self.act(call["id"], "hangup")


class Player:
    """Plays the agents' days.

    Args:
        browsers: extension -> her browsers.
        up_seconds: for how long a browser's link has been up.

    Attributes:
        turned_away: commands that did not reach the session although the browser's link had been up for a while.
    """

    def __init__(
        self,
        seed: int,
        console: Console,
        journal: Journal,
        browsers: Mapping[str, list[Browser]],
        up_seconds: Callable[[Browser], float],
    ) -> None:
        self._seed, self._console, self._journal, self._browsers = seed, console, journal, browsers
        self._up_seconds = up_seconds
        self.turned_away: list[str] = []
        self.agents = list(browsers)
        self._serial = 0
        self.commands = 0

    async def day(self, agent: str) -> None:
        """Call after call, until cancelled."""
        rng = random.Random(f"{self._seed} {agent}")
        while True:
            plan = draw_plan(rng, len(self.agents))
            taste = random.Random(rng.random())  # which of her tabs: drawn as often as there is need
            await asyncio.sleep(plan.pause)
            if plan.is_outbound:
                await self._outbound(agent, plan, taste)
            else:
                await self._inbound(agent, plan, taste)

    def _fresh_number(self) -> str:
        """No two calls have the same other side, so each can be found by its number alone."""
        self._serial += 1
        return f"4420{70000000 + self._serial}"

    async def _inbound(self, agent: str, plan: Plan, taste: random.Random) -> None:
        number = self._fresh_number()
        call = await self._console.post("ring", to=agent, name=f"Caller {number[-4:]}", **{"from": f"+{number}"})
        if call is None:
            return
        await asyncio.sleep(plan.answer_after)
        if plan.answer_by is None:
            await self._turn_down(agent, number, call["id"], plan, taste)
            return
        if not (plan.answer_by == "browser" and await self._by_browser(agent, number, "answer", taste)):
            await self._console.act(call["id"], "answer", agent)
        await self._converse(agent, number, call["id"], plan, taste)

    async def _turn_down(self, agent: str, number: str, call_id: str, plan: Plan, taste: random.Random) -> None:
        if plan.end == "phone":
            await self._console.act(call_id, "decline", agent)
        elif not (plan.end == "browser" and await self._by_browser(agent, number, "hangup", taste)):
            await self._console.act(call_id, "hangup")

    async def _outbound(self, agent: str, plan: Plan, taste: random.Random) -> None:
        number = self._fresh_number()
        if plan.answer_by is None:
            await self._console.post(f"outside/{number}", behaviour=taste.choice(("busy", "no_answer", "declines")))
        browser = self._open_browser(agent, taste)
        if browser is None:
            return
        await self._command(browser, "call", number=f"+{number}")
        for _ in range(20):
            await asyncio.sleep(0.1)
            call_id = self._call_id(agent, number)
            if call_id:
                break
        else:
            return
        await asyncio.sleep(2.0 + plan.answer_after)
        if plan.answer_by is None:
            await self._console.act(call_id, "hangup")
        else:
            await self._converse(agent, number, call_id, plan, taste)

    async def _converse(self, agent: str, number: str, call_id: str, plan: Plan, taste: random.Random) -> None:
        for before, length, by in plan.holds:
            for pause, what in ((before, "hold"), (length, "resume")):
                await asyncio.sleep(pause)
                if not (by == "browser" and await self._by_browser(agent, number, what, taste)):
                    await self._console.act(call_id, what, agent)
        await asyncio.sleep(plan.talk)
        if plan.end.startswith("transfer"):
            await self._transfer(agent, number, call_id, plan, taste)
        elif plan.end == "browser":
            await self._by_browser(agent, number, "hangup", taste)
        await self._console.act(call_id, "hangup", agent if plan.end == "phone" else "")

    async def _transfer(self, agent: str, number: str, call_id: str, plan: Plan, taste: random.Random) -> None:
        to = self._fresh_number()
        if plan.end == "transfer to colleague":
            to = self.agents[(self.agents.index(agent) + plan.colleague) % len(self.agents)]
        if to != agent and not await self._by_browser(agent, number, "transfer", taste, number=to):
            await self._console.act(call_id, "transfer", agent, to=to)
        await asyncio.sleep(1.0)
        await self._console.act(call_id, "answer")
        await asyncio.sleep(1.5)

    async def _by_browser(self, agent: str, number: str, name: str, taste: random.Random, /, **fields: str) -> bool:
        """Have one of the agent's tabs that shows the call do it; False if none shows it, or it was refused."""
        shows = [
            (browser, call["id"])
            for browser in self._browsers[agent]
            for call in browser.calls.values()
            if browser.opened_at and call["number"].removeprefix("+") == number
        ]
        if not shows:
            return False
        browser, call_id = taste.choice(shows)
        return await self._command(browser, name, call_id=call_id, **fields)

    async def _command(self, browser: Browser, name: str, **fields: str) -> bool:
        self.commands += 1
        began = time.time()
        answer = await browser.command(name, **fields)
        if answer["code"] in OUT_OF_REACH:
            await asyncio.sleep(LOOK_SECONDS)  # what has just gone down has been seen then
            if self._up_seconds(browser) > time.time() - began + STEADY_SECONDS:
                self.turned_away.append(f"{browser.name} at {began:.2f} {name}: {answer['code']}")
        return bool(answer["ok"])

    def _open_browser(self, agent: str, taste: random.Random) -> Browser | None:
        return taste.choice([browser for browser in self._browsers[agent] if browser.opened_at] or [None])

    def _call_id(self, agent: str, number: str) -> str:
        parts = (part for (who, _), part in self._journal.parts.items() if who == agent and part.number == number)
        return next((part.call_id for part in parts), "")
