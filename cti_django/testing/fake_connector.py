"""A connector without a telephone system: a test says what it hears, and reads what it was asked."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..calls.commands import Answer, Capability, Command, Dial, HangUp, Hold, Logout, Resume, Transfer, TwoFactorCode
from ..calls.events import Call
from ..calls.notifications import (
    DialNotification,
    DialStage,
    LegNotification,
    Notification,
    SessionNotification,
    Snapshot,
)
from ..calls.numbers import DEFAULT_NUMBER_PLAN, NumberPlan, Party, classify, dialable
from ..calls.states import CallState, Direction
from ..connectors.base import Connector, Credentials
from ..exceptions import CommandRefused, InvalidNumber, NotCapable

__all__ = ["FakeConnector"]

_BECOMES: dict[type[Command], CallState] = {
    Answer: CallState.CONNECTED,
    HangUp: CallState.HANGUP,
    Hold: CallState.ON_HOLD,
    Resume: CallState.CONNECTED,
    Transfer: CallState.HANGUP,
}


class FakeConnector(Connector):
    """Says what ``say`` is given and keeps what ``execute`` is asked in ``executed``.

    ``refresh`` says a Snapshot of ``legs``: those that ``leg`` has said and that live; what a test takes out has ended
    unseen. ``open_errors`` are raised by the next openings, one each; ``lose(error)`` breaks the line.

    Options:
        ready: False: an opened line says nothing by itself; else LOGGED_IN, SUBSCRIBED and READY.
        obeys: True: it behaves as a whole telephone system does. Opening says a Snapshot, a dial is STARTED, a call
            does as it is told, and what makes no sense is refused.
    """

    name = "fake"
    capabilities = frozenset(Capability)

    def __init__(
        self, credentials: Credentials, options: Mapping[str, Any], *, number_plan: NumberPlan = DEFAULT_NUMBER_PLAN
    ) -> None:
        super().__init__(credentials, options, number_plan=number_plan)
        if unknown := sorted(set(options) - {"ready", "obeys"}):
            raise ValueError(f"The fake connector has no option {', '.join(unknown)}; it has obeys, ready.")
        self.ready: bool = options.get("ready", True)
        self.obeys: bool = options.get("obeys", False)
        self.open_errors: list[Exception] = []
        self.execute_error: Exception | None = None
        self.executed: list[tuple[Command, Call | None]] = []
        self.openings = 0
        self.refreshes = 0
        self.legs: dict[str, LegNotification] = {}  # by leg_id
        self.closed = False
        self._said: asyncio.Queue[Notification | Exception | None] = asyncio.Queue()

    async def open(self) -> None:
        """Raise the first of ``open_errors``; or say what an opened line says."""
        self.openings += 1
        self.closed = False
        if self.open_errors:
            raise self.open_errors.pop(0)
        self._said = asyncio.Queue()
        if self.ready:
            self.say(SessionNotification(name="LOGGED_IN"))
            self.say(SessionNotification(name="SUBSCRIBED", uri="user:10031"))
            if self.obeys:
                self.say(Snapshot(legs=tuple(self.legs.values())))
            self.say(SessionNotification(name="READY"))

    async def notifications(self) -> AsyncIterator[Notification]:
        """What was said, in order; see ``Connector.notifications``."""
        said = self._said
        while (each := await said.get()) is not None:
            if isinstance(each, Exception):
                raise each
            yield each
            said.task_done()

    async def heard(self) -> None:
        """Return when everything that was said is taken in."""
        await self._said.join()

    async def execute(self, command: Command, call: Call | None = None) -> None:
        """Keep it in ``executed``; raise ``execute_error`` if there is one, else obey if that is wanted."""
        self.executed.append((command, call))
        if self.execute_error is not None:
            raise self.execute_error
        if self.obeys:
            self._obey(command, call)

    async def refresh(self) -> None:
        """Say a Snapshot of ``legs``."""
        self.refreshes += 1
        self.say(Snapshot(legs=tuple(self.legs.values())))

    async def close(self) -> None:
        """End the notifications."""
        self.closed = True
        self.end()

    def say(self, notification: Notification) -> None:
        """Let the telephone system say this."""
        self._said.put_nowait(notification)

    def lose(self, error: Exception) -> None:
        """Break the line."""
        self._said.put_nowait(error)

    def end(self) -> None:
        """End the notifications, as after LOGGED_OUT."""
        self._said.put_nowait(None)

    def leg(
        self,
        state: CallState,
        number: str = "+442079460018",
        name: str = "Dana",
        *,
        provider_call_id: str = "731",
        leg_id: str = "",
        direction: Direction = Direction.INBOUND,
        started_at: datetime | None = None,
    ) -> None:
        """Say that a leg of a call with `number`, which began at `started_at`, is in `state`."""
        leg = LegNotification(
            provider_call_id=provider_call_id,
            leg_id=leg_id or f"{provider_call_id}-1",
            state=state,
            direction=direction,
            local=self._party("10031", "Alice Agent"),
            remote=self._party(number, name),
            started_at=started_at,
        )
        self._say_leg(leg)

    def _say_leg(self, leg: LegNotification) -> None:
        self.legs[leg.leg_id] = leg
        if leg.state is CallState.HANGUP:
            del self.legs[leg.leg_id]
        self.say(leg)

    def _party(self, number: str, name: str) -> Party:
        return classify(number, name, self.number_plan)

    # -- what a telephone system does ---------------------------------------------------------------------------

    def _obey(self, command: Command, call: Call | None) -> None:
        self._check(command, call)
        match command:
            case Dial():
                self._dial(command)
            case Logout():
                self.say(SessionNotification(name="LOGGED_OUT"))
                self.end()
            case _ if call is not None and type(command) in _BECOMES:
                self._say_leg(replace(self.legs[call.leg_id], state=_BECOMES[type(command)]))

    def _check(self, command: Command, call: Call | None) -> None:
        if command.capability is not None and command.capability not in self.capabilities:
            raise NotCapable("This telephone system cannot do that.")
        if self.closed or not self.openings:
            raise CommandRefused("You are not connected to the telephone system.", code="not_connected")
        if hasattr(command, "call_id") and (call is None or call.leg_id not in self.legs):
            raise CommandRefused("That call is over.", code="no_such_call", event_name="INFO")
        if isinstance(command, TwoFactorCode):
            raise CommandRefused("No code is asked for now.", code="no_code_wanted", event_name="INFO")

    def _dial(self, command: Dial) -> None:
        try:
            destination = dialable(command.number, self.number_plan)
        except InvalidNumber as error:
            raise CommandRefused(str(error), code=error.code) from None
        self.say(DialNotification(command_id=command.command_id, destination=destination, stage=DialStage.STARTED))
