"""A simulated browser: one tab of one agent, which speaks the socket's protocol as ``cti-connector.js`` does."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

__all__ = ["Browser", "Grant", "StaleEnvelope", "Stay"]

PING_SECONDS, PATIENCE_SECONDS, OPENING_SECONDS = 15.0, 12.0, 15.0
ANSWER_SECONDS, QUEUE_SECONDS = 15.0, 5.0
RESYNC_SECONDS, BACKOFF_SECONDS, BACKOFF_MAX_SECONDS = 2.0, 0.5, 30.0
MAX_POPPED = 20
OVER = ("HANGUP", "CANCEL")
ENDED = ("none", "refused", "logged_out")
LATE = ("timeout", "timed_out", "outdated")  # it may have been done all the same

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grant:
    """A pop that this browser was allowed to open."""

    at: float
    call_id: str
    number: str


@dataclass(frozen=True, slots=True)
class StaleEnvelope:
    """An envelope with a lower fence than the browser had seen."""

    at: float
    socket_count: int
    had: int
    got: int
    kind: str


@dataclass(slots=True)
class Stay:
    """One socket: from when to when, at which port. Unix times; `ended_at` is None while it is open."""

    began_at: float
    port: int
    ended_at: float | None = None


@dataclass(slots=True)
class _Question:
    message: dict[str, Any]
    answer: asyncio.Future[Answer]


class Browser:
    """One tab of an agent.

    Args:
        name: "10031/0".
        cookie: of the agent's Django session.
        choose: the load balancer: the port to connect to, None if there is none now.

    Attributes:
        calls: the board: live calls by our id, as the server tells them.
        session: the session's state as the agent sees it.
        opened_at: unix time since when the socket is open; None while it is not.
    """

    def __init__(self, name: str, cookie: str, *, focused: bool, choose: Callable[[], int | None]) -> None:
        self.name, self.cookie, self.focused, self._choose = name, cookie, focused, choose
        self.tab = f"{random.getrandbits(128):032x}"
        self.calls: dict[str, dict[str, Any]] = {}
        self.session: dict[str, Any] = {"state": "none"}
        self.elected = False
        self.opened_at: float | None = None
        self.local_port = 0
        self.port = 0
        self.sockets = 0
        self.popped: list[str] = []
        self._connections = 0
        self.grants: list[Grant] = []
        self.stale: list[StaleEnvelope] = []
        self.refusals: list[str] = []
        self.unanswered: list[tuple[float, dict[str, Any]]] = []  # asked on a socket that was not half open
        self.half_open_socket = 0  # the number of the last socket that went dead without a word
        self.close_codes: list[int] = []
        self.diary: list[tuple[float, str]] = []
        self.stays: list[Stay] = []
        self.is_reading = asyncio.Event()
        self.is_reading.set()
        self.given_up: list[tuple[float, Answer]] = []  # log-ins that a page would not repeat
        self._rejoins = False
        self._asked: set[str] = set()
        self._questions: dict[str, _Question] = {}
        self._count = 0
        self._fence = self._seq = self._highest = -1  # the last: of all sockets
        self._numbered = self.session
        self._attempts = 0
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._chores: set[asyncio.Task[Any]] = set()
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    # -- the line -----------------------------------------------------------------------------------------------

    async def run(self, client: aiohttp.ClientSession) -> None:
        """Log in and stay, whatever happens to the line, until cancelled."""
        self._begin(self._log_in())
        try:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    await self._one_socket(client)
                self._closed()
                delay = min(BACKOFF_MAX_SECONDS, BACKOFF_SECONDS * 2**self._attempts)
                self._attempts += 1
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
        finally:
            self._closed()
            for chore in self._chores:
                chore.cancel()

    async def _one_socket(self, client: aiohttp.ClientSession) -> None:
        port = self._choose()
        if port is None:
            return
        headers = {"Cookie": self.cookie, "Origin": f"http://127.0.0.1:{port}"}
        async with asyncio.timeout(OPENING_SECONDS):
            socket = await client.ws_connect(
                f"ws://127.0.0.1:{port}/ws/cti/", headers=headers, compress=0, autoclose=True, max_msg_size=0
            )
        sender = None
        try:
            self._opened(socket, port)
            sender = asyncio.ensure_future(self._send_all(socket, self._sent))
            while True:
                await self.is_reading.wait()
                message = await socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    self.close_codes.append(socket.close_code or 0)
                    return
                self._receive(message.data)
        finally:
            if sender is not None:
                sender.cancel()
            with contextlib.suppress(Exception):
                socket._response.connection.transport.abort()  # a page that goes waits for nobody

    @staticmethod
    async def _send_all(socket: aiohttp.ClientWebSocketResponse, messages: "asyncio.Queue[dict[str, Any]]") -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            while True:
                await socket.send_json(await messages.get())

    def _opened(self, socket: aiohttp.ClientWebSocketResponse, port: int) -> None:
        self._socket, self.port, self._sent = socket, port, asyncio.Queue()
        self.local_port = socket.get_extra_info("sockname")[1]
        self.sockets += 1
        self.opened_at = time.time()
        self.stays.append(Stay(self.opened_at, port))
        self._fence = self._seq = -1
        self.elected = False
        pending = [question.message for question in self._questions.values()]
        self._rejoins = not any(message["type"] == "login" for message in pending)
        hello = {"type": "hello", "tab": self.tab, "focused": self.focused, "popped": self.popped[-MAX_POPPED:]}
        self._connections += 1
        for message in [{**hello, "connection": self._connections}, *pending]:
            self._send(message)
        self._await_snapshot()
        self._set_timer("ping", PING_SECONDS, self._ping)

    def _note(self, what: str) -> None:
        self.diary.append((time.time(), what))

    def _closed(self) -> None:
        if self.opened_at is not None:
            self.stays[-1].ended_at = time.time()
        self._socket = None
        self.opened_at = None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _set_timer(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        self._stop_timer(name)
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, act)

    def _stop_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _ping(self) -> None:
        self._send({"type": "ping"})
        if "dead" not in self._timers:
            self._set_timer("dead", PATIENCE_SECONDS, self.drop)
        self._set_timer("ping", PING_SECONDS, self._ping)

    def drop(self) -> None:
        """Close the socket without a word."""
        if self._socket is not None:
            with contextlib.suppress(AttributeError):
                self._socket._response.connection.transport.abort()

    def _send(self, message: dict[str, Any]) -> None:
        if self._socket is not None:
            self._sent.put_nowait(message)

    def _begin(self, work: Any) -> None:
        chore = asyncio.ensure_future(work)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    # -- questions ----------------------------------------------------------------------------------------------

    async def ask(self, message: dict[str, Any], limit: float | None = None) -> Answer:
        """Send a message that wants an answer; a new socket sends it again. The answer, code "timeout" if none came."""
        self._count += 1
        message = {**message, "id": str(self._count)}
        question = _Question(message, asyncio.get_running_loop().create_future())
        self._questions[message["id"]] = question
        self._send(message)
        is_open = self.opened_at is not None
        began, sockets = time.time(), self.sockets
        try:
            async with asyncio.timeout(limit or (ANSWER_SECONDS if is_open else QUEUE_SECONDS)):
                return await question.answer
        except TimeoutError:
            if is_open and sockets == self.sockets != self.half_open_socket:
                self.unanswered.append((began, message))
            return {"ok": False, "code": "timeout", "message": "", "data": {}}
        finally:
            self._questions.pop(message["id"], None)

    async def command(self, name: str, **fields: str) -> Answer:
        """Give a command."""
        fence = {"fence": self._highest} if self._highest >= 0 else {}
        answer = await self.ask({"type": "command", "command": name, **fence, **fields})
        if not answer["ok"]:
            self._note(f"{name} refused: {answer['code']}")
            self.refusals.append(f"{name}: {answer['code']}")
        return answer

    async def _log_in(self) -> None:
        answer = await self.ask({"type": "login"}, ANSWER_SECONDS)
        if not answer["ok"] and answer["code"] not in LATE:
            self.given_up.append((time.time(), answer))

    # -- what the server says -----------------------------------------------------------------------------------

    def _receive(self, text: str) -> None:
        self._stop_timer("dead")
        message = json.loads(text)
        kind, fence, seq = message.get("type"), message.get("fence"), message.get("seq")
        if kind == "answer":
            question = self._questions.get(message["id"])
            if question is not None and not question.answer.done():
                question.answer.set_result(message)
        elif kind == "elected":
            self.elected = message["elected"]
            self._consider_pops()
        elif kind in ("snapshot", "event", "session") and fence is not None:
            self._note_fence(fence, kind)
            if kind == "snapshot" and self._is_news(fence, seq):
                self._take_snapshot(message)
            elif kind != "snapshot" and self._is_news(fence, seq - 1):
                self._take_envelope(message)
            else:
                self._note(f"drops {kind} {fence}/{seq}")
        elif kind == "session":  # of this tab's own process: shown until the next numbered one
            self.session = message["session"]
            self._note(f"hears {self.session['state']} {self.session['code']}")

    def _note_fence(self, fence: int, kind: str) -> None:
        if fence < self._highest:
            self.stale.append(StaleEnvelope(time.time(), self.sockets, self._highest, fence, kind))
        if fence > self._highest:
            self._note(f"fence {fence} in a {kind}")
        self._highest = max(self._highest, fence)

    def _is_news(self, fence: int, seq: int) -> bool:
        return fence > self._fence or (fence == self._fence and seq >= self._seq)

    def _take_snapshot(self, snapshot: dict[str, Any]) -> None:
        self._fence, self._seq = snapshot["fence"], snapshot["seq"]
        self._note(f"snapshot {snapshot['fence']}/{snapshot['seq']} {snapshot['session']['state']}")
        self.session = self._numbered = snapshot["session"]
        self.elected = snapshot["elected"]
        self._attempts = 0
        self._stop_timer("resync")
        self.calls = {call["id"]: call for call in snapshot["calls"] if call["status"] not in OVER}
        self._consider_pops()
        if self._rejoins and self.session["state"] not in ENDED[1:]:
            self._begin(self._log_in())
        self._rejoins = False

    def _take_envelope(self, envelope: dict[str, Any]) -> None:
        fence, seq = envelope["fence"], envelope["seq"]
        gap = fence > self._fence or seq > self._seq + 1
        self._fence, self._seq = fence, seq
        if gap and "resync" not in self._timers:
            self._resync()
        self._numbered = envelope.get("session") or self._numbered
        self.session = self._numbered
        if self.session["state"] in ENDED:
            self.calls.clear()
        call = envelope.get("event", {}).get("call")
        if call is not None:
            if call["status"] in OVER:
                self.calls.pop(call["id"], None)
            else:
                self.calls[call["id"]] = call
            self._consider_pops()

    def _resync(self) -> None:
        self._note(f"asks for a snapshot at {self._fence}/{self._seq}")
        self._send({"type": "resync"})
        self._await_snapshot()

    def _await_snapshot(self) -> None:
        """It may take as long as it takes another process to notice that the session's is gone."""
        self._set_timer("resync", RESYNC_SECONDS, self._resync)

    # -- pops ---------------------------------------------------------------------------------------------------

    def _consider_pops(self) -> None:
        for call in self.calls.values():
            key = (call.get("pop") or {}).get("key")
            if self.elected and key and key not in self._asked and key not in self.popped:
                self._asked.add(key)
                self._begin(self._pop(call["id"], key, call["number"]))

    async def _pop(self, call_id: str, key: str, number: str) -> None:
        answer = await self.ask({"type": "pop", "call_id": call_id, "key": key})
        if answer["ok"]:
            self.popped.append(key)
            self.grants.append(Grant(time.time(), call_id, number))
        elif answer["code"] not in ("popped", "over"):  # another tab was elected, or nobody answered
            self._asked.discard(key)
