"""The WebSocket of one browser tab (docs/architecture.md, "The socket").

A consumer relays. It checks who is there and what comes in, hands it to the host, and passes on what the bus brings;
whatever takes time runs beside it, never in it.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Coroutine
from typing import Any

from channels.consumer import get_handler_name
from channels.generic.websocket import AsyncWebsocketConsumer
from django import db
from django.core.exceptions import PermissionDenied
from django.urls import set_script_prefix

from . import calllog, metrics
from .conf import project_setting
from .connectors.base import Credentials
from .exceptions import InvalidCommand
from .sessions import bus
from .sessions.access import check_access
from .sessions.host import SessionHost, get_host
from .sessions.session import CommandAnswer
from .sessions.tabs import MAX_POPPED, Tab

__all__ = ["TelephoneConsumer"]

logger = logging.getLogger(__name__)

MAX_FRAME = 16 * 1024  # characters of one message from a browser
MAX_PENDING = 20  # messages of one tab that may be waiting for their answers
MAX_FAULTS = 10  # malformed messages after which the socket is closed
JOIN_AGAIN_SECONDS = 1.0  # between attempts to hear what the bus says
SNAPSHOT_SECONDS = 0.2  # between two snapshots for one tab, however often it asks
RECHECK_SECONDS = 60.0
AFTERTHOUGHT_SECONDS = 0.5  # between a check that somebody asked for and another one
CONNECT_SECONDS = 10.0  # how long the first check may take: a thousand tabs may come at once
CHECK_SECONDS = 2.0  # how long a check may take; a database that hangs is as bad as one that fails
ASK_AGAIN_SECONDS = 5.0  # after a check that failed; until then no command waits for another
TRUST_SECONDS = 120.0  # how long the last check counts while the database cannot be asked
TRY_AGAIN_LATER = 1013
CLOSE_CODES = {"malformed": 4400, "logged_out": 4401, "no_permission": 4403, "unchecked": TRY_AGAIN_LATER}
REFUSALS = {"unchecked": "Whether you may do that cannot be checked at the moment. Try again soon."}


class TelephoneConsumer(AsyncWebsocketConsumer):
    """One tab of one agent."""

    agent_id: Any = None
    host: SessionHost

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one socket, and let go of everything however that ends: not every end is a message."""
        self._is_open = False
        self._tab: Tab | None = None
        self._fence = -1  # the newest seen
        self._faults = 0
        self._allowed_at = self._ask_again_at = self._snapshot_at = float("-inf")
        self._is_resync_due = self._is_recheck_due = self._is_joining = False
        self._chores: set[asyncio.Task[None]] = set()
        self._checking = asyncio.Lock()
        self._noting = asyncio.Lock()
        self._recheck_timer: asyncio.TimerHandle | None = None
        # A site below a path ("/crm"): whatever this tab starts makes its addresses as the tab's pages do.
        set_script_prefix((project_setting("FORCE_SCRIPT_NAME") or scope.get("root_path", "")).rstrip("/") + "/")
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._let_go()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Hand a message to its method.

        Deviates: from the base class, which first visits Django's one shared database thread, and so would have every
        event wait behind somebody's slow query. Nothing here uses that thread's connection. And a message of the bus
        that makes no sense, as of another version of this app, costs the agent no socket.
        """
        try:
            await getattr(self, get_handler_name(message))(message)
        except (AttributeError, KeyError, TypeError, ValueError):
            if isinstance(message, dict) and str(message.get("type")).startswith("websocket."):
                raise
            logger.warning("A message of another process makes no sense", exc_info=True)

    async def connect(self) -> None:
        """Accept whoever is logged in and may use the telephone; tell all others why not, and close."""
        user = self.scope.get("user")
        self._session_key = getattr(self.scope.get("session"), "session_key", None)
        self._is_open = True
        await self.accept()
        if user is None or not user.is_authenticated:
            await self._close_for("logged_out")
            return
        self.agent_id = user.pk
        self.host = get_host()
        # Groups first: whatever changes behind the check is told to them.
        await self._join()
        async with self._checking:
            why_not = await self._check(CONNECT_SECONDS)
        if why_not:
            await self._close_for(why_not)
            return
        self._schedule_recheck()

    async def _join(self) -> None:
        """Join the groups that this tab listens to; if that fails, again and again beside everything else."""
        if not await self._has_joined() and not self._is_joining:
            self._is_joining = True
            self._begin(self._join_at_last())

    async def _has_joined(self) -> bool:
        for group in (bus.agent_group(self.agent_id), bus.EVERYBODY):
            if not await bus.join(group, self.channel_name):
                return False
        return True

    async def _join_at_last(self) -> None:
        while self._is_open:
            await asyncio.sleep(JOIN_AGAIN_SECONDS)
            if self._is_open and await self._has_joined():
                break
        self._is_joining = False
        if self._is_open and self._tab is not None:
            await self.host.send_snapshot(self.agent_id, self._tab.tab_id)  # of what it could not hear

    async def _let_go(self) -> None:
        """Commands and notes that are on their way are carried out all the same: a page that is left sends its last."""
        self._is_open = False
        if self._recheck_timer is not None:
            self._recheck_timer.cancel()
        if self.agent_id is None:
            return
        if self._tab is not None:
            await self.host.detach(self.agent_id, self._tab)
        for group in (bus.agent_group(self.agent_id), bus.EVERYBODY):
            await bus.leave(group, self.channel_name)

    # -- from the browser ---------------------------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take one message of the browser."""
        if not self._is_open:
            return
        message = _parsed(text_data)
        if message is None:
            await self._fault("That is not a message of this protocol.")
            return
        kind = message.get("type")
        if kind == "ping":
            await self._send({"type": "pong"})
        elif kind == "hello" and self._tab is None:
            await self._hello(message)
        elif self._tab is None:
            await self._fault("The first message must be hello.")
        elif kind == "focus":
            if message.get("focused") is True:
                await self.host.focus(self.agent_id, self._tab.tab_id)
        elif kind == "resync":
            if not self._is_resync_due:
                self._is_resync_due = True
                metrics.gaps_total.inc()
                self._begin(self._resync(self._tab))
        elif kind in ("login", "command", "note", "directory", "pop"):
            await self._start(message, self._tab)
        else:
            await self._fault("There is no such message.")

    async def _hello(self, message: dict[str, Any]) -> None:
        tab_id = message.get("tab")
        if not isinstance(tab_id, str) or not 8 <= len(tab_id) <= 64 or not tab_id.isascii():
            await self._fault("A tab needs an id.")
            return
        self._tab = Tab(
            tab_id=tab_id,
            channel_name=self.channel_name,
            popped=_call_ids(message.get("popped")),
            connection=_count(message.get("connection")),
            say=self._send,
            join=self._join,
        )
        self.host.attach(self.agent_id, self._tab, focused=message.get("focused") is True)

    async def _resync(self, tab: Tab) -> None:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._snapshot_at + SNAPSHOT_SECONDS - clock())
        self._is_resync_due = False
        self._snapshot_at = clock()
        await self.host.send_snapshot(self.agent_id, tab.tab_id)

    async def _start(self, message: dict[str, Any], tab: Tab) -> None:
        """Begin something that takes time; its answer carries the message's id."""
        message_id = message.get("id")
        if not isinstance(message_id, str) or not 0 < len(message_id) <= 64:
            await self._fault("A message that wants an answer needs an id.")
        elif len(self._chores) >= MAX_PENDING:
            await self._answer(message_id, CommandAnswer(ok=False, message="Too many requests at once.", code="busy"))
        else:
            self._begin(self._carry_out(message_id, message, tab))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        chore = asyncio.ensure_future(work)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def _carry_out(self, message_id: str, message: dict[str, Any], tab: Tab) -> None:
        why_not = await self._why_not(is_light=message["type"] == "pop")
        if why_not:
            sentence = REFUSALS.get(why_not, "You may not do that.")
            await self._answer(message_id, CommandAnswer(ok=False, message=sentence, code=why_not))
            if why_not != "unchecked":
                await self._close_for(why_not)
            return
        try:
            answer = await self._ask(message, tab)
        except InvalidCommand as invalid:
            answer = CommandAnswer(ok=False, message=str(invalid), code=invalid.code)
        except PermissionDenied:
            answer = CommandAnswer(ok=False, message="You may not do that.", code="no_permission")
        except Exception:
            logger.exception("A message of a browser could not be carried out")
            answer = CommandAnswer(ok=False, message="That failed unexpectedly.", code="internal_error")
        await self._answer(message_id, answer)

    def _ask(self, message: dict[str, Any], tab: Tab) -> Coroutine[Any, Any, CommandAnswer]:
        match message["type"]:
            case "login":
                return self.host.login(self.agent_id, _credentials(message))
            case "note":
                return self._note(_text(message, "call_id", 64), _text(message, "text", 10_000, strip=False))
            case kind:
                # Ids are the tab's own: two tabs may both call their first command "1".
                message = {**message, "id": f"{tab.tab_id}:{message['id']}"}
                return self.host.ask(self.agent_id, tab, kind, message)

    async def _note(self, call_id: str, text: str) -> CommandAnswer:
        try:
            async with self._noting:  # or a page's earlier note could come last
                await calllog.asave_note(call_id, self.agent_id, text)
        except db.Error:
            return CommandAnswer(ok=False, message="The note could not be saved yet.", code="not_saved")
        await self.host.note_changed(self.agent_id, call_id, text)
        return CommandAnswer(ok=True)

    # -- to the browser -----------------------------------------------------------------------------------------

    async def cti_relay(self, event: dict[str, Any]) -> None:
        """The bus brings a message for this tab; what a former holder of the session still says is dropped."""
        fence = event.get("fence")
        if self._tab is None or (fence is not None and fence < self._fence):
            return
        self._fence = fence or self._fence
        await self._send_text(event["text"])

    async def cti_who(self, event: dict[str, Any]) -> None:
        """A process has claimed the agent's session: if it is another one, this tab presents itself there."""
        if self._tab is not None and self._is_open:
            await self.host.present(self.agent_id, self._tab, event["holder"], event["fence"])

    async def cti_recheck(self, event: dict[str, Any] | None = None) -> None:
        """Something may have changed about this user's rights, or is about to: a log-out is told before it is done."""
        if not self._is_recheck_due and self._is_open:
            self._is_recheck_due = True
            self._begin(self._recheck(AFTERTHOUGHT_SECONDS))

    async def _recheck(self, next_seconds: float = RECHECK_SECONDS) -> None:
        self._schedule_recheck(next_seconds)
        async with self._checking:
            self._is_recheck_due = False  # what changes from here on wants another check
            why_not = await self._check()
        if why_not and why_not != "unchecked":
            await self._close_for(why_not)
        elif next_seconds == AFTERTHOUGHT_SECONDS and not why_not:
            with contextlib.suppress(db.Error):
                await self.host.review(self.agent_id)

    async def _why_not(self, *, is_light: bool = False) -> str:
        """Why this user may not go on: "" if she may, "unchecked" if nobody could tell.

        One after the other, so that a tab's messages are carried out in the order in which they came.

        Args:
            is_light: the last check will do, unless a change of her rights has been told since: what she asks for
                shows her nothing (each ring asks for its pop, and the page that pops checks again).
        """
        async with self._checking:
            now = asyncio.get_running_loop().time()
            if is_light and not self._is_recheck_due and now - self._allowed_at < RECHECK_SECONDS:
                return ""
            if now < self._ask_again_at:
                return self._trusted()
            return await self._check()

    async def _check(self, seconds: float = CHECK_SECONDS) -> str:
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(seconds):
                why_not = await check_access(self.agent_id, self._session_key)
        except Exception as error:  # of the database, or of whatever keeps the project's sessions
            logger.warning("The rights of agent %s could not be checked (%s)", self.agent_id, type(error).__name__)
            self._ask_again_at = asyncio.get_running_loop().time() + ASK_AGAIN_SECONDS
            return self._trusted()
        if not why_not:
            self._allowed_at = now
        self._ask_again_at = float("-inf")
        return why_not

    def _trusted(self) -> str:
        return "" if asyncio.get_running_loop().time() - self._allowed_at < TRUST_SECONDS else "unchecked"

    async def _close_for(self, why_not: str) -> None:
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError):
                await self.close(code=CLOSE_CODES[why_not])

    def _schedule_recheck(self, seconds: float = RECHECK_SECONDS) -> None:
        if self._recheck_timer is not None:
            self._recheck_timer.cancel()
        if self._is_open:
            loop = asyncio.get_running_loop()
            self._recheck_timer = loop.call_later(seconds, self._start_recheck)

    def _start_recheck(self) -> None:
        self._begin(self._recheck())

    async def _answer(self, message_id: str, answer: CommandAnswer) -> None:
        facts = {"ok": answer.ok, "message": answer.message, "code": answer.code, "data": answer.data}
        await self._send({"type": "answer", "id": message_id, **facts})

    async def _fault(self, sentence: str) -> None:
        self._faults += 1
        if self._faults >= MAX_FAULTS:
            await self._close_for("malformed")
            return
        await self._send(
            {"type": "answer", "id": "", "ok": False, "message": sentence, "code": "malformed", "data": {}}
        )

    async def _send(self, message: dict[str, Any]) -> None:
        await self._send_text(bus.encode(message))

    async def _send_text(self, text: str) -> None:
        if self._is_open:
            try:
                await self.send(text_data=text)
            except OSError:  # how ASGI servers say that the browser is gone
                self._is_open = False


def _parsed(text: str | None) -> dict[str, Any] | None:
    if text is None or len(text) > MAX_FRAME:
        return None
    try:
        message = json.loads(text)
        json.dumps(message, ensure_ascii=False).encode()  # half a surrogate pair can be neither sent nor stored
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _text(message: dict[str, Any], key: str, longest: int, *, strip: bool = True) -> str:
    value = message.get(key, "")
    if not isinstance(value, str) or len(value) > longest or "\x00" in value:
        raise InvalidCommand(f"“{key}” must be a text of at most {longest} characters.")
    return value.strip() if strip else value


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def _call_ids(value: Any) -> list[str]:
    found = value if isinstance(value, list) else []
    return [call_id for call_id in found[-MAX_POPPED:] if isinstance(call_id, str) and len(call_id) <= 64]


def _credentials(message: dict[str, Any]) -> Credentials | None:
    fields = {key: _text(message, key, 500, strip=key == "username") for key in ("username", "password", "api_key")}
    return Credentials(**fields) if any(fields.values()) else None
