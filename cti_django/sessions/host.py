"""The sessions that this process runs, and the tabs that look at them.

A tab attaches, asks for a session, sends commands, detaches. The session belongs to the agent, not to the tab: all her
tabs share it, and it lingers for a while after the last one, so that a page load does not log her out.
"""

import asyncio
import atexit
import contextlib
import logging
import math
import os
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from secrets import token_hex
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from django import db
from django.core.exceptions import ImproperlyConfigured

from .. import calllog, contacts
from ..calls.commands import Capability, Command, Dial
from ..calls.events import Call
from ..conf import get_settings
from ..connectors.base import Connector, Credentials
from ..exceptions import CTIError
from ..models import ConnectorAccount
from ..threads import LEASE_THREAD, WORK_THREADS, DatabaseThreads
from . import lease
from .access import PERMISSION
from .collector import Collector
from .desk import Desk, PopPolicy, Tab
from .herald import ask_for_veto
from .registry import build_connector
from .session import AgentSession, CommandAnswer, LinkState, SessionState

__all__ = ["SessionHost", "get_host", "shut_down"]

logger = logging.getLogger(__name__)

END_SECONDS = 3.0  # how long the process's end may wait for its sessions
REVIEW_SECONDS = 0.2  # from a change of an agent's rights to a new look at what she may see
CLAIM_SECONDS = 1.0  # between attempts while another process still holds the lease
TAKING_OVER = SessionState(
    state=LinkState.CONNECTING, code="taking_over", message="Your session is being taken over from another server."
)
WAITING_FOR_DATABASE = SessionState(
    state=LinkState.CONNECTING, code="no_database", message="The database cannot be reached. It is tried again."
)
TAKEN_OVER = SessionState(state=LinkState.NONE, code="taken_over", message="Your session is run by another server now.")
NO_ACCOUNT = SessionState(state=LinkState.NONE, code="no_account", message="You have no telephone account yet.")


