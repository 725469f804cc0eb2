"""One agent's session in this process: from the claim of her lease, through log-ins and lost lines, to its release."""

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import Any

from django import db
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac

from .. import calllog, metrics
from ..calls.events import Call, Event
from ..calls.notifications import Notification
from ..conf import get_settings
from ..connectors.base import Connector, Credentials
from ..contacts.rights import rights_of
from ..exceptions import CTIError, LoginRefused
from ..logs import SessionLog, session_log
from ..models import ConnectorAccount
from ..threads import WORK_THREADS
from . import bus
from .deliveries import Deliveries
from .desk import Desk
from .keeper import Keeper
from .mailbox import Mailbox
from .pop import PopPolicy
from .registry import build_connector, connector_class
from .session import AgentSession, LinkState, SessionState, call_id_for

__all__ = ["Tenure", "has_account", "proof"]

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0  # between attempts while the database cannot be reached
FLUSH_SECONDS = 1.0  # how long the successor may have to wait for the calls to be written
CLOSE_SECONDS = 0.5  # how long a line may take to close
RELEASE_SECONDS = 2.0  # how long the agent's turn waits for a database that hangs
WAITING_FOR_DATABASE = SessionState(
    state=LinkState.CONNECTING, code="no_database", message="The database cannot be reached. It is tried again."
)
TYPED = "Your telephone account is set up here: there is nothing to type."
NO_ACCOUNT = SessionState(state=LinkState.NONE, code="no_account", message="You have no telephone account yet.")
INACTIVE = SessionState(
    state=LinkState.NONE, code="account_inactive", message="Your telephone account has been switched off."
)


def proof(credentials: Credentials) -> str:
    """What two processes compare to know whether they mean the same credentials; none can be read from it."""
    told = "\0".join((credentials.username, credentials.password, credentials.api_key))
    return salted_hmac("cti_django.credentials", told, algorithm="sha256").hexdigest()


