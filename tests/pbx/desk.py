"""An agent at her desk: a real phone beside her, a session on her screen, and all that the session has told.

For any connector: flows are played against it, and then compared as whole lists of events.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

from cti_django.calls.commands import parse_command
from cti_django.calls.events import Call, CallEvent, Event, SessionEvent
from cti_django.calls.numbers import Party, PartyKind
from cti_django.calls.states import CallState, Direction
from cti_django.connectors.base import Connector
from cti_django.sessions.backoff import Backoff
from cti_django.sessions.session import AgentSession, CommandAnswer, LinkState, SessionState

__all__ = ["SECONDS", "Desk", "desk"]

SECONDS = 20.0
"""Within this happens what a test waits for."""

_ABOUT_THE_LOG_IN = {"LOGGED_IN", "SUBSCRIBED", "READY", "LOGGED_OUT"}
_ids = count(1)


def _at_once() -> Backoff:
    return Backoff(first_seconds=0.1, ceiling_seconds=0.4)


class Desk:
    """One agent and her session.

    Attributes:
        agent: her extension.
        session: runs while the desk is open.
        events: every event of a call and every INFO and ERROR, in order.
    """

    def __init__(self, connector: Connector, agent: str, *, command_seconds: float = 10.0) -> None:
        self.agent = agent
        self.events: list[Event] = []
        self.session = AgentSession(
            connector, self._hear, number=agent, backoff=_at_once(), command_seconds=command_seconds
        )
        self._news = asyncio.Event()

    @property
    def story(self) -> list[str]:
        """The events, one line each: "RINGING in +33123456789 Marie Curie", "HANGUP out 1002 Agent 1002: busy".

        Whom she asks before a transfer is told by number alone: when the name is learnt, which is another UPDATED,
        depends on what the PBX happens to say first.
        """
        lines = [_told(event) for event in self.events]
        return [
            line
            for before, line in zip(["", *lines], lines, strict=False)
            if not (line == before and line.startswith("UPDATED"))
        ]

    @property
    def call(self) -> Call:
        """Her newest call that lives.

        Raises:
            AssertionError: there is none.
        """
        live = [call for call in self.session.board.calls() if call.is_own and not call.state.is_final]
        assert live, f"{self.agent} has no call: {self.story}"
        return live[-1]

    def calls(self, state: CallState | None = None) -> list[Call]:
        """Her live calls; those in `state` only."""
        own = (call for call in self.session.board.calls() if call.is_own and not call.state.is_final)
        return [call for call in own if state in (None, call.state)]

    async def command(self, name: str, call: Call | None = None, **fields: str) -> CommandAnswer:
        """Give a command as her browser does; for `call`, or for her newest one where it needs one."""
        if name not in ("call", "queue_login", "queue_logout", "pause", "unpause", "dnd", "logout"):
            fields["call_id"] = (call or self.call).call_id
        return await self.session.command(parse_command({"command": name, "id": f"test-{next(_ids)}", **fields}))

    async def does(self, name: str, call: Call | None = None, **fields: str) -> None:
        """The same, for a command that must be carried out."""
        answer = await self.command(name, call, **fields)
        assert answer.ok, f"{self.agent} {name}: {answer.message} ({answer.code}); {self.story}"

    async def hears(self, line: str, times: int = 1) -> None:
        """Wait until so many lines of her story begin with `line` ("CONNECTED", "UPDATED in +33")."""
        await self.until(lambda: sum(told.startswith(line) for told in self.story) >= times, f"{line} ({times})")

    async def is_linked(self, state: LinkState = LinkState.READY) -> None:
        """Wait until her session stands like this with the telephone system."""
        await self.until(lambda: self.session.state.state is state, state.value)

    async def until(self, is_so: Callable[[], bool], what: str = "what was waited for") -> None:
        """Wait until something holds that events may change."""
        try:
            async with asyncio.timeout(SECONDS):
                while not is_so():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{self.agent} did not hear {what}: {self.story}, {self.session.state}") from None

    async def _hear(self, said: Event | SessionState) -> None:
        is_log_in = isinstance(said, SessionEvent) and said.name in _ABOUT_THE_LOG_IN
        if not isinstance(said, SessionState) and not is_log_in:
            self.events.append(said)
        self._news.set()


def _told(event: Event) -> str:
    if isinstance(event, SessionEvent):
        return f"{event.name} {event.code}"
    assert isinstance(event, CallEvent)
    call = event.call
    way = "in" if call.direction is Direction.INBOUND else "out"
    words = [event.name, way, *_names(call.remote)]
    if call.consult is not None:
        words += ["asks", _names(call.consult)[0]]
    return " ".join(words) + (f": {call.end_reason}" if call.end_reason else "")


def _names(party: Party) -> list[str]:
    shown = party.number or party.extension or party.number_raw
    if party.kind in (PartyKind.WITHHELD, PartyKind.UNAVAILABLE):
        shown = party.kind.value
    return [shown, party.name] if party.name else [shown]


@asynccontextmanager
async def desk(connector: Connector, agent: str, *, command_seconds: float = 10.0) -> AsyncIterator[Desk]:
    """Her session, ready; logged out afterwards."""
    place = Desk(connector, agent, command_seconds=command_seconds)
    running = asyncio.create_task(place.session.run())
    try:
        await place.is_linked()
        yield place
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
