"""The WebSocket of one browser tab (docs/architecture.md, "The socket").

A consumer relays. It checks who is there and what comes in, hands it to the host, and passes on what the bus brings;
whatever takes time runs beside it, never in it.
"""

import asyncio
import json
import logging
from collections.abc import Coroutine
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.urls import NoReverseMatch, reverse

from . import calllog
from .calls.commands import parse_command
from .connectors.base import Credentials
from .exceptions import InvalidCommand
from .sessions import bus
from .sessions.access import check_access
from .sessions.desk import Tab
from .sessions.host import SessionHost, get_host
from .sessions.session import CommandAnswer

__all__ = ["TelephoneConsumer"]

logger = logging.getLogger(__name__)

MAX_FRAME = 16 * 1024  # characters of one message from a browser
MAX_PENDING = 20  # messages of one tab that may be waiting for their answers
MAX_FAULTS = 10  # malformed messages after which the socket is closed
RECHECK_SECONDS = 60.0
TRUST_SECONDS = 120.0  # how long the last check counts while the database cannot be asked
CLOSE_CODES = {"malformed": 4400, "logged_out": 4401, "no_permission": 4403}


def _pop_path(call_id: str) -> str:
    try:
        return reverse("cti_django:pop", args=[call_id])
    except NoReverseMatch:
        return ""  # the project has not included cti_django.urls: cards only


