"""What tabs want: the face of a process's sessions to its consumers, and to those of other processes.

A tab attaches, asks for a session, sends commands, detaches. The session belongs to the agent, not to the tab: all her
tabs share it, whichever process they are connected to, and it lingers for a while after the last one, so that a page
load does not log her out. What a tab wants goes to her desk here if this process holds her lease, else to the holder.
"""

import asyncio
import atexit
import contextlib
import logging
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from .. import calllog, contacts, metrics
from ..calls.commands import Capability, Command, Dial, parse_command
from ..calls.events import EventName, SessionEvent
from ..conf import get_settings
from ..connectors.base import Credentials
from ..exceptions import CTIError
from ..threads import WORK_THREADS
from . import lease
from .desk import Desk
from .exchange import UNHEARD, Exchange
from .herald import ask_for_veto
from .office import UNKNOWN, Office
from .rounds import Rounds
from .session import CommandAnswer, LinkState, SessionState
from .tabs import Tab
from .tenure import NO_ACCOUNT, has_account, proof

__all__ = ["SessionHost", "current_host", "get_host", "shut_down"]

logger = logging.getLogger(__name__)

REVIEW_SECONDS = 0.2  # from a change of an agent's rights to a new look at what she may see
LOGIN_SECONDS = 1.0  # how long a holder may take to say whether a log-in joins; meanwhile nobody can take over
AT_EXIT_SECONDS = 3.0  # how long the process's end may wait for what the database has not taken yet
NOT_CONNECTED = CommandAnswer(ok=False, message="You are not connected to the telephone system.", code="not_connected")
OUTDATED = CommandAnswer(
    ok=False,
    code="outdated",
    message="Your session has moved to another server meanwhile. Look at your calls, and try again.",
)


