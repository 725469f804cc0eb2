"""The fixture ``pbx`` for a project's own tests: a telephone system in memory, behind real sessions and pops.

In ``conftest.py``: ``pytest_plugins = ["cti_django.testing.fixtures"]``. Then::

    def test_a_known_caller_pops(pbx, alice, dana):
        pbx.ring("+442079460018", to=alice)
        assert pbx.pops[0].record_url == dana.get_absolute_url()

In an async test each verb has its twin: ``await pbx.aring(...)``.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any, TypeVar

import pytest

from .. import calllog, contacts
from ..calls.commands import Dial, parse_command
from ..calls.events import Call, CallEvent, Event
from ..calls.notifications import DialNotification, DialStage
from ..calls.numbers import read_number
from ..calls.states import CallState, Direction
from ..conf import get_settings, project_setting
from ..connectors.base import Credentials
from ..models import ConnectorAccount
from ..sessions import bus
from ..sessions.access import PERMISSION, may_use_telephone
from ..sessions.desk import Desk
from ..sessions.herald import ask_for_veto
from ..sessions.pop import PopPolicy
from ..sessions.registry import build_connector
from ..sessions.session import AgentSession, CommandAnswer, LinkState, SessionState, call_id_for
from ..threads import DatabaseThreads
from .connection import commit, one_connection
from .fake_connector import FakeConnector

__all__ = ["PBX", "Pop", "pbx"]

T = TypeVar("T")

CONNECTOR = "fake"
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pop:
    """One pop that an agent's elected tab was offered.

    Args:
        agent: the user who got it.
        call_id: of the call that it is about.
        number: the other side, E.164 or an extension.
        action: "open" or "card".
        url: the page that pops; it leads on to the record, or asks which one.
        match: "one", "several", "none", "withheld", "internal" or "forbidden".
        contacts: the records that the caller may be, as the socket's protocol has them (label, detail, url ...).
    """

    agent: Any
    call_id: str
    number: str
    action: str
    url: str
    match: str
    contacts: tuple[dict[str, Any], ...]

    @property
    def record_url(self) -> str:
        """The record's own page if it is certain who calls, else ""."""
        return str(self.contacts[0]["url"]) if self.match == "one" else ""


@dataclass(slots=True)
class _Line:
    """One agent's session."""

    agent: Any
    connector: FakeConnector
    session: AgentSession
    running: "asyncio.Task[None]"
    ready: asyncio.Event = field(default_factory=asyncio.Event)


