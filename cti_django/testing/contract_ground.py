"""The ground that the contract tests stand on: lines that are opened and closed again, and what always holds."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from ..calls.commands import Command, parse_command
from ..calls.events import Call
from ..calls.notifications import (
    DialNotification,
    LegNotification,
    PresenceNotification,
    SessionNotification,
    Snapshot,
)
from ..calls.numbers import MAX_RAW, Party, classify
from ..calls.states import CallState, Direction
from ..connectors.base import Connector, Finding
from ..exceptions import CommandRefused
from .listener import Listener
from .world import ConnectorWorld

__all__ = ["CALLER", "NAME", "ContractGround", "commands", "unknown_call"]

CALLER, NAME = "+442079460018", "Dana Field"
_FORBIDDEN = frozenset(map(chr, (*range(32), *range(127, 160), 0x2028, 0x2029, 0x200B, 0x202E)))
_POLL_SECONDS = 0.01
_IS_OURS: ContextVar[bool] = ContextVar("cti_django.testing", default=False)

_FIELDS: dict[str, str] = {
    "call_id": "c1",
    "number": "10032",
    "digits": "1",
    "queue": "",
    "reason": "",
    "state": "on",
    "node": "user:10032",
    "url": "https://crm.example/1",
    "text": "Dana",
}
_ABOUT_CALLS = ("answer", "hangup", "hold", "resume", "transfer", "consult", "complete", "back", "dtmf", "link")
_OTHERS = ("call", "queue_login", "queue_logout", "pause", "unpause", "dnd", "subscribe")


def commands() -> list[Command]:
    """One of each kind that has a capability."""
    return [parse_command({"command": name, "id": f"contract-{name}", **_FIELDS}) for name in (*_ABOUT_CALLS, *_OTHERS)]


def unknown_call() -> Call:
    """A call that no telephone system has."""
    return Call(
        call_id="c1",
        provider_call_id="no-such-call",
        leg_id="no-such-leg",
        state=CallState.RINGING,
        direction=Direction.INBOUND,
        source=classify(CALLER),
        destination=classify("10031"),
    )


@pytest.mark.asyncio
class ContractGround:
    """What all contract tests share.

    Attributes:
        patience_seconds: how long a test waits for what must come.
    """

    patience_seconds = 5.0

    def listener(self, connector: Connector, before: Listener | None = None) -> Listener:
        """Listens to an open connector, on the board of an earlier listener if there is one."""
        board = before.board if before else None
        return Listener(connector, board, patience_seconds=self.patience_seconds)

    @asynccontextmanager
    async def opened(
        self, world: ConnectorWorld, connector: Connector | None = None
    ) -> AsyncIterator[tuple[Connector, Listener]]:
        """A connector (a new one of the agent's) whose line is up, and what it says; closed in the end."""
        connector = connector or world.connector()
        try:
            async with asyncio.timeout(self.patience_seconds):
                await connector.open()
            heard = self.listener(connector)
            await heard.until_ready()
            yield connector, heard
            await heard.stop()
        finally:
            await connector.close()

    @staticmethod
    @contextmanager
    def refused(command: Command) -> Iterator[None]:
        """What happens inside is refused, with a sentence."""
        error = None
        try:
            yield
        except CommandRefused as refused:
            error = refused
        assert error is not None, f"{type(command).__name__} for a call that there is not was taken"
        assert str(error).strip(), f"{type(command).__name__} was refused without a sentence"

    @asynccontextmanager
    async def leaving_nothing(self, world: ConnectorWorld) -> AsyncIterator[None]:
        """What happens inside leaves no task behind, and no connection if the world counts them."""
        begun: list[asyncio.Task[Any]] = []
        loop = asyncio.get_running_loop()
        former, ours = loop.get_task_factory(), _IS_OURS.set(True)
        loop.set_task_factory(partial(_task, former, begun))
        try:
            yield
        finally:
            loop.set_task_factory(former)
            _IS_OURS.reset(ours)
        for _ in range(round(self.patience_seconds / _POLL_SECONDS)):  # a connection takes a moment to close
            if all(task.done() for task in begun) and not self.lines(world):
                break
            await asyncio.sleep(_POLL_SECONDS)
        assert [task for task in begun if not task.done()] == []
        assert self.lines(world) == 0, "connections were left open"

    @staticmethod
    def lines(world: ConnectorWorld) -> int:
        """How many connections there are, 0 if nobody counts them."""
        try:
            return world.lines()
        except pytest.skip.Exception:
            return 0

    async def examine(self, connector: Connector) -> list[Finding]:
        """Everything that the connector finds out about itself."""
        async with asyncio.timeout(6 * self.patience_seconds):
            return [finding async for finding in connector.examine()]

    def check_findings(self, world: ConnectorWorld, connector: Connector, findings: list[Finding]) -> None:
        """Each is a plain sentence without secrets."""
        secrets = self.secrets(world, connector)
        for finding in findings:
            assert isinstance(finding, Finding)
            assert finding.step.strip()
            assert finding.message.strip()
            assert "\n" not in finding.step + finding.message
            texts = (finding.step, finding.message, finding.advice)
            assert not [secret for secret in secrets for text in texts if secret in text]

    @staticmethod
    def secrets(world: ConnectorWorld, connector: Connector) -> list[str]:
        """What may be shown nowhere."""
        credentials = connector.credentials
        return [secret for secret in (credentials.password, credentials.api_key, *world.secrets) if len(secret) > 3]

    def check_said(self, heard: Listener) -> None:
        """Every notification is one, and its parties are classified and capped."""
        kinds = (LegNotification, DialNotification, SessionNotification, PresenceNotification, Snapshot)
        assert all(isinstance(said, kinds) for said in heard.said)
        for leg in heard.legs():
            for party in filter(None, (leg.local, leg.remote, leg.consult)):
                self.check_party(party)

    @staticmethod
    def check_party(party: Party) -> None:
        """Its texts are capped, and hold no control characters."""
        for text in (party.number_raw, party.name, party.number, party.extension):
            assert len(text) <= MAX_RAW, f"a party's text has {len(text)} characters"
            assert not _FORBIDDEN & set(text), f"control characters in {text!r}"


def _task(former: Callable[..., Any] | None, begun: list[asyncio.Task[Any]], *args: Any, **more: Any) -> Any:
    """A task factory that notes what the test, and whatever it has begun, begins; the world's own tasks are not."""
    loop, coroutine = args
    task = former(loop, coroutine, **more) if former else asyncio.Task(coroutine, loop=loop, **more)
    if _IS_OURS.get():
        begun.append(task)
    return task