class SessionHost:
    """All the sessions and tabs of one process (one event loop)."""

    def __init__(self) -> None:
        self._exchange = Exchange(self)
        self.office = Office(self._exchange)
        self._rounds = Rounds(self.office)
        self.held_agent = self.office.held_agent

    # -- tabs ---------------------------------------------------------------------------------------------------

    def attach(self, agent_id: Any, tab: Tab, *, focused: bool) -> None:
        """A tab has connected to this process. It gets its snapshot soon, from wherever the session is run."""
        tab.holder = self.office.holder
        desk = self.office.desk(agent_id)
        desk.tabs.sit_down(tab, focused=focused)
        self.office.stay(agent_id)
        self.office.begin(self._settle(desk, tab, focused=focused))

    async def _settle(self, desk: Desk, tab: Tab, *, focused: bool) -> None:
        self._rounds.start()
        await self.office.mailbox.start()
        async with self.office.turn(desk.agent_id):
            if desk.tabs.get(tab.tab_id) is not tab:
                return  # it has gone meanwhile
            if not self.office.runs(desk.agent_id):
                await self.office.find_holder(desk)
            if desk.elsewhere:
                await self._exchange.present(desk, tab, focused=focused)
            else:
                await desk.tabs.elect(desk.fence)
                await desk.send_snapshot(tab.tab_id)

    async def detach(self, agent_id: Any, tab: Tab) -> None:
        """A tab has gone from this process."""
        desk = self.office.desks.get(agent_id)
        if desk is None:
            return
        if not self.office.runs(agent_id) and desk.elsewhere:
            await self._exchange.tell(desk, "leave", tab_id=tab.tab_id, channel=tab.channel_name)
        await self.leave(agent_id, tab.tab_id, tab.channel_name)

    async def leave(self, agent_id: Any, tab_id: str, channel_name: str) -> None:
        """A tab of the agent has gone. After the last one the session lingers, then it is closed."""
        desk = self.office.desks.get(agent_id)
        if desk is not None and desk.tabs.stand_up(tab_id, channel_name):
            await self.office.tabs_gone(desk)

    async def seat(self, agent_id: Any, tab: Tab, *, focused: bool, wants_snapshot: bool) -> None:
        """A tab that is connected to another process presents itself to the session that this one runs."""
        desk = self.office.desk(agent_id)
        desk.tabs.sit_down(tab, focused=focused)
        self.office.stay(agent_id)
        await desk.tabs.elect(desk.fence)
        if wants_snapshot:
            await desk.send_snapshot(tab.tab_id)

    async def present(self, agent_id: Any, tab: Tab, holder: str, fence: int) -> None:
        """`holder` runs the session from now on: a tab of this process presents itself there. "": nobody shall."""
        desk = self.office.desks.get(agent_id)
        if desk is None or fence < desk.fence:
            return
        desk.is_wanted = bool(holder)
        if holder in ("", self.office.holder):
            return
        if self.office.runs(agent_id):
            if fence > desk.fence:
                self.office.keeper.lose([agent_id])  # it ran out unnoticed: this process was held up
            return
        if fence > desk.fence:
            desk.credentials = None  # what she typed here may not be what she uses now
        desk.fence, desk.elsewhere = fence, holder
        self.office.keeper.watch(agent_id)
        await self._exchange.present(desk, tab)

    async def focus(self, agent_id: Any, tab_id: str) -> None:
        """A tab has got the focus: it is the one that rings and pops now."""
        desk = self.office.desks.get(agent_id)
        if desk is None:
            return
        desk.tabs.focus(tab_id)
        if self.office.is_elsewhere(desk):
            await self._exchange.tell(desk, "focus", tab_id=tab_id)
        else:
            await desk.tabs.elect(desk.fence)

    async def send_snapshot(self, agent_id: Any, tab_id: str) -> None:
        """Send a tab what it must know when it has missed something."""
        desk = self.office.desks.get(agent_id)
        if desk is None:
            return
        tab = desk.tabs.get(tab_id)
        if not self.office.is_elsewhere(desk):
            await desk.send_snapshot(tab_id)
        elif tab is not None:
            await self._exchange.present(desk, tab)  # the holder may have missed it

    # -- what tabs want -----------------------------------------------------------------------------------------

    async def login(self, agent_id: Any, credentials: Credentials | None = None) -> CommandAnswer:
        """See to it that the agent has a session: join the one there is, or start one here.

        Args:
            credentials: as typed by the agent; None for her stored account.
        """
        async with self.office.turn(agent_id):
            desk = self.office.desks.get(agent_id)
            if desk is None:
                return CommandAnswer(ok=False, message="The page is not connected.", code="not_attached")
            if not self.office.runs(agent_id):
                await self.office.find_holder(desk)
            if self.office.is_elsewhere(desk) and desk.elsewhere != UNKNOWN:
                given = proof(credentials) if credentials else ""
                answer = await self._exchange.ask(desk, "login", LOGIN_SECONDS, proof=given)
                if answer.ok or answer.code != "other_credentials":
                    # Without an answer the session is on its way from one process to another; it will be here soon.
                    desk.is_wanted = True
                    desk.credentials = None if answer.ok else credentials
                    return CommandAnswer(ok=True)
            tenure = self.office.tenures.get(agent_id)
            if tenure is not None and tenure.joins(credentials):
                if desk.session is not None:
                    desk.session.retry_now()
                return CommandAnswer(ok=True)
            if credentials is None and tenure is None and not await has_account(agent_id):
                # No lease for whoever only looks at pages that have a bar. She is told behind the answer.
                self.office.begin(desk.tell_standing(NO_ACCOUNT))
                return CommandAnswer(ok=True)
            # The former session lets go of the lease before the next one claims it.
            await self.office.stop(agent_id)
            # Whoever gets the answer must not take the former session's state for the new one's.
            await desk.tell(SessionState(state=LinkState.CONNECTING))
            desk.credentials = credentials
            self.office.start(desk)
            return CommandAnswer(ok=True)

    async def join_login(self, agent_id: Any, given: str) -> CommandAnswer:
        """Somebody has logged in through another process: whether the session here is hers, or goes there."""
        desk, tenure = self.office.desks[agent_id], self.office.tenures[agent_id]  # it is held: there are both
        if tenure.joins_by_proof(given):
            if desk.session is not None:
                desk.session.retry_now()
            return CommandAnswer(ok=True)
        if not given:
            await tenure.begin_anew(only_if_changed=False)
            return CommandAnswer(ok=True)
        desk.credentials = None
        await self.office.hand_over(agent_id, wanted_seconds=0.0)
        return CommandAnswer(ok=False, code="other_credentials")

    async def ask(self, agent_id: Any, tab: Tab, kind: str, message: dict[str, Any]) -> CommandAnswer:
        """Carry out what a tab of this process wants: a "command", a "pop", the "directory".

        Raises:
            InvalidCommand: the message makes no sense.
        """
        desk = self.office.desks.get(agent_id)
        if desk is None or not self.office.is_elsewhere(desk):
            answer = await self.act(agent_id, tab.tab_id, kind, message)
        elif self.office.is_silent(desk.elsewhere):
            answer = UNHEARD
        else:
            if kind == "command":
                parse_command(message)
            answer = await self._exchange.ask(desk, "act", tab_id=tab.tab_id, kind=kind, message=message)
            if answer.code == "timed_out" and kind == "command":
                now = datetime.now(UTC)
                said = SessionEvent(name=EventName.INFO, message=answer.message, code=answer.code, at=now)
                await desk.tell_tabs_here({"type": "event", "event": said.to_json()})
        if kind == "pop" and answer.ok:
            tab.note_popped(str(answer.data.get("key")))
        return answer

    async def act(self, agent_id: Any, tab_id: str, kind: str, message: dict[str, Any]) -> CommandAnswer:
        """Carry out what a tab wants on the session that this process runs. Raises InvalidCommand."""
        desk = self.office.desks.get(agent_id)
        command = parse_command(message) if kind == "command" else None
        if desk is None or desk.session is None or not self.office.keeper.holds(agent_id):
            return CommandAnswer(ok=True, data={"users": []}) if kind == "directory" else NOT_CONNECTED
        if command is not None:
            fence = message.get("fence")
            if isinstance(fence, int) and 0 <= fence != desk.fence:
                return OUTDATED
            with metrics.command_seconds.time():
                answer = await self._command(desk, command)
            metrics.commands_total.labels(name=str(message["command"]), outcome=answer.code or "ok").inc()
            return answer
        if kind == "pop":
            return desk.claim_pop(tab_id, str(message.get("call_id")), str(message.get("key") or ""))
        return await self._directory(desk)

    async def _command(self, desk: Desk, command: Command) -> CommandAnswer:
        session = desk.session
        assert session is not None
        if isinstance(command, Dial):
            veto = await ask_for_veto(desk.agent_id, command.number, session.connector.number_plan)
            if veto:
                return CommandAnswer(ok=False, message=veto, code="vetoed")
        if not self.office.keeper.holds(desk.agent_id):
            return NOT_CONNECTED
        return await session.command(command)

    async def _directory(self, desk: Desk) -> CommandAnswer:
        session = desk.session
        if session is None or Capability.DIRECTORY not in session.connector.capabilities:
            return CommandAnswer(ok=True, data={"users": []})
        try:
            async with asyncio.timeout(get_settings().command_seconds):
                return CommandAnswer(ok=True, data={"users": await session.connector.directory()})
        except TimeoutError:
            return CommandAnswer(ok=False, message="The list of colleagues did not come in time.", code="timed_out")
        except CTIError as error:
            return CommandAnswer(ok=False, message=str(error), code=error.code)

    async def review(self, agent_id: Any) -> None:
        """An agent's rights may have changed: her tabs show what she may see now."""
        desk = self.office.desks.get(agent_id)
        if desk is None or desk.is_under_review:
            return
        if self.office.is_elsewhere(desk):
            await self._exchange.tell(desk, "review")
            return
        if desk.session is None:
            return
        desk.is_under_review = True
        try:
            await asyncio.sleep(REVIEW_SECONDS)  # each of her tabs asks, and one change seldom comes alone
        finally:
            desk.is_under_review = False
        await contacts.arefresh_rights(agent_id)
        desk.review(await WORK_THREADS.run(calllog.recent_calls, agent_id, get_settings().recent_seconds))
        await desk.send_snapshots()

    async def note_changed(self, agent_id: Any, call_id: str, text: str) -> None:
        """The agent has saved a note on a call."""
        desk = self.office.desks.get(agent_id)
        if desk is None:
            return
        desk.note_changed(call_id, text)
        if self.office.is_elsewhere(desk):
            await self._exchange.tell(desk, "note", call_id=call_id, text=text)

    # -- without tabs, and the end --------------------------------------------------------------------------------

    async def keep(self, agent_id: Any) -> bool:
        """Run the agent's session without a tab, and keep it; False if another process has it."""
        self._rounds.start()
        return await self.office.keep(agent_id)

    def kept(self) -> set[Any]:
        """The agents whose sessions this process runs."""
        return set(self.office.tenures)

    def health(self) -> dict[str, bool]:
        """What of this process works: {"bus": .., "leases": ..}."""
        return {"bus": self.office.mailbox.is_heard, "leases": self.office.keeper.is_renewing}

    def delivered(self) -> None:
        """A telephone system has pushed something, and it is in the journal."""
        self.office.deliveries.look_now()

    async def shut_down(self) -> None:
        """End all sessions and hand them over, within two seconds. The process is about to end."""
        self._rounds.stop()
        await self.office.shut_down()


