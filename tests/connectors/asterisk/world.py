"""The fake PBX as the contract tests and others want it: one agent's telephone system."""

from dataclasses import replace
from typing import Any

from cti_django.connectors.asterisk.connector import AsteriskConnector
from cti_django.connectors.base import Credentials
from cti_django.testing.world import ConnectorWorld

from .fake_calls import FakeCall
from .fake_pbx import SECRET, USER, FakePBX

__all__ = ["AsteriskWorld", "options_for"]


def options_for(pbx: FakePBX, **options: Any) -> dict[str, Any]:
    """The options that reach `pbx`."""
    reach = {"port": pbx.port, "username": USER, "secret": SECRET, "dial_context": "from-agents"}
    return {**reach, "request_seconds": 2, **options}


class AsteriskWorld(ConnectorWorld):
    """Agent 1001 and her colleague 1002 on a fake PBX."""

    secrets = (SECRET,)

    def __init__(self, pbx: FakePBX) -> None:
        self.pbx = pbx
        self.call: FakeCall | None = None
        for exten in ("1001", "1002"):
            status = {"Exten": exten, "Context": "hints", "Hint": f"PJSIP/{exten}", "Status": "0", "StatusText": "Idle"}
            pbx.extensions.append(status)

    def agent(self, extension: str, **options: Any) -> AsteriskConnector:
        plan = replace(AsteriskConnector.number_plan_defaults, region="GB")
        return AsteriskConnector(Credentials(username=extension), options_for(self.pbx, **options), number_plan=plan)

    def connector(self, **options: Any) -> AsteriskConnector:
        return self.agent("1001", **options)

    def colleague(self, **options: Any) -> AsteriskConnector:
        return self.agent("1002", **options)

    async def ring(self, number: str, name: str) -> None:
        # What ends a line is the one thing that a header cannot carry.
        number, name = (text.replace("\r", "").replace("\n", "")[:4_000] for text in (number, name))
        self.call = FakeCall(self.pbx, number, name)
        self.call.ring()

    async def answer(self) -> None:
        self.call.answer()

    async def hang_up(self) -> None:
        self.call.hang_up()

    async def lose_line(self) -> None:
        await self.pbx.stop()

    async def restore_line(self) -> None:
        await self.pbx.start()

    async def refuse_login(self) -> None:
        self.pbx.secret = "another one"

    def lines(self) -> int:
        return len(self.pbx.lines)