class PBX:
    """The telephones of all agents. Verbs return when everything that follows from them has happened.

    Attributes:
        pops: what popped, and for whom.
        events: every call event of every agent.
        dialled: the numbers that agents called, E.164 or extensions.
    """

    def __init__(self) -> None:
        self.pops: list[Pop] = []
        self.events: list[CallEvent] = []
        self.dialled: list[str] = []
        self._lines: dict[Any, _Line] = {}
        self._ids = count(1)
        self._offered: dict[str, Any] = {}
        self._unwritten: set[str] = set()
        self._failure: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # of tests that are not async

    # -- what happens -------------------------------------------------------------------------------------------

    def ring(self, number: str, *, to: Any, name: str = "") -> Call:
        """Somebody calls an agent, whose phone rings.

        Args:
            number: as her telephone system would write it: E.164, an extension, "anonymous".
            to: the agent, a user with the permission to use the telephone.
            name: the caller's name, if the telephone system tells one.
        """
        return self._run(self.aring(number, to=to, name=name))

    def answer(self, call: Call | None = None) -> Call:
        """A ringing phone is picked up: the agent's, or the other side's; `call` None: of the newest call.

        Of a click-to-call first the agent's own phone (then the other side rings), then the other side's.
        """
        return self._run(self.aanswer(call))

    def hang_up(self, call: Call | None = None) -> Call:
        """A call is over; None: the newest one."""
        return self._run(self.ahang_up(call))

    def dial(self, number: str, *, by: Any) -> CommandAnswer:
        """An agent clicks `number`, written as on a page. Receivers of ``pre_dial`` are asked."""
        return self._run(self.adial(number, by=by))

    def command(self, name: str, *, by: Any, call: Call | None = None, **fields: str) -> CommandAnswer:
        """An agent asks for something else: "hold", "transfer" (number=...), "answer" ..., of the newest call."""
        return self._run(self.acommand(name, by=by, call=call, **fields))

    async def aring(self, number: str, *, to: Any, name: str = "") -> Call:
        """``ring`` in an async test."""
        line = await self._line(to)
        provider_call_id = str(next(self._ids))
        line.connector.leg(
            CallState.RINGING, number, name, provider_call_id=provider_call_id, started_at=datetime.now(UTC)
        )
        await self._settle()
        return next(call for call in line.session.board.calls() if call.provider_call_id == provider_call_id)

    async def aanswer(self, call: Call | None = None) -> Call:
        """``answer`` in an async test."""
        line, call = self._find(call)
        if call.state is CallState.INITIAL:
            provider_call_id = str(next(self._ids))
            stage = DialStage.ACCEPTED
            line.connector.say(
                DialNotification(
                    command_id=call.command_id,
                    destination=call.destination,
                    stage=stage,
                    provider_call_id=provider_call_id,
                )
            )
            self._leg(line, call, CallState.RINGING, provider_call_id)
        else:
            self._leg(line, call, CallState.CONNECTED)
        await self._settle()
        return self._now(line, call)

    async def ahang_up(self, call: Call | None = None) -> Call:
        """``hang_up`` in an async test."""
        line, call = self._find(call)
        if call.state is CallState.INITIAL:
            failed = DialNotification(
                command_id=call.command_id, destination=call.destination, stage=DialStage.FAILED, cause="No answer."
            )
            line.connector.say(failed)
        else:
            self._leg(line, call, CallState.HANGUP)
        await self._settle()
        return self._now(line, call)

    async def adial(self, number: str, *, by: Any) -> CommandAnswer:
        """``dial`` in an async test."""
        line = await self._line(by)
        veto = await ask_for_veto(by.pk, number, line.connector.number_plan)
        if veto:
            return CommandAnswer(ok=False, message=veto, code="vetoed")
        answer = await self._give(line, {"command": "call", "number": number})
        if answer.ok:
            dialled, _ = line.connector.executed[-1]
            assert isinstance(dialled, Dial)
            self.dialled.append(read_number(dialled.number, line.connector.number_plan.region) or dialled.number)
        return answer

    async def acommand(self, name: str, *, by: Any, call: Call | None = None, **fields: str) -> CommandAnswer:
        """``command`` in an async test."""
        line = await self._line(by)
        if call is None and (live := line.session.board.calls()):
            call = live[-1]
        named = {"call_id": call.call_id} if call else {}
        return await self._give(line, {"command": name, **named, **fields})

    # -- what there is ------------------------------------------------------------------------------------------

    @property
    def calls(self) -> list[Call]:
        """The calls that go on, of all agents."""
        return [call for line in self._lines.values() for call in line.session.board.calls()]

    @property
    def event_names(self) -> list[str]:
        """The names of ``events``: ["RINGING", "CONNECTED", "HANGUP"]."""
        return [event.name.value for event in self.events]

    # -- inside -------------------------------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Have `work` done in a test that is not async."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
            return self._loop.run_until_complete(work)
        work.close()
        raise RuntimeError("This is an async test: await pbx.aring(...), pbx.aanswer(...) and so on.")

    async def _line(self, agent: Any) -> _Line:
        await _THREADS.run(commit)
        line = self._lines.get(agent.pk)
        if line is None:
            line = self._lines[agent.pk] = await self._open(agent)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await line.ready.wait()
        return line

    async def _open(self, agent: Any) -> _Line:
        account, may = await _THREADS.run(_look_up, agent)
        assert may, f"{agent} may not use the telephone: give her the permission {PERMISSION}."
        settings = get_settings()
        desk = Desk(agent_id=agent.pk, connector=CONNECTOR)
        desk.region = (account.region if account else "") or settings.region
        desk.pop_policy = PopPolicy(
            action=(account.pop_action if account else "") or settings.pop_action,
            when=(account.pop_when if account else "") or settings.pop_when,
        )
        connector = build_connector(CONNECTOR, Credentials(), {"obeys": True}, desk.region)
        assert isinstance(connector, FakeConnector)
        tell = partial(self._tell, desk)
        session = AgentSession(connector, tell, new_id=partial(call_id_for, f"{agent.pk} {CONNECTOR}"))
        desk.session = session
        return _Line(agent, connector, session, asyncio.ensure_future(session.run()))

    async def _tell(self, desk: Desk, said: Event | SessionState) -> None:
        try:
            await desk.tell(said)
        except Exception as error:  # a session goes on all the same; a test must not
            self._failure = error
        if isinstance(said, CallEvent):
            self.events.append(said)
            self._unwritten.add(said.call.call_id)
        elif isinstance(said, SessionState) and said.state is LinkState.READY:
            self._lines[desk.agent_id].ready.set()

    def note_published(self, agent_id: Any, envelope: dict[str, Any]) -> None:
        """An agent's tabs hear something: keep it if it offers a pop that was not offered before."""
        call = envelope.get("event", {}).get("call") or {}
        pop = call.get("pop")
        if not pop or self._offered.get(call["id"]) == (pop, call["number"]):
            return
        self._offered[call["id"]] = (pop, call["number"])
        self.pops.append(
            Pop(
                agent=self._lines[agent_id].agent,
                call_id=call["id"],
                number=call["number"],
                action=pop["action"],
                url=pop["url"],
                match=call["match"],
                contacts=tuple(call["contacts"]),
            )
        )

    async def _give(self, line: _Line, message: dict[str, str]) -> CommandAnswer:
        answer = await line.session.command(parse_command({**message, "id": f"test-{next(self._ids)}"}))
        await self._settle()
        return answer

    def _find(self, call: Call | None) -> tuple[_Line, Call]:
        for line in reversed(self._lines.values()):
            for live in reversed(line.session.board.calls()):
                if call is None or live.call_id == call.call_id:
                    return line, live
        raise AssertionError("There is no such call, or it is over.")

    def _leg(self, line: _Line, call: Call, state: CallState, provider_call_id: str = "") -> None:
        remote = call.remote
        line.connector.leg(
            state,
            remote.number_raw,
            remote.name,
            provider_call_id=provider_call_id or call.provider_call_id,
            direction=Direction(call.direction),
            started_at=call.started_at,
        )

    def _now(self, line: _Line, call: Call) -> Call:
        return line.session.board.get(call.call_id) or call

    async def _settle(self) -> None:
        """Return when everybody has heard everything, and the call log and the signal receivers have it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            for line in list(self._lines.values()):
                await line.connector.heard()
            while self._unwritten:
                await _THREADS.run(calllog.outbox.write_now, self._unwritten.pop())
            await _THREADS.run(lambda: None)  # behind the signal receivers, whose thread is the same
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Hang everything up. To be called when the test is over."""
        for line in self._lines.values():
            line.running.cancel()
        if self._loop is not None:
            self._loop.run_until_complete(_end_all_tasks())
            self._loop.close()