class Tenure:
    """Runs one agent's session while this process holds her lease.

    A session that is refused or logged out stays on its desk, so that tabs everywhere see what became of it, and begins
    anew after ``begin_anew``.
    """

    def __init__(self, desk: Desk, keeper: Keeper, mailbox: Mailbox, deliveries: Deliveries) -> None:
        self.desk = desk
        self.is_claimed = asyncio.Event()
        self.is_leaving = False  # it is about to end ...
        self.is_stopped = False  # ... because it was told to
        self.wanted_seconds = 0.0  # for how long somebody else may go on with it
        self.releases = True  # whether it lets go of the lease itself when it ends
        self._keeper, self._mailbox, self._deliveries = keeper, mailbox, deliveries
        self._changed = asyncio.Event()
        self._account: ConnectorAccount | None = None
        self._running: asyncio.Task[None] | None = None
        self.task: asyncio.Task[None]

    def start(self) -> "asyncio.Task[None]":
        """Begin. It ends by itself only if another process was faster."""
        self.task = asyncio.ensure_future(self._live())
        return self.task

    async def stop(self) -> None:
        """End it, and wait for that."""
        self.is_leaving = self.is_stopped = True
        self.task.cancel()
        await asyncio.wait({self.task})

    def abandon(self) -> None:
        """Let go of the line at once: the lease does not count any more. ``stop`` does the rest."""
        if self._running is not None and not self._running.cancelling():  # a second time would cut short its closing
            self._running.cancel()

    def joins(self, credentials: Credentials | None) -> bool:
        """Whether who logs in with `credentials` (None: the stored account's) gets this session."""
        return not (self.is_leaving or self._is_over) and (credentials is None or credentials == self._used)

    def joins_by_proof(self, given: str) -> bool:
        """``joins`` for somebody in another process; `given` "" for the stored account."""
        used = self._used
        is_used = not given or (used is not None and hmac.compare_digest(given, proof(used)))
        return is_used and self.joins(None)

    @property
    def _used(self) -> Credentials | None:
        session = self.desk.session
        return self.desk.credentials if session is None else session.connector.credentials

    @property
    def _is_over(self) -> bool:
        state = self.desk.state
        return self.is_claimed.is_set() and (
            state.state in (LinkState.REFUSED, LinkState.LOGGED_OUT) or state in (NO_ACCOUNT, INACTIVE)
        )

    async def begin_anew(self, *, only_if_changed: bool) -> None:
        """The agent's account may have changed: go on with what is stored now.

        Args:
            only_if_changed: leave a session alone that would not be another one.
        """
        account = await self._patiently(WORK_THREADS.run, _account_of, self.desk.agent_id)
        self._set_policy(account)
        if only_if_changed and not self._is_over and _same(account, self._account):
            return
        if account is not None:
            self.desk.credentials = None
        self._changed.set()

    # -- its life -----------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        desk, keeper = self.desk, self._keeper
        try:
            fence = await self._patiently(keeper.claim, desk.agent_id, desk.fence)
            if fence is None:
                return
            self.is_claimed.set()
            desk.begin_tenure(fence)
            self._log().claimed()
            await self._mailbox.join(desk.agent_id)
            await bus.tell(bus.agent_group(desk.agent_id), {"type": "cti.who", "holder": keeper.holder, "fence": fence})
            await desk.tabs.elect(fence)
            while True:
                self._changed.clear()
                await self._until_changed(self._run_session())
        finally:
            self.is_leaving = True
            desk.session = None
            await asyncio.shield(self._let_go())

    async def _until_changed(self, session: Coroutine[Any, Any, None]) -> None:
        running = self._running = asyncio.create_task(session)
        try:
            await self._changed.wait()
        finally:
            try:
                if self._is_over:
                    await asyncio.wait({running}, timeout=CLOSE_SECONDS)  # it is letting go of its line
            finally:
                self.abandon()
                await asyncio.wait({running}, timeout=CLOSE_SECONDS)

    async def _let_go(self) -> None:
        agent_id = self.desk.agent_id
        await self._mailbox.leave(agent_id)
        if self.releases and self._keeper.may_hold(agent_id):
            await calllog.aflush(FLUSH_SECONDS)
            # At the process's end there are no threads any more.
            with contextlib.suppress(db.Error, RuntimeError, TimeoutError):
                async with asyncio.timeout(RELEASE_SECONDS):
                    await self._keeper.release([agent_id], self.wanted_seconds)

    async def _run_session(self) -> None:
        """Load, build, run: one session until it is over."""
        desk, connector = self.desk, None
        desk.is_loading = True
        try:
            self._account, calls, notes, desk.recent = await self._patiently(WORK_THREADS.run, _load, desk.agent_id)
            connector = self._connector(self._account)
            if connector is None:
                await self._show(NO_ACCOUNT if self._account is None else INACTIVE)
                return
            await self._run_on(connector, calls, notes)
        except (CTIError, ImproperlyConfigured, ValueError) as error:
            logger.error("The session of agent %s cannot start: %s", desk.agent_id, error)
            shown = str(error) if isinstance(error, CTIError) else "Your telephone account is not configured correctly."
            await self._show(SessionState(state=LinkState.REFUSED, message=shown, code="misconfigured"))
        except Exception:
            logger.exception("The session of agent %s failed", desk.agent_id)
            sentence = "The telephone session failed unexpectedly."
            await self._show(SessionState(state=LinkState.REFUSED, message=sentence, code="internal_error"))
        finally:
            desk.session = None
            if connector is not None:
                self._deliveries.leave(connector)

    async def _run_on(self, connector: Connector, calls: list[Call], notes: dict[str, str]) -> None:
        """Take up `calls` where the former holder left them, and run until the session is over."""
        desk, settings = self.desk, get_settings()
        new_id = partial(call_id_for, f"{desk.agent_id} {desk.connector}")
        ends = await self._patiently(self._catch_up, connector, calls, new_id) if connector.endpoint else []
        session = AgentSession(
            connector,
            self._tell,
            number=self._account.number if self._account else "",
            command_seconds=settings.command_seconds,
            believed_seconds=settings.believed_seconds,
            new_id=new_id,
        )
        session.board.restore(calls)
        desk.session = session
        desk.take_over(calls, notes)
        if taken_over := session.board.calls():
            metrics.takeovers_total.inc()
            self._log().taken_over(len(taken_over))
        for at, said in ends:
            for event in session.board.fold(said, at):
                await self._tell(event)
        await desk.show()
        await session.run()

    async def _catch_up(
        self, connector: Connector, calls: list[Call], new_id: Callable[[str], str]
    ) -> list[tuple[datetime, Notification]]:
        """Have `connector` hear what its system pushes; the ends, with their times, that `calls` have had meanwhile."""
        history = await self._deliveries.join(connector)
        known = {call.call_id for call in calls if not call.state.is_final}
        missed = await self._deliveries.log_missed(self.desk, connector, history, known=known, new_id=new_id)
        if missed.count:
            await calllog.aflush(FLUSH_SECONDS)
            agent_id, seconds = self.desk.agent_id, get_settings().recent_seconds
            self.desk.recent = await WORK_THREADS.run(calllog.recent_calls, agent_id, seconds)
        return missed.ends

    def _connector(self, account: ConnectorAccount | None) -> Connector | None:
        self._set_policy(account)
        credentials = self.desk.credentials
        if (account is not None and not account.is_active) or (account is None and credentials is None):
            return None
        if credentials is not None and not connector_class(self.desk.connector).takes_typed_credentials:
            self.desk.credentials = None
            raise LoginRefused(TYPED, code="typed_credentials")
        if credentials is None and account is not None:
            credentials = account.credentials()
        options = account.options if account else None
        return build_connector(self.desk.connector, credentials or Credentials(), options, self.desk.region)

    def _set_policy(self, account: ConnectorAccount | None) -> None:
        desk, settings = self.desk, get_settings()
        desk.connector = account.connector if account else settings.connector
        desk.keep_open = account is not None and account.keep_open and account.is_active
        desk.region = (account.region if account else "") or settings.region
        desk.pop_policy = PopPolicy(
            action=(account.pop_action if account else "") or settings.pop_action,
            when=(account.pop_when if account else "") or settings.pop_when,
        )

    def _log(self) -> SessionLog:
        return session_log(self.desk.agent_id, self.desk.fence, holder=self._keeper.holder)

    async def _show(self, state: SessionState) -> None:
        await self._tell(state)
        await self.desk.show()

    async def _tell(self, said: Event | SessionState) -> None:
        if isinstance(said, SessionState):
            self._keeper.note_link(self.desk.agent_id, said.state.value)
        await self.desk.tell(said)

    async def _patiently(self, ask: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Ask the database, again and again if need be: an outage delays a session and does not refuse it."""
        while True:
            try:
                return await ask(*args)
            except db.IntegrityError:
                raise
            except db.Error as error:
                agent_id = self.desk.agent_id
                logger.warning("The session of agent %s waits for the database (%s)", agent_id, type(error).__name__)
            if self.desk.session is None:  # else it goes on meanwhile
                await self.desk.tell(WAITING_FOR_DATABASE)
            await asyncio.sleep(AGAIN_SECONDS)


async def has_account(agent_id: Any) -> bool:
    """Whether there is anything to log the agent in with; True while the database cannot say."""
    try:
        return await WORK_THREADS.run(ConnectorAccount.objects.filter(user_id=agent_id).exists)
    except db.Error:
        return True


def _account_of(agent_id: Any) -> ConnectorAccount | None:
    return ConnectorAccount.objects.filter(user_id=agent_id).first()


def _load(agent_id: Any) -> tuple[ConnectorAccount | None, list[Call], dict[str, str], list[dict[str, Any]]]:
    """The agent's account, her calls that were live when last heard of, her notes on them, and her recent calls."""
    rights_of(agent_id)  # the first ring shall not have to look them up
    calls = calllog.calls_to_restore(agent_id)
    notes = calllog.notes_for([call.call_id for call in calls], agent_id)
    return _account_of(agent_id), calls, notes, calllog.recent_calls(agent_id, get_settings().recent_seconds)


def _same(account: ConnectorAccount | None, other: ConnectorAccount | None) -> bool:
    """Whether both give the same session; how its calls pop may differ."""
    if account is None or other is None:
        return account is other
    fields = ("connector", "username", "password", "api_key", "number", "options", "region", "is_active")
    return all(getattr(account, name) == getattr(other, name) for name in fields)
