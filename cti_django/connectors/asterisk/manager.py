"""One manager connection to one PBX, shared by all agents of the process.

    agents ── join ──┐                                     ┌── Switchboard: what the PBX has told -> notifications
                     ├── Manager ── AMILine ── socket ─────┤
    agents ── join ──┘      └ ListCommands: what this manager may do

The first agent opens it, the others share that attempt and what comes of it. When it is lost every agent's line is
lost; their sessions come back one by one, and the first to come opens it again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from ...calls.notifications import Notification
from ...calls.numbers import NumberPlan
from ...exceptions import ConnectionLost, ConnectorError, LoginRefused
from .line import AMILine, Message
from .login import allowed_commands, log_in, open_line
from .options import Options
from .switchboard import Switchboard

__all__ = ["Manager", "Member"]

logger = logging.getLogger(__name__)

ROOM_SECONDS = 5.0  # an agent's session that takes nothing for so long is let go of: the others would wait with it
SETTLE_SECONDS = 1.0
LOG_SECONDS = 60.0  # between two tracebacks
RECHECK_SECONDS = (2.0, 8.0, 30.0)  # one after the other; a large PBX needs the better part of a minute to start
_SNAPSHOT = ("CoreShowChannels", "ExtensionStateList", "QueueStatus")


@dataclass(slots=True, eq=False)
class Member:
    """One agent's share of the connection.

    Args:
        device: her phone: ``PJSIP/1001``.
        say: hears what the PBX tells of her.
        fail: hears why the connection is gone.
        room: awaited after something was said, so that a flood waits on the network; see ``NotificationStream.room``.
    """

    device: str
    say: Callable[[Notification], None]
    fail: Callable[[ConnectorError], None]
    room: Callable[[], Awaitable[None]]


class Manager:
    """The connection of one event loop to one PBX, under one name.

    A user of it says ``hold()`` before and ``release()`` after; with the last release it is closed.
    """

    _shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, "Manager"]] = WeakKeyDictionary()

    def __init__(self, options: Options, number_plan: NumberPlan) -> None:
        self.switchboard = Switchboard(number_plan)
        """What the PBX has told. It outlives a lost line, and that its agents let go of it then: what it knew of a call
        is true afterwards, too."""
        self.commands: frozenset[str] = frozenset()
        """The actions that this manager may use."""
        self._options = options
        self._holders = 0
        self._line: AMILine | None = None
        self._opening: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._members: dict[str, list[Member]] = {}  # by device
        self._to_relieve: dict[Member, None] = {}  # those that were told something since the last look
        self._watchers: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self._settling: asyncio.TimerHandle | None = None
        self._rechecking: asyncio.Task[None] | None = None
        self._silent_until = 0.0
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    def shared(cls, options: Options, number_plan: NumberPlan) -> "Manager":
        """The one of the running loop for what `options` say of the PBX and of the manager's name and secret."""
        managers = cls._shared.setdefault(asyncio.get_running_loop(), {})
        seconds = (options.request_seconds, options.ping_seconds)
        who = (options.address, options.tls, options.ca_file, options.username, options.secret)
        key = (who, seconds, number_plan)
        if key not in managers:
            for former in [former for former, manager in managers.items() if not manager._holders]:
                del managers[former]
            managers[key] = cls(options, number_plan)
        return managers[key]

    # -- sharing ------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """One more user."""
        self._holders += 1

    async def release(self) -> None:
        """One user less."""
        self._holders -= 1
        if self._holders > 0:
            return
        self._stop_settling()
        opening, line = self._opening, self._line
        self._opening = self._line = None
        tasks = [task for task in (opening, self._refreshing) if task is not None]
        # Whatever belongs to the loop would keep it, and ``_shared`` would never forget it.
        self._settling = self._rechecking = self._refreshing = self._closing = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if line is not None:
            await line.close()

    async def connect(self) -> None:
        """See that the connection is there: open it, or wait for whoever is opening it.

        Raises:
            ConnectionLost: the PBX cannot be reached, or says nothing sensible.
            LoginRefused: it refuses the name and secret, or lets them see no calls.
        """
        if self._line is not None:
            return
        if self._opening is None:
            self._opening = _task(self._open())
        opening = self._opening
        try:
            await asyncio.shield(opening)
        except ConnectorError as error:
            raise type(error)(str(error), code=error.code) from None  # one for each: tracebacks grow with raising
        except asyncio.CancelledError:
            if opening.cancelled():
                raise ConnectionLost("The line to the telephone system was closed.") from None
            raise

    def join(self, member: Member) -> None:
        """Tell `member` what the PBX says of her device from now on. A Snapshot of it is hers to ask for.

        Raises:
            ConnectionLost: the connection is gone already.
        """
        self._open_line()
        members = self._members.setdefault(member.device, [])
        members.append(member)
        if len(members) == 1:
            self.switchboard.watch(member.device)

    def leave(self, member: Member) -> None:
        """Tell her nothing more. May be called twice."""
        members = self._members.get(member.device, [])
        if member in members:
            members.remove(member)
            self._to_relieve.pop(member, None)
            if not members:
                del self._members[member.device]
                self.switchboard.unwatch(member.device)

    # -- asking -------------------------------------------------------------------------------------------------

    async def ask(self, name: str, headers: Iterable[tuple[str, str]] = ()) -> Message:
        """Send one action; its response. See ``AMILine.ask``."""
        return await self._open_line().ask(name, headers)

    async def ask_list(
        self, name: str, headers: Iterable[tuple[str, str]] = (), *, on_item: Callable[[Message], None] | None = None
    ) -> Message:
        """Send an action that is answered with a list. See ``AMILine.ask_list``."""
        return await self._open_line().ask_list(name, headers, on_item=on_item)

    async def until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Wait until what the PBX tells makes `is_so` true; whether it did within `seconds`.

        Raises:
            ConnectionLost: the connection was lost meanwhile.
        """
        if is_so():
            return True
        self._open_line()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers[future] = is_so
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return False
        finally:
            self._watchers.pop(future, None)
        return True

    async def refresh(self) -> None:
        """Have the PBX list everything anew; all who ask at once share one run. Every member is told a Snapshot.

        Raises:
            ConnectionLost: the connection is gone, or the lists do not end.
        """
        await asyncio.shield(self._begin_refresh(self._open_line()))

    def _begin_refresh(self, line: AMILine) -> asyncio.Task[None]:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = _task(self._take_snapshot(line))
        return self._refreshing

    def _open_line(self) -> AMILine:
        if self._line is None:
            raise ConnectionLost("The line to the telephone system was lost.")
        return self._line

    # -- opening ------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        try:
            options = self._options
            line = await open_line(options, on_event=self._hear, on_lost=self._lose, room=self._make_room)
            try:
                await log_in(line, options)
                self.commands = await allowed_commands(line)
                if "CoreShowChannels" not in self.commands:
                    raise LoginRefused(
                        "The manager account of the telephone system may not see calls.", code="missing_rights"
                    )
                await self._take_snapshot(line)
            except BaseException:
                await line.close()
                raise
            self._line = line
            line.keep_alive()
            self._settle()
            self._rechecking = _task(self._recheck(line))
        finally:
            if self._opening is asyncio.current_task():
                self._opening = None

    async def _recheck(self, line: AMILine) -> None:
        """A PBX that starts lets managers in before it has learnt all that it can do: then everybody comes again."""
        for seconds in RECHECK_SECONDS:
            await asyncio.sleep(seconds)
            if self.commands < await allowed_commands(line):
                self._lose(ConnectionLost("The telephone system has just started.", code="starting"))
                return

    async def _take_snapshot(self, line: AMILine) -> None:
        self.switchboard.begin_snapshot()
        try:
            for name in _SNAPSHOT:
                if name not in self.commands:
                    continue
                answer = await line.ask_list(name)
                if name == "CoreShowChannels" and answer.get("Response") != "Success":
                    raise ConnectionLost("The telephone system does not list its calls.", code="not_listed")
        except ConnectionLost as lost:
            self._lose(lost)  # half a list says nothing, and a PBX that does not end one is not well
            raise
        self._tell(self.switchboard.end_snapshot())

    # -- hearing ------------------------------------------------------------------------------------------------

    def _hear(self, event: Message) -> None:
        match event.get("Event"):
            case "Shutdown":
                self._lose(ConnectionLost("The telephone system is shutting down.", code="shutdown"))
            case "FullyBooted" if self._line is not None:
                self._begin_refresh(self._line)  # it was still starting when it was asked what there is
            case _:
                self._tell(self._received(event))
        for future, is_so in list(self._watchers.items()):
            if not future.done() and is_so():
                future.set_result(None)

    def _received(self, event: Message) -> Iterable[tuple[str, Notification]]:
        try:
            return self.switchboard.receive(event)
        except Exception:
            # One event that we misread must not cost all agents their lines, again with each of its kind.
            now = asyncio.get_running_loop().time()
            if now >= self._silent_until:
                self._silent_until = now + LOG_SECONDS
                logger.exception("An event of the telephone system was not understood")
            return []

    def _settle(self) -> None:
        """Now and then: what the switchboard held back because more might have come."""
        self._tell(self.switchboard.settle())
        self._settling = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._settle)

    def _stop_settling(self) -> None:
        for chore in (self._settling, self._rechecking):
            if chore is not None and chore is not asyncio.current_task():
                chore.cancel()

    def _tell(self, told: Iterable[tuple[str, Notification]]) -> None:
        for device, notification in told:
            for member in self._members.get(device, ()):
                member.say(notification)
                self._to_relieve[member] = None

    async def _make_room(self) -> None:
        """Wait for the agents' sessions to take what was said; let go of those that do not."""
        deadline = asyncio.get_running_loop().time() + ROOM_SECONDS
        while self._to_relieve:
            member = next(iter(self._to_relieve))
            try:
                async with asyncio.timeout_at(deadline):
                    await member.room()
            except TimeoutError:
                self.leave(member)
                member.fail(ConnectionLost("Too much was said at once on this line.", code="overrun"))
            self._to_relieve.pop(member, None)

    def _lose(self, lost: ConnectionLost) -> None:
        line, self._line = self._line, None
        if line is None:
            return  # still opening: whoever waits for an answer hears it
        self._stop_settling()
        self._closing = _task(line.close())
        for future in self._watchers:
            if not future.done():
                future.set_exception(ConnectionLost(str(lost), code=lost.code))
        members = [member for members in self._members.values() for member in members]
        for member in members:
            self.leave(member)
            member.fail(ConnectionLost(str(lost), code=lost.code))


def _task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task for several to wait for; if nobody does any more, what went wrong in it is nobody's."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