async def _end_all_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


_THREADS = DatabaseThreads(1, "cti-testing")


def _look_up(agent: Any) -> tuple[ConnectorAccount | None, bool]:
    """The agent's account, and whether she may use the telephone, as the database has it now."""
    fresh = type(agent)._default_manager.get(pk=agent.pk)
    return ConnectorAccount.objects.filter(user_id=agent.pk).first(), may_use_telephone(fresh)


@pytest.fixture
def pbx(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[PBX]:
    """A telephone system in memory (``PBX``), for tests with ``db`` or ``transactional_db``, async or not.

    Agents need a user with the permission ``cti_django.use_telephone``, and no account. No browser, Redis or network.
    """
    own = dict(project_setting("CTI_DJANGO", {}))
    path = f"{FakeConnector.__module__}.{FakeConnector.__qualname__}"
    settings.CTI_DJANGO = {
        **own,
        "CONNECTOR": CONNECTOR,
        "CONNECTORS": {**own.get("CONNECTORS", {}), CONNECTOR: path},
        "MATCH_SECONDS": PATIENCE_SECONDS,  # a slow machine is no reason for a pop without its contact
    }
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    contacts.forget_rights()
    calllog.outbox.discard()
    monkeypatch.setattr(calllog.outbox, "_start", lambda: None)
    monkeypatch.setattr(calllog.outbox, "flush", lambda timeout=0.0: True)
    telephones = PBX()
    publish = bus.publish

    async def note(agent_id: Any, envelope: dict[str, Any]) -> bool:
        telephones.note_published(agent_id, envelope)
        return await publish(agent_id, envelope)

    monkeypatch.setattr(bus, "publish", note)
    with one_connection(monkeypatch):
        try:
            yield telephones
        finally:
            telephones.close()
            calllog.outbox.discard()
            contacts.forget_rights()
