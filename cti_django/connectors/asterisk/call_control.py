"""What an agent does with a call of hers: commands, carried out one action after the other."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from ...calls.commands import (
    Answer,
    CancelTransfer,
    Capability,
    Command,
    CompleteTransfer,
    Consult,
    HangUp,
    Hold,
    Resume,
    SendDTMF,
    Transfer,
)
from ...calls.events import Call
from ...calls.numbers import NumberPlan, Party
from ...calls.states import CallState, Direction
from ...exceptions import CommandRefused, ConnectorError, NotCapable
from . import actions
from .actions import Action
from .channels import Channel
from .dialler import Dialler
from .dialplan import check_number
from .manager import Manager
from .options import Options

__all__ = ["CallControl"]

KEY_SECONDS = 0.2  # from one key to the next: a tone, and as long a silence
TOGETHER_SECONDS = 2.0  # two channels are connected, or parted, in far less
HELD_SECONDS = 86_400.0  # nobody waits longer
CONSULT_SECONDS = 8.0  # the PBX presses keys, and outside the internal plan it waits for more of them
INTERWORKING = 127  # ITU-T Q.850: what Asterisk makes of an answer that it has no cause for
NOT_NOW = "That makes no sense now."


class CallControl:
    """One agent's commands.

    Args:
        manager: connected, and watching her device.
        extension: hers.
        dialler: knows the calls that have no id yet, because her own phone still rings.
        on_incapable: told what turns out to be impossible.
    """

    __slots__ = ("_busy", "_device", "_dialler", "_extension", "_manager", "_on_incapable", "_options", "_plan")

    def __init__(
        self,
        manager: Manager,
        options: Options,
        extension: str,
        plan: NumberPlan,
        dialler: Dialler,
        on_incapable: Callable[[Capability], None],
    ) -> None:
        self._manager = manager
        self._options = options
        self._extension = extension
        self._device = options.device_of(extension)
        self._plan = plan
        self._dialler = dialler
        self._on_incapable = on_incapable
        self._busy: set[Channel] = set()

    def callee(self, number: str) -> Party:
        """Whom to call for `number`; see ``actions.callee``."""
        return actions.callee(number, self._plan, self._extension, self._options.directory)

    async def execute(self, command: Command, call: Call) -> None:
        """Carry out `command` for `call`.

        Raises:
            CommandRefused: the call is over, or Asterisk or the agent's phone does not do it.
            ConnectionLost: the line is gone; it may have been done or not.
        """
        mine = self._leg(call)
        match command:
            case Answer():
                await self._answer(call, mine)
            case HangUp():
                await self._hang_up(call, mine)
            case Hold():
                with self._alone(mine):
                    await self._hold(mine)
            case Resume():
                with self._alone(mine):
                    await self._resume(mine)
            case Transfer():
                with self._alone(mine):
                    await self._transfer(call, mine, self.callee(command.number))
            case Consult():
                with self._alone(mine):
                    await self._consult(mine, self.callee(command.number))
            case CompleteTransfer():
                await self._ask(actions.hang_up(mine.name, actions.NORMAL_CLEARING))
            case CancelTransfer():
                await self._ask(actions.cancel_consultation(mine.name))
            case SendDTMF():
                await self._press(mine, command.digits)
            case _:
                raise NotCapable("Your telephone system cannot do that.")

    @contextlib.contextmanager
    def _alone(self, mine: Channel) -> Iterator[None]:
        """One of these at a time for a call: a second Bridge on the heels of the first tears the call apart."""
        if mine in self._busy:
            raise _not_now()
        self._busy.add(mine)
        try:
            yield
        finally:
            self._busy.discard(mine)

    async def _answer(self, call: Call, mine: Channel) -> None:
        seconds = self._options.answer_seconds
        if self._options.answer == "talk":
            await self._ask(actions.answer_by_talk(mine.name))
            await self._manager.until(lambda: mine.is_up or mine.is_gone, seconds)
            answered = mine.is_up
            if mine.is_gone and mine.hangup_cause == INTERWORKING and mine.dial_status != "CANCEL":
                # It refused the NOTIFY itself (481), and Asterisk gave up its leg for that: never again.
                self._on_incapable(Capability.ANSWER)
                raise CommandRefused("Your phone cannot be answered from here; the call was lost.", code="call_lost")
            if mine.is_gone:
                raise _over()
        else:
            caller = self._caller(mine)
            await self._ask(actions.answer_by_redirect(self._options, self._extension, caller.name))
            answered = await self._manager.until(lambda: self._is_up_again(call, mine), seconds)
        if not answered:
            raise CommandRefused("Your phone did not answer by itself.", code="phone_did_not_answer")

    def _is_up_again(self, call: Call, before: Channel) -> bool:
        now = self._manager.switchboard.leg(self._device, call.provider_call_id)
        return now is not None and now is not before and now.is_up

    async def _hang_up(self, call: Call, mine: Channel) -> None:
        is_refused = call.direction is Direction.INBOUND and call.state is CallState.RINGING
        if mine.is_parked:  # nobody would hang up the other side, which listens to music on its own
            await self._ask(actions.hang_up(self._other(mine).name, actions.NORMAL_CLEARING))
            await self._let_go(mine)
        else:
            cause = actions.BUSY if is_refused else actions.NORMAL_CLEARING
            others = self._manager.switchboard.legs(self._device, mine.linkedid) if is_refused else []
            mine.hangup_requested = True  # Asterisk does not tell of those that a manager makes
            await self._ask(actions.hang_up(mine.name, cause))
            for other in others:  # her other phones ring, too
                if other is not mine and not other.is_up:
                    await self._let_go(other, cause)

    async def _let_go(self, channel: Channel, cause: str = actions.NORMAL_CLEARING) -> None:
        """End a channel that may just have ended: whoever waits for the other side of a parked one does that, too."""
        with contextlib.suppress(CommandRefused):
            await self._ask(actions.hang_up(channel.name, cause))

    async def end_with_the_other(self, provider_call_id: str) -> None:
        """Wait beside a call that the PBX holds: when one side gives up, hang up the other.

        Nobody else would: to the PBX these are two channels that have nothing to do with each other. Returns when the
        call is not held (any more), or the line is lost.
        """
        mine = self._manager.switchboard.leg(self._device, provider_call_id)
        other = self._manager.switchboard.peer(mine) if mine is not None and mine.is_parked else None
        if mine is None or other is None:
            return
        until = self._manager.until
        with contextlib.suppress(ConnectorError):
            await until(lambda: other.is_gone or mine.is_gone or not mine.is_parked, HELD_SECONDS)
            if other.is_gone and mine.is_parked and not mine.is_gone:
                await self._let_go(mine)
            # The agent's phone ends also when she has handed the call over: then the other side is led away.
            elif mine.is_gone and not await until(lambda: not self._is_waiting(other), TOGETHER_SECONDS):
                await self._let_go(other)

    def _is_waiting(self, other: Channel) -> bool:
        """Whether `other` hears the music of a held call."""
        place = (self._options.hold_context, self._options.hold_extens[0])
        return other.on_music and not other.is_gone and not other.bridge and (other.context, other.exten) == place

    async def _hold(self, mine: Channel) -> None:
        if mine.is_parked:
            return
        if self._manager.switchboard.is_conference(mine):
            raise CommandRefused("A call with several others cannot be put on hold.", code="conference")
        # The far side has answered a moment before the two are connected; until then a Redirect would part them.
        await self._manager.until(lambda: bool(mine.bridge) or mine.is_gone, TOGETHER_SECONDS)
        await self._ask(actions.hold(self._options, mine.name, self._other(mine).name))
        if not await self._manager.until(lambda: mine.is_parked or mine.is_gone, TOGETHER_SECONDS):
            raise CommandRefused("The telephone system did not put the call on hold.", code="not_held")

    async def _resume(self, mine: Channel) -> None:
        if not mine.is_parked and not mine.is_held:
            raise _not_now()
        if not mine.is_parked:
            sentence = "This call is on hold at your phone: take it off hold there."
            raise CommandRefused(sentence, code="held_by_phone", event_name="INFO")
        await self._ask(actions.go_on_together(mine.name, self._other(mine).name))
        await self._manager.until(lambda: bool(mine.bridge) or mine.is_gone, TOGETHER_SECONDS)

    async def _transfer(self, call: Call, mine: Channel, party: Party) -> None:
        digits = actions.digits_for(party, self._options)
        await check_number(self._manager, self._options, self._options.transfers_to, digits)
        if call.state is CallState.RINGING:
            await self._ask(actions.send_to(self._options, self._caller(mine).name, digits))
        elif mine.is_parked:
            await self._ask(actions.send_to(self._options, self._other(mine).name, digits))
            await self._let_go(mine)
        else:
            await self._ask(actions.transfer(self._options, mine.name, digits))

    async def _consult(self, mine: Channel, party: Party) -> None:
        keys = actions.digits_for(party, self._options, as_keys=True)
        await check_number(self._manager, self._options, self._options.transfers_to, keys)
        if mine.is_parked:
            await self._resume(mine)
        # Whoever is asked may be busy: then it is over again before the answer to the action has been looked at.
        beginning = asyncio.create_task(self._manager.until(lambda: mine.consulting or mine.is_gone, CONSULT_SECONDS))
        try:
            await self._ask(actions.consult(self._options, mine.name, keys))
            has_begun = await beginning
        finally:
            beginning.cancel()
        if mine.is_gone:
            raise _over()
        if not has_begun:
            raise CommandRefused("The telephone system did not begin the transfer.", code="no_consultation")

    async def _press(self, mine: Channel, digits: str) -> None:
        for index, key in enumerate(digits):
            if index:
                await asyncio.sleep(KEY_SECONDS)
            await self._ask(actions.press_key(self._other(mine).name, key))

    def _leg(self, call: Call) -> Channel:
        call_id = call.provider_call_id or self._dialler.channel_of(call.command_id)
        leg = self._manager.switchboard.leg(self._device, call_id)
        if leg is None:
            raise _over()
        return leg

    def _other(self, mine: Channel) -> Channel:
        other = self._manager.switchboard.peer(mine)
        if other is None:
            raise _not_now()
        return other

    def _caller(self, mine: Channel) -> Channel:
        """Who makes her phone ring. An end of a Local channel stays what it is: behind it is a queue, or an agent who
        asks her before a transfer, and who must not be led away from her own call."""
        dialler = mine.dialled_by
        return dialler if dialler is not None and dialler.is_local and not dialler.is_gone else self._other(mine)

    async def _ask(self, action: Action) -> None:
        answer = await self._manager.ask(action.name, action.headers)
        if answer.get("Response") != "Success":
            raise actions.refused(answer)


def _not_now() -> CommandRefused:
    return CommandRefused(NOT_NOW, code="not_now", event_name="INFO")


def _over() -> CommandRefused:
    return CommandRefused("That call is over.", code="no_such_call", event_name="INFO")
