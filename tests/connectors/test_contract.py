"""All connectors keep the contract of ``connectors/base.py`` (Asterisk's does in its own folder)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cti_django.calls.numbers import NumberPlan
from cti_django.calls.states import CallState
from cti_django.connectors.base import Connector, Credentials, Delivery
from cti_django.connectors.sip.connector import SIPConnector
from cti_django.connectors.voipstudio.connector import VoIPstudioConnector
from cti_django.connectors.webhook.bodies import MAX_VALUE
from cti_django.connectors.webhook.connector import WebhookConnector
from cti_django.exceptions import ConnectionLost, LoginRefused
from cti_django.sandbox.faults import Fault
from cti_django.sandbox.server import Sandbox, run_sandbox
from cti_django.testing import FakeConnector
from cti_django.testing.contract import ConnectorContractTests
from cti_django.testing.world import ConnectorWorld

GB = NumberPlan(region="GB", extension_pattern=r"[1-9][0-9]{3,4}")
ALICE, BOB = "10031", "10032"


class FakeWorld(ConnectorWorld):
    """The fake connector is its own telephone system."""

    def __init__(self) -> None:
        self._phone = self.colleague()  # which knows the agent's calls when no connector listens
        self._connectors: list[FakeConnector] = []
        self._fault: Exception | None = None
        self._calls = 0

    def connector(self, **options: Any) -> Connector:
        connector = self.colleague(**options)
        connector.legs = self._phone.legs
        connector.open_errors = [self._fault] if self._fault else []
        self._connectors.append(connector)
        return connector

    def colleague(self, **options: Any) -> FakeConnector:
        credentials = Credentials(username="alice", password="correct horse")
        return FakeConnector(credentials, {"obeys": True, **options}, number_plan=GB)

    async def ring(self, number: str, name: str) -> None:
        self._calls += 1
        self._caller, self._began_at = (number, name), datetime.now(UTC)
        self._say(CallState.RINGING)

    async def answer(self) -> None:
        self._say(CallState.CONNECTED)

    async def hang_up(self) -> None:
        self._say(CallState.HANGUP)

    async def lose_line(self) -> None:
        self._refuse(ConnectionLost("The telephone system cannot be reached."))

    async def restore_line(self) -> None:
        for connector in self._connectors:
            connector.open_errors.clear()

    async def refuse_login(self) -> None:
        self._refuse(LoginRefused("The telephone system refuses this password."))

    def lines(self) -> int:
        return sum(not connector.closed for connector in self._connectors)

    def _refuse(self, fault: Exception) -> None:
        self._fault = fault
        for connector in self._connectors:
            connector.lose(fault)
            connector.open_errors = [fault]

    def _say(self, state: CallState) -> None:
        for connector in (self._phone, *self._connectors):
            connector.leg(state, *self._caller, provider_call_id=f"{self._calls}", started_at=self._began_at)


class TestFake(ConnectorContractTests):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()


class VoIPstudioWorld(ConnectorWorld):
    """The sandbox PBX."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._password = "sandbox"

    def connector(self, **options: Any) -> Connector:
        return self._connector("alice@example.com", **options)

    def colleague(self, **options: Any) -> Connector:
        return self._connector("bob@example.com", **options)

    def _connector(self, username: str, **options: Any) -> Connector:
        urls = {"api_url": self._sandbox.api_url, "sip_url": self._sandbox.sip_url}
        return VoIPstudioConnector(
            Credentials(username=username, password=self._password), {**urls, **options}, number_plan=GB
        )

    async def ring(self, number: str, name: str) -> None:
        self._call = self._sandbox.switch.ring(ALICE, number, name)

    async def answer(self) -> None:
        self._sandbox.switch.answer(self._call.call_id)

    async def hang_up(self) -> None:
        self._sandbox.switch.hang_up(self._call.call_id)

    async def lose_line(self) -> None:
        self._sandbox.misbehave(Fault.REFUSE_SOCKETS)
        self._sandbox.misbehave(Fault.DROP_LINE)

    async def restore_line(self) -> None:
        self._sandbox.misbehave(Fault.CLEAR)

    async def refuse_login(self) -> None:
        self._sandbox.switch.users[ALICE].password = "another"

    def lines(self) -> int:
        return len(self._sandbox.sip.connections_of())


class TestVoIPstudio(ConnectorContractTests):
    @pytest.fixture
    async def world(self) -> AsyncIterator[VoIPstudioWorld]:
        async with run_sandbox() as sandbox:
            yield VoIPstudioWorld(sandbox)


class SIPWorld(VoIPstudioWorld):
    """The sandbox again, as what it also is: a SIP server over WebSocket, with dialog events and digest."""

    def connector(self, **options: Any) -> Connector:
        return self._line(ALICE, options)

    def colleague(self, **options: Any) -> Connector:
        return self._line(BOB, options)

    def _line(self, user: str, options: dict[str, Any]) -> Connector:
        reach = {"server": self._sandbox.sip_url, "domain": self._sandbox.sip_domain}
        password = self._sandbox.switch.users[user].sip_password if not self._password else self._password
        return SIPConnector(Credentials(username=user, password=password), {**reach, **options}, number_plan=GB)

    async def refuse_login(self) -> None:
        self._sandbox.switch.users[ALICE].sip_password = "another password"


class TestSIP(ConnectorContractTests):
    @pytest.fixture
    async def world(self) -> AsyncIterator[SIPWorld]:
        async with run_sandbox() as sandbox:
            world = SIPWorld(sandbox)
            world._password = ""
            yield world


class WebhookWorld(ConnectorWorld):
    """A system that pushes: its deliveries are given to every connector, as the journal above it does."""

    secrets = ("a-secret-of-32-characters-at-least",)
    subscribes = False

    def __init__(self) -> None:
        self._connectors: list[WebhookConnector] = []
        self._journal: list[Delivery] = []
        self._calls = 0

    def connector(self, **options: Any) -> Connector:
        return self._connector("Alice", options)

    def colleague(self, **options: Any) -> Connector:
        return self._connector("Bob", options)

    def _connector(self, username: str, options: dict[str, Any]) -> Connector:
        endpoint = {"shape": "generic", "auth": "hmac", "secret": self.secrets[0]}
        given = {"endpoints": {"main": endpoint}, "dial_url": "http://127.0.0.1:9/calls", **options}
        connector = WebhookConnector(Credentials(username=username), given, number_plan=GB)
        for delivery in self._journal:
            connector.receive(delivery)
        self._connectors.append(connector)
        return connector

    async def ring(self, number: str, name: str) -> None:
        self._calls += 1
        # What is longer is refused before it is a delivery.
        self._caller = {"from": number[:MAX_VALUE], "from_name": name[:MAX_VALUE]}
        self._push("ringing")

    async def answer(self) -> None:
        self._push("answered")

    async def hang_up(self) -> None:
        self._push("ended")

    def _push(self, event: str) -> None:
        about = {"direction": "inbound", "to": "442079460000", "agent": "Alice", "call_id": f"call-{self._calls}"}
        fields = {name: (value,) for name, value in {"event": event, **about, **self._caller}.items()}
        delivery = Delivery(endpoint="main", received_at=datetime.now(UTC), fields=fields)
        self._journal.append(delivery)
        for connector in self._connectors:
            connector.receive(delivery)

    def lines(self) -> int:
        return 0


class TestWebhook(ConnectorContractTests):
    @pytest.fixture
    def world(self) -> WebhookWorld:
        return WebhookWorld()
