"""Where call flows are played: one Asterisk, as many agents as the flows need, and a public network."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from cti_django.connectors.base import Connector
from tests.pbx.asterisk import Asterisk, asterisk
from tests.pbx.desk import Desk, desk
from tests.pbx.phone import Phone, phone
from tests.pbx.public_network import PublicNetwork, public_network

__all__ = ["Played", "Repertoire", "Scene"]

AT_ONCE = 8
"""So many flows are played at a time; more would only wait for the processors."""

SETTLING_SECONDS = 0.5
"""After the last flow, before all are compared: an event too many would have come by then."""

RESERVED = {"1003", "1004"}
"""The members of the queue."""

LOG_SHOWN = 20_000

Flow = Callable[["Scene"], Awaitable[None]]


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
    connect: Callable[..., Connector]
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
        return await self.stack.enter_async_context(desk(self.connect(self.pbx, agent, **others), agent))

    async def phone(self, agent: str, **traits: Any) -> Phone:
        return await self.stack.enter_async_context(phone(self.pbx, agent, **traits))

    def expect(self, place: Desk, *story: str) -> None:
        """What she must have been told when all is over: this, and nothing else."""
        self.expected.append((place, list(story)))

    def outcome(self) -> "Outcome":
        """What came of it, once all is over."""
        told = {place.agent: place.story for place, _ in self.expected}
        return Outcome(self.trouble, self.seconds, told, {place.agent: story for place, story in self.expected})


@dataclass
class Outcome:
    """What each agent was told in a flow, and should have been; texts only, so that nothing of the flow is kept."""

    trouble: BaseException | None
    seconds: float
    told: dict[str, list[str]]
    expected: dict[str, list[str]]


class Played:
    """Flows that were played, and Asterisk's log of them."""

    def __init__(self, outcomes: dict[str, Outcome], log: str) -> None:
        self._outcomes, self._log = outcomes, log

    def check(self, name: str) -> None:
        """Compare the whole stories of one flow; whatever stopped it is raised here."""
        outcome = self._outcomes[name]
        try:
            if outcome.trouble is not None:
                raise outcome.trouble
            assert outcome.expected
            assert outcome.told == outcome.expected
        except BaseException:
            for agent, story in outcome.told.items():
                print(f"{agent}:", *story, sep="\n    ")
            print(f"{name} took {outcome.seconds:.1f} s\n--- Asterisk's log ---\n{self._log[-LOG_SHOWN:]}")
            raise


class Repertoire:
    """The flows of one kind of connector: coroutine functions that get a Scene; their docstrings say what happens.

    Args:
        connect: gives an agent's connector for a PBX; further arguments are options.
        first_agent: those before it are left alone.
    """

    def __init__(self, connect: Callable[..., Connector], first_agent: str = "1001") -> None:
        self.flows: dict[str, Flow] = {}
        self._connect, self._first = connect, first_agent

    def flow(self, act: Flow) -> Flow:
        """Register a flow under its function's name."""
        self.flows[act.__name__] = act
        return act

    def play(self, request: pytest.FixtureRequest, **others: Any) -> Played:
        """Play the flows whose tests are to be run: those of the module, parametrized by `name`.

        All at once, on an Asterisk of their own: they take little longer than the longest of them.

        Args:
            others: options of every connector.
        """
        wanted = [
            item.callspec.params for item in request.session.items if item.path == request.path and _is_flow(item)
        ]
        names = {params["name"]: None for params in wanted}
        with asterisk(agents=99) as pbx:
            return Played(asyncio.run(self.play_on(pbx, list(names), **others)), pbx.log())

    async def play_on(self, pbx: Asterisk, names: list[str], **others: Any) -> dict[str, Outcome]:
        """Play these flows on a PBX of the caller's."""

        def connect(pbx: Asterisk, agent: str, **options: Any) -> Connector:
            return self._connect(pbx, agent, **others, **options)

        free = (agent for agent in pbx.agents if agent >= self._first and agent not in RESERVED)
        numbers = count(33612345000)
        seats = asyncio.Semaphore(AT_ONCE)
        async with AsyncExitStack() as stack:
            outside = await stack.enter_async_context(public_network(pbx))
            scenes = {name: Scene(pbx, outside, f"+{next(numbers)}", connect, free, stack) for name in names}
            await asyncio.gather(*(_act(scenes[name], self.flows[name], seats) for name in names))
            await asyncio.sleep(SETTLING_SECONDS)
        return {name: scene.outcome() for name, scene in scenes.items()}


def _is_flow(item: Any) -> bool:
    return hasattr(item, "callspec") and "name" in item.callspec.params


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