_hosts: "WeakKeyDictionary[asyncio.AbstractEventLoop, SessionHost]" = WeakKeyDictionary()


def _end_at_exit(loop: asyncio.AbstractEventLoop, host: SessionHost) -> None:
    """Not every server tells its application that it ends; whoever comes next should not have to wait."""
    with contextlib.suppress(Exception):
        if not (loop.is_closed() or loop.is_running()):
            loop.run_until_complete(host.shut_down())
    with contextlib.suppress(Exception):
        calllog.flush(AT_EXIT_SECONDS)
        lease.release(host.office.holder, wanted_seconds=get_settings().linger_seconds)


async def shut_down() -> None:
    """End the sessions of this process, and write what the call log still holds: what a server's shutdown calls."""
    host = current_host()
    if host is not None:
        await host.shut_down()
        await calllog.aflush(AT_EXIT_SECONDS)


def current_host() -> SessionHost | None:
    """The host of this process (of the running event loop), if it has one."""
    return _hosts.get(asyncio.get_running_loop())


def get_host() -> SessionHost:
    """The host of this process (of the running event loop), made at the first call."""
    loop = asyncio.get_running_loop()
    host = _hosts.get(loop)
    if host is None:
        host = _hosts[loop] = SessionHost()
        atexit.register(_end_at_exit, loop, host)
    return host
