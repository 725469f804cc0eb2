"""How an agent stands: her queues, her pause, and whether she may be disturbed."""

import contextlib
from collections.abc import Callable
from dataclasses import replace

from ...calls.commands import Capability, Command, DoNotDisturb, Pause, QueueLogin, QueueLogout, Unpause
from ...calls.notifications import Notification, PresenceNotification
from ...exceptions import CommandRefused, ConnectionLost, NotCapable
from . import actions
from .actions import Action
from .line import Message
from .manager import Manager
from .options import Options
from .rights import capabilities_of

__all__ = ["Standing"]

_AS_WANTED = ("already there", "not there", "entry not found", "could not be deleted")
"""What Asterisk says when there was nothing to do."""


class Standing:
    """One agent's standing with the PBX.

    Args:
        manager: connected, and watching her device.
        extension: hers.
        told: what the PBX has told of her queues so far.
        say: hears how she stands, whenever that changes.
    """

    __slots__ = ("_device", "_extension", "_is_dnd", "_manager", "_options", "_queues", "_say")

    def __init__(
        self,
        manager: Manager,
        options: Options,
        extension: str,
        told: PresenceNotification,
        say: Callable[[Notification], None],
    ) -> None:
        self._manager = manager
        self._options = options
        self._extension = extension
        self._device = options.device_of(extension)
        self._say = say
        self._queues = self._with_all_queues(told)
        self._is_dnd: bool | None = None

    async def begin(self) -> None:
        """Say how she stands, if there is anything to say; Asterisk's database knows whether she may be disturbed."""
        if Capability.DND in capabilities_of(self._options, self._manager.commands):
            values: list[str] = []

            def hear(item: Message) -> None:
                values.append(item.get("Val", ""))

            key = [("Family", self._options.dnd_family), ("Key", self._extension)]
            with contextlib.suppress(CommandRefused, ConnectionLost):
                await self._manager.ask_list("DBGet", key, on_item=hear)
                self._is_dnd = bool(values and values[0])
        if self._queues.queues or self._is_dnd is not None:
            self._tell()

    def hear(self, told: PresenceNotification) -> None:
        """Take in what the PBX tells of her queues."""
        self._queues = self._with_all_queues(told)
        self._tell()

    async def execute(self, command: Command) -> None:
        """Carry out `command`.

        Raises:
            CommandRefused: Asterisk refuses it.
            ConnectionLost: the line is gone; it may have been done or not.
        """
        match command:
            case QueueLogin():
                name, is_paused = self._options.directory.get(self._extension, ""), self._queues.is_paused
                for queue in self._named(command.queue):
                    await self._ask(actions.join_queue(queue, self._device, name, is_paused=is_paused))
            case QueueLogout():
                for queue in self._named(command.queue):
                    await self._ask(actions.leave_queue(queue, self._device))
            case Pause():
                await self._ask(actions.pause(self._device, is_paused=True, reason=command.reason))
            case Unpause():
                await self._ask(actions.pause(self._device, is_paused=False))
            case DoNotDisturb():
                is_on = command.state == "on"
                await self._ask(actions.do_not_disturb(self._options, self._extension, is_on=is_on))
                self._is_dnd = is_on
                self._tell()
            case _:
                raise NotCapable("Your telephone system cannot do that.")

    def _named(self, queue: str) -> tuple[str, ...]:
        if queue and queue not in self._options.queues:
            raise CommandRefused("The telephone system does not know that queue.", code="no_such_queue")
        return (queue,) if queue else self._options.queues

    async def _ask(self, action: Action) -> None:
        answer = await self._manager.ask(action.name, action.headers)
        told = answer.get("Message", "").lower()
        if answer.get("Response") != "Success" and not any(words in told for words in _AS_WANTED):
            raise actions.refused(answer)

    def _with_all_queues(self, told: PresenceNotification) -> PresenceNotification:
        return replace(told, queues={**dict.fromkeys(self._options.queues, False), **told.queues})

    def _tell(self) -> None:
        self._say(replace(self._queues, is_dnd=self._is_dnd))
