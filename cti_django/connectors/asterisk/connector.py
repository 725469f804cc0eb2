"""The Asterisk connector: one agent's share of a manager connection.

    open()  ── the Manager of this PBX is there, or is opened by the first to come ── join
       └──> LOGGED_IN, SUBSCRIBED user:1001, a Snapshot of her phone, READY ... legs, presence

Whose phone is hers says her account alone (``credentials.username`` is her extension): the manager may see and do
everything for everybody, so what an agent types names nothing but a number to call.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any

from ...calls.commands import (
    Capability,
    Command,
    Dial,
    DoNotDisturb,
    Hold,
    Logout,
    Pause,
    QueueLogin,
    QueueLogout,
    Unpause,
)
from ...calls.events import Call
from ...calls.notifications import DialNotification, Notification, PresenceNotification, SessionNotification
from ...calls.numbers import NumberPlan, Party
from ...exceptions import CommandRefused, ConnectionLost, ConnectorError, LoginRefused, NotCapable
from ..base import Connector, Credentials, Finding
from ..stream import NotificationStream
from .call_control import CallControl
from .dialler import Dialler
from .examination import examine
from .manager import Manager, Member
from .options import EXTENSION, Options
from .rights import capabilities_of, needs
from .standing import Standing

__all__ = ["AsteriskConnector"]


class AsteriskConnector(Connector):
    """One agent's line to Asterisk.

    Credentials: the agent's extension as username; no password: the manager's name and secret are options.
    Options: those of ``options.Options``.
    """

    name = "asterisk"
    takes_typed_credentials = False
    number_plan_defaults = NumberPlan(delivers="international")

    def __init__(
        self, credentials: Credentials, options: Mapping[str, Any], *, number_plan: NumberPlan = number_plan_defaults
    ) -> None:
        super().__init__(credentials, options, number_plan=number_plan)
        self._options = Options.read(options)
        self.options = {name: value for name, value in options.items() if name != "secret"}
        self._extension = credentials.username.strip()
        self._device = self._options.device_of(self._extension)
        everything = {command for need in needs(self._options) for command in need.commands}
        self.capabilities = capabilities_of(self._options, everything)
        self._is_logged_out = False
        self._dials_in_doubt: dict[str, tuple[str, Party]] = {}
        self._stream = NotificationStream()
        self._manager: Manager | None = None
        self._member: Member | None = None
        self._dialler: Dialler | None = None
        self._control: CallControl | None = None
        self._standing: Standing | None = None
        self._chores: set[asyncio.Task[None]] = set()

    # -- the four verbs -----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Join the manager connection of this PBX; see ``Connector.open``."""
        await self.close()
        self._stream = stream = NotificationStream()
        if self._is_logged_out:
            self._end_logged_out()
            return
        if not EXTENSION.fullmatch(self._extension):
            raise LoginRefused("The extension of this account is no plain one.", code="no_extension")
        self._manager = manager = Manager.shared(self._options, self.number_plan)
        manager.hold()
        try:
            await manager.connect()
            if self._manager is manager and not stream.is_over:  # neither closed nor logged out meanwhile
                self._go_online(manager)
        except BaseException:
            await self.close()
            raise

    def notifications(self) -> AsyncIterator[Notification]:
        """See ``Connector.notifications``."""
        return aiter(self._stream)

    async def execute(self, command: Command, call: Call | None = None) -> None:
        """See ``Connector.execute``."""
        if isinstance(command, Logout):
            self._is_logged_out = True
            self._end_logged_out()
            return
        if self._control is None or self._dialler is None or self._standing is None or self._stream.is_over:
            raise CommandRefused("You are not connected to the telephone system.", code="not_connected")
        match command:
            case Dial() if Capability.DIAL in self.capabilities:
                destination = self._control.callee(command.number)
                channel_id = self._dialler.begin(command.command_id, destination)
                self._spawn(self._dialler.place(command.command_id, channel_id, destination))
            case QueueLogin() | QueueLogout() | Pause() | Unpause() | DoNotDisturb() if (
                command.capability in self.capabilities
            ):
                await self._standing.execute(command)
            case _ if call is not None:
                await self._control.execute(command, call)
                if isinstance(command, Hold):
                    self._spawn(self._control.end_with_the_other(call.provider_call_id))
            case _:
                raise NotCapable("Your telephone system cannot do that.")

    async def close(self) -> None:
        """See ``Connector.close``. The connection itself goes when its last agent has left it."""
        self._stream.end()
        manager, self._manager = self._manager, None
        member, self._member = self._member, None
        if self._dialler is not None:
            self._dialler.abandon("The line to the telephone system was closed.")
        self._dialler = self._control = self._standing = None
        if manager is not None and member is not None:
            manager.leave(member)
        chores = [chore for chore in self._chores if chore is not asyncio.current_task()]
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        if manager is not None:
            await manager.release()

    async def refresh(self) -> None:
        """See ``Connector.refresh``: Asterisk lists its channels anew, once for all agents who ask at the time."""
        manager = self._manager
        if manager is not None and self._member is not None:
            with contextlib.suppress(ConnectionLost):
                await manager.refresh()

    def examine(self, *, number: str = "") -> AsyncIterator[Finding]:
        """See ``Connector.examine``: the way to the manager, its rights, the agent's phone, the dialplan, a call."""
        return examine(self, self._options, self._extension, number)

    async def directory(self) -> list[dict[str, str]]:
        """The colleagues: every hint of the PBX, and how it stands; see ``Connector.directory``."""
        if self._manager is None or Capability.DIRECTORY not in self.capabilities:
            return []
        names, context = self._options.directory, self._options.hint_context
        return [
            {
                "number": extension,
                "name": names.get(extension) or state.name,
                "node": f"user:{extension}",
                "presence": state.presence,
            }
            for extension, state in sorted(self._manager.switchboard.extensions(context).items())
            if extension != self._extension
        ]

    # -- the line -----------------------------------------------------------------------------------------------

    def _go_online(self, manager: Manager) -> None:
        self.capabilities = capabilities_of(self._options, manager.commands)
        self._member = Member(device=self._device, say=self._say, fail=self._fail, room=self._stream.room)
        manager.join(self._member)
        self._dialler = Dialler(manager, self._options, self._extension, self._dials_in_doubt, self._stream.put)
        self._control = CallControl(
            manager, self._options, self._extension, self.number_plan, self._dialler, self._lose_capability
        )
        told = manager.switchboard.presence(self._device)
        self._standing = Standing(manager, self._options, self._extension, told, self._stream.put)
        self._say(SessionNotification(name="LOGGED_IN"))
        self._say(SessionNotification(name="SUBSCRIBED", uri=f"user:{self._extension}"))
        snapshot = manager.switchboard.snapshot(self._device)
        self._say(snapshot)
        self._dialler.settle_doubts()
        self._say(SessionNotification(name="READY"))
        self._spawn(self._standing.begin())
        for leg in snapshot.legs:  # held before the line was lost, or by another process
            self._spawn(self._control.end_with_the_other(leg.provider_call_id))

    def _say(self, notification: Notification) -> None:
        if isinstance(notification, DialNotification) and self._dialler is not None:
            self._dialler.hear(notification)
        if isinstance(notification, PresenceNotification) and self._standing is not None:
            self._standing.hear(notification)
        else:
            self._stream.put(notification)

    def _fail(self, error: ConnectorError) -> None:
        """The connection is gone because of `error`."""
        if self._dialler is not None:
            self._dialler.leave_open()
        self._stream.fail(error)

    def _end_logged_out(self) -> None:
        if self._dialler is not None:
            self._dialler.abandon("You have logged out.")
        self._say(SessionNotification(name="LOGGED_OUT"))
        self._stream.end()
        if self._manager is not None and self._member is not None:
            self._manager.leave(self._member)

    def _lose_capability(self, capability: Capability) -> None:
        self.capabilities -= {capability}

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        chore = asyncio.create_task(coroutine)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)
