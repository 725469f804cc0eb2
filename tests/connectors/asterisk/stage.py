"""Where call flows are played: one Asterisk, as many agents as the flows need, and a public network."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from cti_django.connectors.asterisk.connector import AsteriskConnector
from cti_django.connectors.base import Credentials
from tests.pbx.asterisk import Asterisk, asterisk
from tests.pbx.desk import Desk, desk
from tests.pbx.phone import Phone, phone
from tests.pbx.public_network import PublicNetwork, public_network

__all__ = ["FLOWS", "Scene", "connector", "flow", "options", "play"]

AT_ONCE = 8
"""So many flows are played at a time; more would only wait for the processors."""

SETTLING_SECONDS = 0.5
"""After the last flow, before all are compared: an event too many would have come by then."""

RESERVED = {"1003", "1004", "1005"}
"""Queue members, and an agent without a phone."""

Flow = Callable[["Scene"], Awaitable[None]]
FLOWS: dict[str, Flow] = {}


def flow(play: Flow) -> Flow:
    """Register a flow under its function's name; its docstring says what happens."""
    FLOWS[play.__name__] = play
    return play


def options(pbx: Asterisk, **others: Any) -> dict[str, Any]:
    """The connector's options for this Asterisk, with the least rights; `others` replace or add."""
    return {
        "host": "127.0.0.1",
        "port": pbx.ami_port,
        "username": "cti",
        "secret": pbx.secret,
        "dial_context": "from-agents",
        "hold_context": "cti-hold",
        "hint_context": "hints",
        "answer": "redirect",
        "answer_context": "auto-answer",
        "queues": "sales",
        **others,
    }


def connector(pbx: Asterisk, agent: str, **others: Any) -> AsteriskConnector:
    """One agent's connector."""
    plan = replace(AsteriskConnector.number_plan_defaults, region="GB")
    return AsteriskConnector(Credentials(username=agent), options(pbx, **others), number_plan=plan)


@dataclass
class Scene:
    """One flow: who takes part, and what each must have been told.

    Attributes:
        number: of somebody outside whom no other flow calls.
        trouble: what stopped the flow, None if nothing did.
    """

    pbx: Asterisk
    outside: PublicNetwork
    number: str
    free_agents: Iterable[str]
    stack: AsyncExitStack
    expected: list[tuple[Desk, list[str]]] = field(default_factory=list)
    trouble: BaseException | None = None
    seconds: float = 0.0

    async def agent(self, name: str = "", **others: Any) -> tuple[Desk, Phone]:
        """An agent with a phone (`traits` are the phone's), the next free one if none is named."""
        traits = others.pop("traits", {})
        place = await self.desk(name, **others)
        return place, await self.phone(place.agent, **traits)

    async def desk(self, name: str = "", **others: Any) -> Desk:
        """An agent without a phone; `others` are options of her connector."""
        agent = name or next(iter(self.free_agents))
        return await self.stack.enter_async_context(desk(connector(self.pbx, agent, **others), agent))

    async def phone(self, agent: str, **traits: Any) -> Phone:
        return await self.stack.enter_async_context(phone(self.pbx, agent, **traits))

    def expect(self, place: Desk, *story: str) -> None:
        """What she must have been told when all is over: this, and nothing else."""
        self.expected.append((place, list(story)))

    @property
    def told(self) -> dict[str, list[str]]:
        """What each of them has been told."""
        return {place.agent: place.story for place, _ in self.expected}


def play(names: list[str]) -> tuple[dict[str, Scene], str]:
    """Play these flows, several at a time, on an Asterisk of their own.

    Returns:
        Their scenes, and the log.
    """
    with asterisk(agents=99) as pbx:
        return asyncio.run(_play(pbx, names)), pbx.log()


async def _play(pbx: Asterisk, names: list[str]) -> dict[str, Scene]:
    free = (agent for agent in pbx.agents if agent not in RESERVED)
    numbers = count(33612345000)
    seats = asyncio.Semaphore(AT_ONCE)
    async with AsyncExitStack() as stack:
        outside = await stack.enter_async_context(public_network(pbx))
        scenes = {name: Scene(pbx, outside, f"+{next(numbers)}", free, stack) for name in names}
        await asyncio.gather(*(_act(scenes[name], FLOWS[name], seats) for name in names))
        await asyncio.sleep(SETTLING_SECONDS)
    return scenes


async def _act(scene: Scene, act: Flow, seats: asyncio.Semaphore) -> None:
    async with seats:
        began = time.monotonic()
        try:
            await act(scene)
        except BaseException as trouble:
            scene.trouble = trouble
            if not isinstance(trouble, Exception):
                raise
        scene.seconds = time.monotonic() - began
