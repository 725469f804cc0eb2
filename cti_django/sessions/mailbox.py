"""This process's address on the bus: it beats, knows which other processes beat, asks them and answers.

Sending is at most once, and a bus that is down is noticed by the process's own beats not coming back. Nothing runs
here while the channel layer serves this process alone.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from . import bus

__all__ = ["BEAT_SECONDS", "SILENT_SECONDS", "Mailbox"]

logger = logging.getLogger(__name__)

BEAT_SECONDS = 0.5
SILENT_SECONDS = 1.5  # a process that was not heard for so long is as good as gone
START_SECONDS = 2.0  # how long the first answer to "who is there" may take

Work = Coroutine[Any, Any, None]


class Mailbox:
    """Reads one channel of the bus for a whole process.

    Args:
        holder: this process's name among the others.
        hear: takes a message for one of the desks that were joined.
        on_gone: another process (its name) is not heard any more.
        on_back: a process is heard again, or for the first time; this process's own name: the bus is back.
        on_vacancy: another process has let go of sessions that are wanted.
    """

    def __init__(
        self,
        holder: str,
        hear: Callable[[dict[str, Any]], Work],
        on_gone: Callable[[str], Work],
        on_back: Callable[[str], Work],
        on_vacancy: Callable[[], None],
    ) -> None:
        self.holder = holder
        self._hear, self._on_gone, self._on_back, self._on_vacancy = hear, on_gone, on_back, on_vacancy
        self.on_delivery: Callable[[], None] = lambda: None
        """Called when a process says that a telephone system has pushed something."""
        self._address = ""
        self._joined: set[Any] = set()
        self._heard_at: dict[str, float] = {}  # by the name of the process
        self._dropped: deque[str] = deque(maxlen=100)  # those whose silence was made known
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._serial = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_started = False
        self._was_back = False
        self._is_return_due = False
        self._returning: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()  # the first of this process's own beats has come back

    # -- who is there -------------------------------------------------------------------------------------------

    @property
    def is_heard(self) -> bool:
        """Whether the bus carries messages: this process's own come back."""
        return not self._is_started or self.hears(self.holder)

    def hears(self, holder: str) -> bool:
        """Whether that process has been heard lately."""
        return holder in self._heard_at

    def misses(self, holder: str) -> bool:
        """Whether that process was heard once and is not any more."""
        return holder in self._dropped

    async def start(self) -> None:
        """Begin to read and beat, once; returns when the bus answers, or does not soon."""
        if self._is_started or not bus.spans_processes():
            return
        self._is_started = True
        await self._connect()
        self._begin(self._beat())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self._heard.wait()

    async def stop(self) -> None:
        """Fall silent."""
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=0.5)
        self._is_started, self._address = False, ""

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(bus.SEND_SECONDS):
                self._address = await bus.new_address()
        except Exception as error:
            logger.warning("The bus cannot be reached (%s); it is tried again", type(error).__name__)
            return
        self._begin(self._read(self._address))
        await bus.join(bus.HOSTS, self._address)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._address:
                await self._connect()
            await bus.tell(bus.HOSTS, {"type": "cti.beat", "host": self.holder})
            started_at = loop.time()
            await asyncio.sleep(BEAT_SECONDS)
            overslept = loop.time() - started_at - BEAT_SECONDS
            self._listen_for_silence(loop.time(), overslept)

    def _listen_for_silence(self, now: float, overslept: float) -> None:
        was_held_up = overslept > SILENT_SECONDS / 3
        self._is_return_due |= was_held_up
        if self._is_return_due and (self._returning is None or self._returning.done()):
            # One after the other: what it takes to come back must not be what holds this process up.
            self._is_return_due, self._returning = False, self._begin(self._on_back(self.holder))
        if was_held_up:
            # What the others said meanwhile is unread, and they may have missed this one.
            self._heard_at = dict.fromkeys(self._heard_at, now)
            return
        for host, heard_at in list(self._heard_at.items()):
            if now - heard_at > SILENT_SECONDS:
                del self._heard_at[host]
                if host == self.holder:
                    logger.warning("The bus carries no messages at the moment")
                elif self.hears(self.holder):  # else silence says nothing of the others
                    self._dropped.append(host)
                    self._begin(self._on_gone(host))

    def _note_beat(self, host: str) -> None:
        is_new = host not in self._heard_at
        self._heard_at[host] = asyncio.get_running_loop().time()
        if not is_new:
            return
        if host == self.holder:
            self._begin(self._come_back())
        else:
            self._begin(self._on_back(host))
            if host in self._dropped:
                self._dropped.remove(host)
                self._begin(self._tell_missed(host))

    async def _tell_missed(self, host: str) -> None:
        await bus.tell(bus.HOSTS, {"type": "cti.missed", "from": self.holder, "of": host})

    async def _come_back(self) -> None:
        # What was joined while the bus was down, or is forgotten by a layer that keeps groups in Redis.
        await bus.join(bus.HOSTS, self._address)
        for agent_id in list(self._joined):
            await bus.join(bus.desk_group(agent_id), self._address)
        self._heard.set()
        if self._was_back:
            await self._on_back(self.holder)
        self._was_back = True

    # -- reading ------------------------------------------------------------------------------------------------

    async def _read(self, address: str) -> None:
        while True:
            try:
                message = await bus.receive(address)
            except Exception as error:
                logger.warning("The bus cannot be read (%s); it is tried again", type(error).__name__)
                await asyncio.sleep(BEAT_SECONDS)
                continue
            try:
                self._take(message)
            except Exception as error:  # whatever it is, the next one is read
                logger.warning("A message of another process makes no sense (%s)", type(error).__name__)

    def _take(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case "cti.beat":
                self._note_beat(str(message["host"])[:64])
            case "cti.vacant":
                self._on_vacancy()
            case "cti.delivered":
                self.on_delivery()
            case "cti.answer":
                asked = self._asked.get(message["ask"])
                if asked is not None and not asked.done():
                    asked.set_result(dict(message["answer"]))
            case "cti.missed":
                if message["of"] == self.holder:
                    self._begin(self._on_back(str(message["from"])[:64]))
            case "cti.desk":
                self._note_beat(str(message["from"])[:64])  # or the silence of one that never beat would go unnoticed
                self._begin(self._hear(message))

    async def tell_of_vacancies(self) -> None:
        """Tell all processes that this one has let go of sessions; those who missed it find out a little later."""
        if self._address:
            await bus.tell(bus.HOSTS, {"type": "cti.vacant"})

    # -- desks --------------------------------------------------------------------------------------------------

    async def join(self, agent_id: Any) -> None:
        """Hear what is said to the desk of an agent whose session this process runs."""
        self._joined.add(agent_id)
        if self._address:
            await bus.join(bus.desk_group(agent_id), self._address)

    async def leave(self, agent_id: Any) -> None:
        """No longer."""
        if agent_id in self._joined:
            self._joined.discard(agent_id)
            if self._address:
                await bus.leave(bus.desk_group(agent_id), self._address)

    async def tell(self, agent_id: Any, verb: str, **facts: Any) -> bool:
        """Say something to the process that runs an agent's session; False if it surely was not heard."""
        if not self._address:
            return False
        message = {"type": "cti.desk", "agent": str(agent_id), "verb": verb, "from": self.holder, **facts}
        return await bus.tell(bus.desk_group(agent_id), message)

    async def ask(self, agent_id: Any, verb: str, seconds: float, **facts: Any) -> dict[str, Any]:
        """Ask the process that runs an agent's session.

        Raises:
            ConnectionError: the question surely did not arrive.
            TimeoutError: no answer came within `seconds`.
        """
        ask_id = next(self._serial)
        answer = self._asked[ask_id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                if not await self.tell(agent_id, verb, ask=ask_id, address=self._address, **facts):
                    raise ConnectionError
                return await answer
        finally:
            del self._asked[ask_id]

    async def answer(self, asked: dict[str, Any], answer: dict[str, Any]) -> None:
        """Answer a message that was heard."""
        await bus.send(str(asked["address"]), {"type": "cti.answer", "ask": asked["ask"], "answer": answer})

    def _begin(self, work: Work) -> "asyncio.Task[None]":
        task = asyncio.ensure_future(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _logged(work: Work) -> None:
    try:
        await work
    except Exception:
        logger.exception("A message of another process could not be carried out")