class TelephoneConsumer(AsyncWebsocketConsumer):
    """One tab of one agent."""

    tab_id = ""
    agent_id: Any = None
    host: SessionHost

    async def connect(self) -> None:
        """Accept whoever is logged in and may use the telephone; tell all others why not, and close."""
        self._faults = 0
        self._allowed_at = float("-inf")
        self._chores: set[asyncio.Task[None]] = set()
        self._recheck_timer: asyncio.TimerHandle | None = None
        user = self.scope.get("user")
        session = self.scope.get("session")
        self._session_key = getattr(session, "session_key", None)
        await self.accept()
        why_not = "logged_out" if user is None or not user.is_authenticated else await self._why_not(user.pk)
        if why_not:
            await self._close_for(why_not)
            return
        self.agent_id = user.pk
        self.host = get_host(_pop_path)
        for group in (bus.agent_group(self.agent_id), bus.EVERYBODY):
            await self.channel_layer.group_add(group, self.channel_name)
        self._schedule_recheck()

    async def disconnect(self, code: int) -> None:
        """Let go of everything."""
        if self._recheck_timer is not None:
            self._recheck_timer.cancel()
        if self.agent_id is None:
            return
        for group in (bus.agent_group(self.agent_id), bus.EVERYBODY):
            await self.channel_layer.group_discard(group, self.channel_name)
        if self.tab_id:
            await self.host.detach(self.agent_id, self.tab_id)
        for chore in self._chores:
            chore.cancel()

    # -- from the browser ---------------------------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take one message of the browser."""
        if self.agent_id is None:
            return
        message = _parsed(text_data)
        if message is None:
            await self._fault("That is not a message of this protocol.")
            return
        kind = message.get("type")
        if kind == "ping":
            await self._send({"type": "pong"})
        elif kind == "hello" and not self.tab_id:
            await self._hello(message)
        elif not self.tab_id:
            await self._fault("The first message must be hello.")
        elif kind == "focus":
            if message.get("focused") is True:
                await self.host.focus(self.agent_id, self.tab_id)
        elif kind == "resync":
            await self._send(self.host.snapshot(self.agent_id, self.tab_id))
        elif kind in ("login", "command", "note", "directory"):
            await self._start(message)
        else:
            await self._fault("There is no such message.")

    async def _hello(self, message: dict[str, Any]) -> None:
        tab_id = message.get("tab")
        if not isinstance(tab_id, str) or not 8 <= len(tab_id) <= 64 or not tab_id.isascii():
            await self._fault("A tab needs an id.")
            return
        self.tab_id = tab_id
        tab = Tab(tab_id=tab_id, channel_name=self.channel_name)
        await self.host.attach(self.agent_id, tab, focused=message.get("focused") is True)
        await self._send(self.host.snapshot(self.agent_id, tab_id))

    async def _start(self, message: dict[str, Any]) -> None:
        """Begin something that takes time; its answer carries the message's id."""
        message_id = message.get("id")
        if not isinstance(message_id, str) or not 0 < len(message_id) <= 64:
            await self._fault("A message that wants an answer needs an id.")
            return
        if len(self._chores) >= MAX_PENDING:
            await self._answer(message_id, CommandAnswer(ok=False, message="Too many requests at once.", code="busy"))
            return
        chore = asyncio.ensure_future(self._carry_out(message_id, message))
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def _carry_out(self, message_id: str, message: dict[str, Any]) -> None:
        why_not = await self._why_not(self.agent_id)
        if why_not:
            await self._answer(message_id, CommandAnswer(ok=False, message="You may not do that.", code=why_not))
            await self._close_for(why_not)
            return
        try:
            answer = await self._ask(message)
        except InvalidCommand as invalid:
            answer = CommandAnswer(ok=False, message=str(invalid), code=invalid.code)
        except PermissionDenied:
            answer = CommandAnswer(ok=False, message="You may not do that.", code="no_permission")
        except Exception:
            logger.exception("A message of a browser could not be carried out")
            answer = CommandAnswer(ok=False, message="That failed unexpectedly.", code="internal_error")
        await self._answer(message_id, answer)

    def _ask(self, message: dict[str, Any]) -> Coroutine[Any, Any, CommandAnswer]:
        match message["type"]:
            case "login":
                return self.host.login(self.agent_id, _credentials(message))
            case "command":
                # Ids are the tab's own: two tabs may both call their first command "1".
                command = parse_command({**message, "id": f"{self.tab_id}:{message['id']}"})
                return self.host.command(self.agent_id, command)
            case "note":
                return self._note(_text(message, "call_id", 64), _text(message, "text", 10_000, strip=False))
            case _:
                return self.host.directory(self.agent_id)

    async def _note(self, call_id: str, text: str) -> CommandAnswer:
        try:
            await calllog.asave_note(call_id, self.agent_id, text)
        except DatabaseError:
            return CommandAnswer(ok=False, message="The note could not be saved yet.", code="not_saved")
        self.host.note_changed(self.agent_id, call_id, text)
        return CommandAnswer(ok=True)

    # -- to the browser -----------------------------------------------------------------------------------------

    async def cti_relay(self, event: dict[str, Any]) -> None:
        """The bus brings a message for this tab."""
        if self.tab_id:
            await self.send(text_data=event["text"])

    async def cti_recheck(self, event: dict[str, Any] | None = None) -> None:
        """Something may have changed about this user's rights."""
        self._schedule_recheck()
        why_not = await self._why_not(self.agent_id)
        if why_not and why_not != "unchecked":
            await self._close_for(why_not)

    async def _why_not(self, user_id: Any) -> str:
        """Why this user may not go on: "" if she may, "unchecked" if nobody could tell."""
        now = asyncio.get_running_loop().time()
        try:
            why_not = await check_access(user_id, self._session_key)
        except DatabaseError:
            logger.warning("The rights of agent %s could not be checked", user_id)
            return "" if now - self._allowed_at < TRUST_SECONDS else "unchecked"
        if not why_not:
            self._allowed_at = now
        return why_not

    async def _close_for(self, why_not: str) -> None:
        if why_not in CLOSE_CODES or self.agent_id is None:
            await self.close(code=CLOSE_CODES.get(why_not, 4401))

    def _schedule_recheck(self) -> None:
        if self._recheck_timer is not None:
            self._recheck_timer.cancel()
        loop = asyncio.get_running_loop()
        self._recheck_timer = loop.call_later(RECHECK_SECONDS, self._start_recheck)

    def _start_recheck(self) -> None:
        chore = asyncio.ensure_future(self.cti_recheck())
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def _answer(self, message_id: str, answer: CommandAnswer) -> None:
        facts = {"ok": answer.ok, "message": answer.message, "code": answer.code, "data": answer.data}
        await self._send({"type": "answer", "id": message_id, **facts})

    async def _fault(self, sentence: str) -> None:
        self._faults += 1
        if self._faults >= MAX_FAULTS:
            await self.close(code=CLOSE_CODES["malformed"])
            return
        await self._send(
            {"type": "answer", "id": "", "ok": False, "message": sentence, "code": "malformed", "data": {}}
        )

    async def _send(self, message: dict[str, Any] | None) -> None:
        if message is not None:
            await self.send(text_data=bus.encode(message))


def _parsed(text: str | None) -> dict[str, Any] | None:
    if text is None or len(text) > MAX_FRAME:
        return None
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _text(message: dict[str, Any], key: str, longest: int, *, strip: bool = True) -> str:
    value = message.get(key, "")
    if not isinstance(value, str) or len(value) > longest or "\x00" in value:
        raise InvalidCommand(f"“{key}” must be a text of at most {longest} characters.")
    return value.strip() if strip else value


def _credentials(message: dict[str, Any]) -> Credentials | None:
    fields = {key: _text(message, key, 500, strip=key == "username") for key in ("username", "password", "api_key")}
    return Credentials(**fields) if any(fields.values()) else None
