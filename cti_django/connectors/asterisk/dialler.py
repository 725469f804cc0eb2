"""Click-to-call: an Originate that rings the agent's own phone first."""

import asyncio
import math
import secrets
import time
from collections.abc import Callable

from ...calls.notifications import DialNotification, DialStage, Notification, SessionNotification
from ...calls.numbers import Party
from ...exceptions import CommandRefused, ConnectionLost
from . import actions
from .dialplan import check_number
from .manager import Manager
from .options import Options

__all__ = ["Dialler"]

IN_DOUBT = "The line was lost while the call was being placed; it may come about all the same."
LOST = "The line was lost before your phone answered."


class Dialler:
    """The click-to-calls of one agent whose phone has not answered yet.

    What becomes of them tell the switchboard's originations; this is for what they cannot know: that Asterisk takes no
    such action, or that nobody will hear its answer.

    Args:
        manager: connected, and watching her device.
        extension: hers.
        in_doubt: those that an earlier line was lost over: {command_id: (channel_id, destination)}; kept up to date.
        say: hears what becomes of them.
    """

    __slots__ = ("_began_at", "_extension", "_in_doubt", "_manager", "_options", "_say", "_waiting")

    def __init__(
        self,
        manager: Manager,
        options: Options,
        extension: str,
        in_doubt: dict[str, tuple[str, Party]],
        say: Callable[[Notification], None],
    ) -> None:
        self._manager = manager
        self._options = options
        self._extension = extension
        self._in_doubt = in_doubt
        self._say = say
        self._waiting: dict[str, tuple[str, Party]] = {}  # command_id -> (channel_id, destination)
        self._began_at = -math.inf

    def begin(self, command_id: str, destination: Party) -> str:
        """Say STARTED; the channel's id, under which Asterisk will tell of the call.

        Raises:
            CommandRefused: her phone rings for another one: two clicks may come before the first was told of.
        """
        now = asyncio.get_running_loop().time()
        if self._waiting and now - self._began_at < self._options.dial_seconds:
            raise CommandRefused("Your phone is already ringing for another call.", code="dialling", event_name="INFO")
        self._began_at = now
        # The second is what the switchboard reads of it, as of Asterisk's own ids: when the call began.
        channel_id = f"cti-{int(time.time())}-{secrets.token_hex(8)}"
        self._waiting[command_id] = (channel_id, destination)
        device = self._options.device_of(self._extension)
        self._manager.switchboard.originations.begin(channel_id, command_id, destination, device)
        self._say(DialNotification(command_id=command_id, destination=destination, stage=DialStage.STARTED))
        return channel_id

    async def place(self, command_id: str, channel_id: str, destination: Party) -> None:
        """Have the agent's phone rung; returns when Asterisk has taken or refused that."""
        options = self._options
        action = actions.originate(options, self._extension, channel_id, destination)
        try:
            await check_number(self._manager, options, options.dial_context, actions.digits_for(destination, options))
            answer = await self._manager.ask(action.name, action.headers)
        except ConnectionLost as lost:
            if lost.code == "timed_out":
                self._leave_open(command_id)
                self._say(SessionNotification(name="INFO", message=IN_DOUBT, code="in_doubt"))
            return  # else the line is lost, and ``leave_open`` says so
        except CommandRefused as refused:
            self._fail(command_id, str(refused), refused.code)
            return
        if answer.get("Response") != "Success":
            told = actions.refused(answer)
            self._fail(command_id, str(told), told.code)

    def hear(self, told: DialNotification) -> None:
        """One of them is settled."""
        self._waiting.pop(told.command_id, None)

    def channel_of(self, command_id: str) -> str:
        """The channel's id of a click-to-call whose phone still rings, "" if there is none."""
        return self._waiting.get(command_id, ("",))[0]

    def settle_doubts(self) -> None:
        """All channels were listed anew: say what became of the calls that an earlier line was lost over."""
        device = self._options.device_of(self._extension)
        for command_id, (channel_id, destination) in self._in_doubt.items():
            self._waiting[command_id] = (channel_id, destination)
            if self._manager.switchboard.leg(device, channel_id) is None:
                self._settle(command_id, DialStage.FAILED, LOST)
        self._in_doubt.clear()

    def abandon(self, cause: str) -> None:
        """Give up whatever still waits; the agent hears `cause`."""
        for command_id in list(self._waiting):
            self._settle(command_id, DialStage.FAILED, cause)

    def leave_open(self) -> None:
        """The line is lost: Asterisk may go on with whatever still waits, and nobody will hear its answer."""
        for command_id in list(self._waiting):
            self._leave_open(command_id)

    def _leave_open(self, command_id: str) -> None:
        self._settle(command_id, DialStage.DOUBTFUL, IN_DOUBT)

    def _fail(self, command_id: str, cause: str, code: str) -> None:
        self._settle(command_id, DialStage.FAILED, cause)
        self._say(SessionNotification(name="ERROR", message=cause, code=code))

    def _settle(self, command_id: str, stage: DialStage, cause: str) -> None:
        waiting = self._waiting.pop(command_id, None)
        if waiting is None:
            return
        channel_id, destination = waiting
        if stage is DialStage.DOUBTFUL:
            self._in_doubt[command_id] = waiting
        else:
            self._manager.switchboard.originations.withdraw(channel_id)
        self._say(DialNotification(command_id=command_id, destination=destination, stage=stage, cause=cause))
