"""One agent's session with a telephone system: one connector, one board, and the way back after a lost line.

No Django here: ``manage.py cti_connect`` runs the very same session without a database. What the session has to say
(events, and its own state) goes to one coroutine, ``tell``, in order.
"""

import asyncio
import contextlib
import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4, uuid5

from ..calls.board import CallBoard
from ..calls.commands import Answer, Command, CompleteTransfer, Dial, Logout, Transfer, TwoFactorCode, refusal
from ..calls.events import Call, Event, EventName, SessionEvent
from ..calls.notifications import DialNotification, DialStage, Notification, PresenceNotification, Snapshot
from ..calls.states import CallState, EndReason
from ..connectors.base import Connector
from ..exceptions import CommandRefused, ConnectionLost, CTIError, LoginRefused
from .backoff import Backoff
from .reaper import BELIEVED_SECONDS, REAP_SECONDS, Reaper

__all__ = ["AgentSession", "Backoff", "CommandAnswer", "LinkState", "SessionState", "call_id_for"]

logger = logging.getLogger(__name__)

REMEMBERED_COMMANDS = 200
STEADY_SECONDS = 30.0  # a line that held this long is tried again at once when it is lost
CALL_IDS = UUID("6f0c1b1e-5d0a-4c39-9d0b-5a2f6d1c7e84")
DOUBT_SECONDS = 36.0  # and so long after one has become doubtful
GIVE_UP_AFTER = (35.0, 185.0)  # seconds after a dial at which the board is asked whether it still waits