class SessionHost:
    """All the sessions of one process (one event loop)."""

    def __init__(self, pop_path: Callable[[str], str]) -> None:
        self.holder = f"{socket.gethostname()[:30]}:{os.getpid()}:{token_hex(4)}"
        self._pop_path = pop_path
        self._desks: dict[Any, Desk] = {}
        self._stories: dict[Any, asyncio.Task[None]] = {}
        self._lingering: dict[Any, asyncio.TimerHandle] = {}
        self._turns: WeakValueDictionary[Any, asyncio.Lock] = WeakValueDictionary()
        self._chores: set[asyncio.Task[Any]] = set()
        self._collector = Collector()
        self._renewal: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._stale: list[Any] = []  # agents whose rights are to be looked up anew, in turn

    # -- tabs ---------------------------------------------------------------------------------------------------

    async def attach(self, agent_id: Any, tab: Tab, *, focused: bool) -> None:
        """A tab has connected."""
        desk = self._desks.get(agent_id)
        if desk is None:
            desk = self._desks[agent_id] = Desk(agent_id=agent_id, pop_path=self._pop_path)
        timer = self._lingering.pop(agent_id, None)
        if timer is not None:
            timer.cancel()
        desk.sit_down(tab, focused=focused)
        await desk.elect()

    async def detach(self, agent_id: Any, tab: Tab) -> None:
        """A tab has gone. After the last one the session lingers, then it is closed.

        A page whose line broke comes back under its id, often before its old socket is found dead.
        """
        desk = self._desks.get(agent_id)
        if desk is None or desk.tabs.get(tab.tab_id) is not tab:
            return
        del desk.tabs[tab.tab_id]
        if not desk.tabs:
            loop = asyncio.get_running_loop()
            seconds = get_settings().linger_seconds
            self._lingering[agent_id] = loop.call_later(seconds, self._stop_lingering, agent_id)
        await desk.elect()

    async def focus(self, agent_id: Any, tab_id: str) -> None:
        """A tab has got the focus: it is the one that rings and pops now."""
        desk = self._desks.get(agent_id)
        if desk is not None:
            desk.focus(tab_id)
            await desk.elect()

    async def send_snapshot(self, agent_id: Any, tab_id: str) -> None:
        """Send a tab what it must know when it has connected, or has missed something."""
        desk = self._desks.get(agent_id)
        if desk is not None:
            await desk.send_snapshot(tab_id)

    # -- the session --------------------------------------------------------------------------------------------

    async def login(self, agent_id: Any, credentials: Credentials | None = None) -> CommandAnswer:
        """See to it that the agent has a session: join the one there is, or start one.

        Args:
            credentials: as typed by the agent; None for her stored account.
        """
        async with self._turn(agent_id):
            desk = self._desks.get(agent_id)
            if desk is None:
                return CommandAnswer(ok=False, message="The page is not connected.", code="not_attached")
            if self._joins(desk, credentials):
                if desk.session is not None:
                    desk.session.retry_now()
                return CommandAnswer(ok=True)
            # The former session lets go of the lease before the next one claims it.
            await self._stop_story(agent_id)
            desk.credentials, desk.is_leaving = credentials, False
            # Whoever gets the answer must not take the former session's state for the new one's.
            await desk.tell(SessionState(state=LinkState.CONNECTING))
            self._stories[agent_id] = asyncio.ensure_future(self._story(desk, credentials))
            return CommandAnswer(ok=True)

    def _joins(self, desk: Desk, credentials: Credentials | None) -> bool:
        story = self._stories.get(desk.agent_id)
        is_ending = desk.is_leaving or (desk.session is not None and desk.session.is_over)
        if story is None or story.done() or is_ending:
            return False
        used = desk.credentials if desk.session is None else desk.session.connector.credentials
        return credentials is None or credentials == used

    def _turn(self, agent_id: Any) -> asyncio.Lock:
        """Whoever starts or stops an agent's session holds this: there is never more than one session."""
        return self._turns.setdefault(agent_id, asyncio.Lock())

    async def command(self, agent_id: Any, command: Command) -> CommandAnswer:
        """Carry out one command of an agent on her session."""
        desk = self._desks.get(agent_id)
        session = desk.session if desk is not None else None
        if session is None:
            return CommandAnswer(
                ok=False, message="You are not connected to the telephone system.", code="not_connected"
            )
        if isinstance(command, Dial):
            veto = await ask_for_veto(agent_id, command.number, session.connector.number_plan)
            if veto:
                return CommandAnswer(ok=False, message=veto, code="vetoed")
        return await session.command(command)

    async def directory(self, agent_id: Any) -> CommandAnswer:
        """The colleagues whom the agent may transfer to: ``data["users"]``."""
        desk = self._desks.get(agent_id)
        session = desk.session if desk is not None else None
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
        desk = self._desks.get(agent_id)
        if desk is None or desk.session is None or desk.is_under_review:
            return
        desk.is_under_review = True
        try:
            await asyncio.sleep(REVIEW_SECONDS)  # each of her tabs asks, and one change seldom comes alone
        finally:
            desk.is_under_review = False
        await contacts.arefresh_rights(agent_id)
        desk.review(await WORK_THREADS.run(calllog.recent_calls, agent_id, get_settings().recent_seconds))
        for tab_id in list(desk.tabs):
            await desk.send_snapshot(tab_id)

    def note_changed(self, agent_id: Any, call_id: str, text: str) -> None:
        """The agent has saved a note on a call."""
        desk = self._desks.get(agent_id)
        if desk is not None:
            desk.note_changed(call_id, text)

    async def close(self, agent_id: Any) -> None:
        """End the agent's session here and let go of her lease, unless a tab has come back."""
        async with self._turn(agent_id):
            desk = self._desks.get(agent_id)
            if desk is None or desk.tabs:
                return
            self._lingering.pop(agent_id, None)
            if desk.keep_open and desk.session is not None and not desk.session.is_over:
                return
            await self._stop_story(agent_id)
            if not desk.tabs:
                del self._desks[agent_id]

    async def shut_down(self) -> None:
        """End all sessions, which hands back their leases, within a few seconds. The process is about to end."""
        for timer in self._lingering.values():
            timer.cancel()
        ending = {*self._stories.values(), *self._chores, *filter(None, (self._renewal, self._refreshing))}
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending, timeout=END_SECONDS)

    # -- the life of one session --------------------------------------------------------------------------------

    async def _story(self, desk: Desk, credentials: Credentials | None) -> None:
        """Claim, build, run, release: one session from its beginning to its end."""
        agent_id = desk.agent_id
        try:
            desk.fence = await self._claim(desk)
            account, calls, notes, desk.recent = await self._patiently(desk, WORK_THREADS, _load, agent_id)
            connector = self._connector(desk, account, credentials)
            if connector is None:
                await desk.tell(NO_ACCOUNT)
                return
            session = AgentSession(
                connector,
                desk.tell,
                number=account.number if account else "",
                command_seconds=get_settings().command_seconds,
            )
            session.board.restore(calls)
            desk.session = session
            desk.take_over(calls, notes)
            await session.run()
        except asyncio.CancelledError:
            raise
        except (CTIError, ImproperlyConfigured, ValueError) as error:
            logger.error("The session of agent %s cannot start: %s", agent_id, error)
            shown = str(error) if isinstance(error, CTIError) else "Your telephone account is not configured correctly."
            await desk.tell(SessionState(state=LinkState.REFUSED, message=shown, code="misconfigured"))
        except Exception:
            logger.exception("The session of agent %s failed", agent_id)
            sentence = "The telephone session failed unexpectedly."
            await desk.tell(SessionState(state=LinkState.REFUSED, message=sentence, code="internal_error"))
        finally:
            desk.is_leaving = True
            with contextlib.suppress(db.Error, RuntimeError):  # at the process's end there are no threads any more
                await asyncio.shield(LEASE_THREAD.run(lease.release, self.holder, agent_id))

    def _connector(
        self, desk: Desk, account: ConnectorAccount | None, credentials: Credentials | None
    ) -> Connector | None:
        settings = get_settings()
        if account is not None and not account.is_active:
            return None
        if account is None and credentials is None:
            return None
        desk.connector = account.connector if account else settings.connector
        desk.keep_open = account is not None and account.keep_open
        desk.region = (account.region if account else "") or settings.region
        desk.pop_policy = PopPolicy(
            action=(account.pop_action if account else "") or settings.pop_action,
            when=(account.pop_when if account else "") or settings.pop_when,
        )
        if credentials is None and account is not None:
            credentials = account.credentials()
        return build_connector(
            desk.connector, credentials or Credentials(), account.options if account else None, desk.region
        )

    async def _claim(self, desk: Desk) -> int:
        """Wait until this process holds the agent's lease; the fence."""
        if self._renewal is None:
            # Not every server tells its application that it ends; whoever comes next should not have to wait.
            atexit.register(self._end_at_exit, asyncio.get_running_loop())
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.ensure_future(self._renew_leases())
        seconds = get_settings().lease_seconds
        claim = partial(self._patiently, desk, LEASE_THREAD, lease.claim, desk.agent_id, self.holder, seconds)
        while (fence := await claim()) is None:
            await desk.tell(TAKING_OVER)
            await asyncio.sleep(CLAIM_SECONDS)
        return int(fence)

    async def _patiently(self, desk: Desk, threads: DatabaseThreads, function: Callable[..., Any], *args: Any) -> Any:
        """Ask the database, again and again if need be: an outage delays a session and does not refuse it."""
        while True:
            try:
                return await threads.run(function, *args)
            except db.Error as error:
                logger.warning(
                    "The session of agent %s waits for the database (%s)", desk.agent_id, type(error).__name__
                )
            await desk.tell(WAITING_FOR_DATABASE)
            await asyncio.sleep(CLAIM_SECONDS)

    def _end_at_exit(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(Exception):
            if not (loop.is_closed() or loop.is_running()):
                loop.run_until_complete(self.shut_down())
        with contextlib.suppress(Exception):
            calllog.flush(END_SECONDS)
            lease.release(self.holder)

    async def _renew_leases(self) -> None:
        """Renew the leases of this process, three times in the life of one; stop the sessions whose lease is lost."""
        while True:
            seconds = get_settings().lease_seconds
            await asyncio.sleep(seconds / 3)
            running = {agent_id: story for agent_id, story in self._stories.items() if not story.done()}
            self._collector.follow(len(running))
            if not running:
                continue
            if self._refreshing is None or self._refreshing.done():
                self._refreshing = asyncio.ensure_future(self._refresh_rights(set(running), seconds / 3))
            try:
                if await LEASE_THREAD.run(lease.renew, self.holder, seconds, list(running)) < len(running):
                    held = await LEASE_THREAD.run(lease.held_by, self.holder)
                    for agent_id in running.keys() - held:
                        self._begin(self._lose(agent_id, running[agent_id]))
            except Exception as error:
                # Nobody else can claim without the database either; the calls go on.
                logger.warning("The session leases could not be renewed (%s); trying again", type(error).__name__)

    async def _refresh_rights(self, running: set[Any], seconds: float) -> None:
        """Look up the rights of a few agents anew, so that no ring has to: each one's before they are too old."""
        self._stale = [agent_id for agent_id in self._stale if agent_id in running] or list(running)
        share = math.ceil(len(running) * seconds / (contacts.RIGHTS_SECONDS / 2))
        for agent_id in self._stale[:share]:
            with contextlib.suppress(db.Error):
                rights = await contacts.arefresh_rights(agent_id)
                desk = self._desks.get(agent_id)
                if desk is not None and desk.keep_open and not rights.has_perm(PERMISSION):
                    desk.keep_open = False  # no page is there whose socket would be closed
                    await self.close(agent_id)
        del self._stale[:share]

    async def _lose(self, agent_id: Any, story: "asyncio.Task[None]") -> None:
        async with self._turn(agent_id):
            desk = self._desks.get(agent_id)
            if desk is None or desk.session is None or self._stories.get(agent_id) is not story:
                return  # still claiming, or over
            logger.warning("The session of agent %s is run by another process now", agent_id)
            await self._stop_story(agent_id)
            await desk.tell(TAKEN_OVER)

    async def _stop_story(self, agent_id: Any) -> None:
        """End the agent's story, if there is one. Only for whoever has the agent's turn."""
        story = self._stories.get(agent_id)
        desk = self._desks.get(agent_id)
        if story is not None:
            if desk is not None and desk.session is not None and desk.session.is_over:
                await asyncio.wait({story}, timeout=get_settings().command_seconds)  # it is letting go of its line
            story.cancel()
            await asyncio.wait({story})
            del self._stories[agent_id]
        if desk is not None:
            desk.session = None

    def _stop_lingering(self, agent_id: Any) -> None:
        self._begin(self.close(agent_id))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        chore = asyncio.ensure_future(work)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)


def _load(agent_id: Any) -> tuple[ConnectorAccount | None, list[Call], dict[str, str], list[dict[str, Any]]]:
    """The agent's account, her calls that were live when last heard of, her notes on them, and her recent calls."""
    account = ConnectorAccount.objects.filter(user_id=agent_id).first()
    calls = calllog.open_calls(agent_id)
    notes = calllog.notes_for([call.call_id for call in calls], agent_id)
    return account, calls, notes, calllog.recent_calls(agent_id, get_settings().recent_seconds)


_hosts: "WeakKeyDictionary[asyncio.AbstractEventLoop, SessionHost]" = WeakKeyDictionary()


async def shut_down() -> None:
    """End the sessions of this process, and write what the call log still holds: what a server's shutdown calls."""
    host = _hosts.get(asyncio.get_running_loop())
    if host is not None:
        await host.shut_down()
        await calllog.aflush(END_SECONDS)


def get_host(pop_path: Callable[[str], str]) -> SessionHost:
    """The host of this process (of the running event loop), made at the first call."""
    loop = asyncio.get_running_loop()
    return _hosts.get(loop) or _hosts.setdefault(loop, SessionHost(pop_path))
