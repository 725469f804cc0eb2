"""The toy connector keeps the contract."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from cti_django.calls.numbers import NumberPlan
from cti_django.connectors.base import Connector, Credentials
from cti_django.testing.contract import ConnectorContractTests
from cti_django.testing.world import ConnectorWorld
from tests.testing.toy_connector import ToyConnector
from tests.testing.toy_pbx import PASSWORD, ToyPBX

GB = NumberPlan(region="GB", extension_pattern=r"[1-9][0-9]{2}")


class ToyWorld(ConnectorWorld):
    """The toy PBX, with the agent at extension 101 and a colleague at 102."""

    def __init__(self, pbx: ToyPBX) -> None:
        self.pbx = pbx

    def connector(self, **options: Any) -> Connector:
        return self._connector("101", options)

    def colleague(self, **options: Any) -> Connector:
        return self._connector("102", options)

    def _connector(self, extension: str, options: dict[str, Any]) -> Connector:
        credentials = Credentials(username=extension, password=PASSWORD)
        return ToyConnector(credentials, {"port": self.pbx.port, **options}, number_plan=GB)

    async def ring(self, number: str, name: str) -> None:
        self.call = self.pbx.ring("101", number, name)

    async def answer(self) -> None:
        self.pbx.change(self.call, "TALKING")

    async def hang_up(self) -> None:
        self.pbx.change(self.call, "OVER")

    async def lose_line(self) -> None:
        await self.pbx.stop()

    async def restore_line(self) -> None:
        await self.pbx.start()

    async def refuse_login(self) -> None:
        self.pbx.password = "another"

    def lines(self) -> int:
        return len(self.pbx.lines)


class TestToyConnector(ConnectorContractTests):
    @pytest_asyncio.fixture
    async def world(self) -> AsyncIterator[ToyWorld]:
        async with ToyPBX() as pbx:
            yield ToyWorld(pbx)