class LinkState(StrEnum):
    """How the session stands with the telephone system."""

    NONE = "none"  # nobody has asked for a session yet
    CONNECTING = "connecting"
    TWO_FACTOR = "two_factor"  # waits for the agent's code
    READY = "ready"
    LOST = "lost"  # the line is gone; it will be tried again at `retry_at`
    REFUSED = "refused"  # the system refuses the agent; waits for a change
    LOGGED_OUT = "logged_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """The session as a browser shows it (docs/architecture.md, SESSION)."""

    state: LinkState = LinkState.NONE
    message: str = ""
    code: str = ""
    nonce: str = ""
    number: str = ""
    capabilities: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()
    presence: PresenceNotification | None = None
    retry_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "state": self.state.value,
            "message": self.message,
            "code": self.code,
            "nonce": self.nonce,
            "number": self.number,
            "capabilities": list(self.capabilities),
            "subscriptions": list(self.subscriptions),
            "presence": _presence(self.presence),
            "retryAt": self.retry_at.isoformat(timespec="milliseconds") if self.retry_at else None,
        }


def _presence(told: PresenceNotification | None) -> dict[str, Any] | None:
    return {"queues": dict(told.queues), "paused": told.is_paused, "dnd": told.is_dnd} if told else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAnswer:
    """What became of a command. `message` is a plain sentence if it was refused."""

    ok: bool
    message: str = ""
    code: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def call_id_for(owner: str, seed: str) -> str:
    """The call_id of `owner`'s call that `seed` names, the same in every process; a fresh one if `seed` is "".

    Args:
        owner: whose call it is: the same text wherever her session runs, another one for everybody else.
        seed: what ``CallBoard`` asks its `new_id` with.

    Returns:
        32 hexadecimal digits.
    """
    return uuid5(CALL_IDS, f"{owner}\n{seed}").hex if seed else uuid4().hex


class AgentSession:
    """One connector, one board, and the loop between them.

    Args:
        connector: not opened yet.
        tell: hears every event and every change of the session's state, in order; what it raises is logged and
            stops nothing.
        number: the agent's own extension, for show.
        command_seconds: how long a command may take before the agent is told that it did not come through.
        believed_seconds: how long a call is believed to go on without a proof of life; see ``Reaper``.
        new_id: gives the call_id for a text that names a call; see ``CallBoard`` and ``call_id_for``.
        now: gives the time (aware UTC).
    """

    def __init__(
        self,
        connector: Connector,
        tell: Callable[[Event | SessionState], Awaitable[None]],
        *,
        number: str = "",
        command_seconds: float = 10.0,
        backoff: Backoff | None = None,
        believed_seconds: float = BELIEVED_SECONDS,
        new_id: Callable[[str], str] = lambda _: uuid4().hex,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.connector = connector
        self.board = CallBoard(new_id)
        self.state = SessionState(number=number)
        self._tell = tell
        self._command_seconds = command_seconds
        self._backoff = backoff or Backoff()
        self._now = now
        self._reaper = Reaper(believed_seconds)
        self._reaping: asyncio.TimerHandle | None = None
        self._answers: OrderedDict[str, asyncio.Future[CommandAnswer]] = OrderedDict()
        self._timers: list[asyncio.TimerHandle] = []
        self._chores: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._ready_at = math.inf

    # -- the story loop -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live until logged out, refused or cancelled; reconnect whenever the line is lost."""
        self._plan_reaping()
        try:
            while (lost := await self._live_on_one_line()) is not None:
                await self._wait_to_retry(lost)
        finally:
            self._cancel_timers()
            await self.connector.close()

    async def _live_on_one_line(self) -> ConnectionLost | None:
        """Open the line and pass on what it says; return why it was lost, or None if the session is over."""
        # While it is tried again the agent goes on seeing why it was lost.
        await self._become(LinkState.CONNECTING, message=self.state.message, code=self.state.code)
        try:
            await self.connector.open()
            async for notification in self.connector.notifications():
                await self._hear(notification)
        except ConnectionLost as lost:
            return lost
        except LoginRefused as refused:
            await self._become(LinkState.REFUSED, message=str(refused), code=refused.code)
            await self._pass_on(self._session_event(EventName.ERROR, str(refused), refused.code))
        except Exception:
            # A fault of ours must not look like a provider's: the agent gets a sentence, the log the traceback.
            logger.exception("A connector session failed")
            return ConnectionLost("The telephone connection failed unexpectedly.", code="internal_error")
        if not self.is_over:
            await self._become(LinkState.LOGGED_OUT)
        return None

    async def _hear(self, notification: Notification) -> None:
        now = self._now()
        for event in self.board.fold(notification, now):
            await self._pass_on(event)
        if isinstance(notification, DialNotification) and notification.stage is DialStage.DOUBTFUL:
            self._give_up_after(DOUBT_SECONDS)
        if isinstance(notification, Snapshot) and not notification.node:
            self._reaper.note_snapshot(now)
            self._give_up_dials()  # those of a former holder, too: the timers for them went with it
        if isinstance(notification, PresenceNotification):
            self.state = replace(self.state, presence=notification)
            await self._say(self.state)

    async def _wait_to_retry(self, lost: ConnectionLost) -> None:
        await self.connector.close()
        is_news = str(lost) != self.state.message
        if asyncio.get_running_loop().time() - self._ready_at > STEADY_SECONDS:
            self._backoff.reset()
        self._ready_at = math.inf
        seconds = self._backoff.next_seconds()
        retry_at = self._now() + timedelta(seconds=seconds)
        await self._become(LinkState.LOST, message=str(lost), code=lost.code, retry_at=retry_at)
        if is_news:
            await self._pass_on(self._session_event(EventName.ERROR, str(lost), lost.code))
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for may miss that its task is cancelled
                await self._wake.wait()

    @property
    def is_over(self) -> bool:
        """Logged out or refused: this session will not come back."""
        return self.state.state in (LinkState.REFUSED, LinkState.LOGGED_OUT)

    def retry_now(self) -> None:
        """Do not wait any longer before the next attempt (the agent asked for it)."""
        self._wake.set()

    async def _pass_on(self, event: Event) -> None:
        if isinstance(event, SessionEvent):
            await self._follow(event)
        await self._say(event)

    async def _follow(self, event: SessionEvent) -> None:
        """Bring the session's own state in line with what the connector said."""
        match event.name:
            case EventName.READY:
                self._ready_at = asyncio.get_running_loop().time()
                await self._become(LinkState.READY)
            case EventName.TWO_FACTOR_AUTH:
                await self._become(LinkState.TWO_FACTOR, message=event.message, nonce=event.nonce)
            case EventName.LOGGED_OUT:
                await self._become(LinkState.LOGGED_OUT, message=event.message, code=event.code)
            case EventName.SUBSCRIBED if event.uri not in self.state.subscriptions:
                self.state = replace(self.state, subscriptions=(*self.state.subscriptions, event.uri))
                if self.state.state is LinkState.READY:
                    await self._say(self.state)

    async def _become(self, state: LinkState, **facts: Any) -> None:
        keeps_nodes = state in (LinkState.READY, LinkState.TWO_FACTOR)
        self.state = SessionState(
            state=state,
            number=self.state.number,
            capabilities=self._capabilities(),
            subscriptions=self.state.subscriptions if keeps_nodes else (),
            presence=self.state.presence if keeps_nodes else None,
            **facts,
        )
        await self._say(self.state)

    def _capabilities(self) -> tuple[str, ...]:
        return tuple(sorted(capability.value for capability in self.connector.capabilities))

    async def _say(self, said: Event | SessionState) -> None:
        try:
            await self._tell(said)
        except Exception:
            logger.exception("Telling a session's news failed")

    # -- commands -----------------------------------------------------------------------------------------------

    async def command(self, command: Command) -> CommandAnswer:
        """Carry out `command`; the same command_id again waits for, or gets, the same answer.

        A refusal is also said as an INFO or ERROR event, so that every tab of the agent knows.
        """
        known = self._answers.get(command.command_id)
        if known is not None:
            return await asyncio.shield(known)
        answer: asyncio.Future[CommandAnswer] = asyncio.get_running_loop().create_future()
        self._answers[command.command_id] = answer
        while len(self._answers) > REMEMBERED_COMMANDS:
            self._answers.popitem(last=False)
        try:
            answer.set_result(await self._try(command))
        finally:
            if not answer.done():  # cancelled, or a fault: nobody may wait for ever
                answer.set_result(CommandAnswer(ok=False, message="The command was not carried out.", code="failed"))
        return answer.result()

    async def _try(self, command: Command) -> CommandAnswer:
        try:
            async with asyncio.timeout(self._command_seconds):
                await self._carry_out(command)
        except CommandRefused as refused:
            return await self._refuse(EventName(refused.event_name), str(refused), refused.code)
        except TimeoutError:
            sentence = "The telephone system did not answer in time; the command may or may not have been carried out."
            return await self._refuse(EventName.INFO, sentence, "timed_out")
        except CTIError as error:
            return await self._refuse(EventName.ERROR, str(error), error.code)
        except Exception:
            logger.exception("A command failed")
            return await self._refuse(EventName.ERROR, "The command failed unexpectedly.", "internal_error")
        if self._capabilities() != self.state.capabilities:
            await self._tell_capabilities()
        return CommandAnswer(ok=True)

    async def _refuse(self, name: EventName, sentence: str, code: str) -> CommandAnswer:
        if self._capabilities() != self.state.capabilities:
            await self._tell_capabilities()
        await self._say(self._session_event(name, sentence, code))
        return CommandAnswer(ok=False, message=sentence, code=code)

    async def _carry_out(self, command: Command) -> None:
        self._check_link(command)
        call = self._named_call(command)
        refused = refusal(command, call, self.connector.capabilities)
        if refused is not None:
            raise refused
        if isinstance(command, Dial):
            self._check_dial()
        if isinstance(command, Transfer | CompleteTransfer) and call is not None:
            await self._transfer(command, call)
            return
        await self.connector.execute(command, call)
        if isinstance(command, Logout):
            self.retry_now()  # a session that waits for its line ends at once, too

    async def _transfer(self, command: Transfer | CompleteTransfer, call: Call) -> None:
        # The end of the agent's leg is often heard before the answer to the command.
        self.board.expect_end(call.call_id, EndReason.TRANSFERRED)
        try:
            await self.connector.execute(command, call)
        except BaseException:
            self.board.expect_end(call.call_id, None)
            raise

    def _check_link(self, command: Command) -> None:
        state = self.state.state
        if isinstance(command, Logout) or (isinstance(command, TwoFactorCode) and state is LinkState.TWO_FACTOR):
            return
        if state is not LinkState.READY:
            raise CommandRefused("You are not connected to the telephone system.", code="not_connected")

    def _named_call(self, command: Command) -> Call | None:
        call_id = getattr(command, "call_id", None)
        if isinstance(command, Answer) and not call_id:
            return self.board.oldest_ringing()
        call = self.board.get(call_id) if call_id else None
        return call if call is not None and call.is_own else None

    def _check_dial(self) -> None:
        if any(call.is_own and call.state is CallState.INITIAL for call in self.board.calls()):
            raise CommandRefused("Your phone is already ringing for another call.", code="dialling", event_name="INFO")
        self._give_up_after(*GIVE_UP_AFTER)

    def _give_up_after(self, *pauses: float) -> None:
        loop = asyncio.get_running_loop()
        self._timers = [timer for timer in self._timers if timer.when() > loop.time()]
        self._timers += [loop.call_later(seconds, self._give_up_dials) for seconds in pauses]

    def _give_up_dials(self) -> None:
        for event in self.board.give_up(self._now()):
            self._spawn(self._pass_on(event))

    # -- calls that nobody says anything about ------------------------------------------------------------------

    def _plan_reaping(self) -> None:
        self._reaping = asyncio.get_running_loop().call_later(REAP_SECONDS, self._reap)

    def _reap(self) -> None:
        self._plan_reaping()
        self._give_up_dials()
        if self.state.state is LinkState.READY and self._reaper.should_ask(self.board.calls(), self._now()):
            self._spawn(self._ask_anew())

    async def _ask_anew(self) -> None:
        try:
            await self.connector.refresh()
        except CTIError:
            return  # the line is lost; the next one begins with a Snapshot
        except Exception:
            logger.exception("Asking a telephone system for its calls failed")

    # -- small change -------------------------------------------------------------------------------------------

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        chore = asyncio.create_task(coroutine)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    def _cancel_timers(self) -> None:
        for timer in (*self._timers, self._reaping):
            if timer is not None:
                timer.cancel()
        self._timers.clear()

    async def _tell_capabilities(self) -> None:
        self.state = replace(self.state, capabilities=self._capabilities())
        await self._say(self.state)

    def _session_event(self, name: EventName, message: str, code: str) -> SessionEvent:
        return SessionEvent(name=name, at=self._now(), message=message, code=code)
