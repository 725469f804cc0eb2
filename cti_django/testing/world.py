"""What a connector's author plays for the contract tests: her telephone system, with one agent's phone on it."""

from abc import ABC, abstractmethod
from typing import Any, NoReturn

import pytest

from ..connectors.base import Connector

__all__ = ["ConnectorWorld"]


class ConnectorWorld(ABC):
    """A telephone system, real or played, and the phone of one agent (she has no calls when a test begins).

    The first four verbs are needed; the others are played as far as the system knows them. A verb that is not
    overridden skips the tests that need it, by name. A verb returns when the telephone system has done it; that the
    connector has heard of it is what the tests wait for.

    Attributes:
        secrets: texts that may be shown nowhere, beside the connector's password and API key.
        sends_names: whether the system tells callers' names.
        subscribes: whether the connector watches a node, and says SUBSCRIBED; False for a system that pushes.
        dialled: a number that the agent may call.
    """

    secrets: tuple[str, ...] = ()
    sends_names = True
    subscribes = True
    dialled = "+442079460018"

    @abstractmethod
    def connector(self, **options: Any) -> Connector:
        """A new connector for the agent, not opened, with these options on top of those that it needs."""

    @abstractmethod
    async def ring(self, number: str, name: str) -> None:
        """Somebody calls the agent, whose phone begins to ring.

        Args:
            number: E.164, or something hostile: what the system's protocol cannot carry is left out.
            name: the caller's name, likewise; without it if the system tells none.
        """

    @abstractmethod
    async def answer(self) -> None:
        """The agent picks up her ringing phone."""

    @abstractmethod
    async def hang_up(self) -> None:
        """The caller hangs up."""

    def colleague(self, **options: Any) -> Connector:
        """A new connector for another agent on the same system."""
        return self._cannot("have two agents")

    async def lose_line(self) -> None:
        """The way to the telephone system breaks, and stays broken: connectors that are open lose their lines."""
        self._cannot("lose the line")

    async def restore_line(self) -> None:
        """The way is there again. Calls have gone on meanwhile."""
        self._cannot("restore the line")

    async def refuse_login(self) -> None:
        """From now on the system refuses the agent's credentials."""
        self._cannot("refuse a log-in")

    async def ring_unheard(self, number: str, name: str) -> None:
        """As ``ring``, while no connector is open. Override it to skip if the system cannot tell of it afterwards."""
        await self.ring(number, name)

    async def hang_up_unheard(self) -> None:
        """As ``hang_up``, while no connector is open."""
        await self.hang_up()

    def lines(self) -> int:
        """How many connections connectors have to the system at this moment."""
        return self._cannot("count its connections")

    @staticmethod
    def _cannot(verb: str) -> NoReturn:
        pytest.skip(f"this world cannot {verb}")
