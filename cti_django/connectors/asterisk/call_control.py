"""What an agent does with a call of hers: commands, carried out one action after the other."""

import asyncio

from ...calls.commands import (
    Answer,
    CancelTransfer,
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
from ...exceptions import CommandRefused, NotCapable
from . import actions
from .actions import Action
from .channels import Channel
from .dialler import Dialler
from .manager import Manager
from .options import Options

__all__ = ["CallControl", "carry_out"]

KEY_SECONDS = 0.2  # from one key to the next: a tone, and as long a silence
TOGETHER_SECONDS = 2.0  # two parked channels are connected again in far less
CONSULT_SECONDS = 8.0  # the PBX presses keys, and outside the internal plan it waits for more of them
NOT_NOW = "That makes no sense now."


class CallControl:
    """One agent's commands.

    Args:
        manager: connected, and watching her device.
        extension: hers.
        dialler: knows the calls that have no id yet, because her own phone still rings.
    """

    __slots__ = ("_device", "_dialler", "_extension", "_manager", "_options", "_plan")

    def __init__(self, manager: Manager, options: Options, extension: str, plan: NumberPlan, dialler: Dialler) -> None:
        self._manager = manager
        self._options = options
        self._extension = extension
        self._device = options.device_of(extension)
        self._plan = plan
        self._dialler = dialler

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
                await self._ask(actions.hold(self._options, mine.name, self._other(mine).name))
            case Resume():
                await self._resume(mine)
            case Transfer():
                await self._transfer(call, mine, self.callee(command.number))
            case Consult():
                await self._consult(mine, self.callee(command.number))
            case CompleteTransfer():
                await self._ask(actions.hang_up(mine.name, actions.NORMAL_CLEARING))
            case CancelTransfer():
                await self._ask(actions.cancel_consultation(mine.name))
            case SendDTMF():
                await self._press(mine, command.digits)
            case _:
                raise NotCapable("Asterisk cannot do that.")

    async def _answer(self, call: Call, mine: Channel) -> None:
        seconds = self._options.answer_seconds
        if self._options.answer == "talk":
            await self._ask(actions.answer_by_talk(mine.name))
            await self._manager.until(lambda: mine.is_up or mine.is_gone, seconds)
            if mine.is_gone:
                raise _over()
            answered = mine.is_up
        else:
            caller = self._other(mine)
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
        await self._ask(actions.hang_up(mine.name, actions.BUSY if is_refused else actions.NORMAL_CLEARING))

    async def _resume(self, mine: Channel) -> None:
        if not mine.is_parked:
            sentence = "This call is on hold at your phone: take it off hold there."
            raise CommandRefused(sentence, code="held_by_phone", event_name="INFO")
        await self._ask(actions.go_on_together(mine.name, self._other(mine).name))

    async def _transfer(self, call: Call, mine: Channel, party: Party) -> None:
        digits = actions.digits_for(party, self._options)
        if call.state is CallState.RINGING:
            await self._ask(actions.send_to(self._options, self._other(mine).name, digits))
        elif mine.is_parked:
            await self._ask(actions.send_to(self._options, self._other(mine).name, digits))
            await self._ask(actions.hang_up(mine.name, actions.NORMAL_CLEARING))
        else:
            await self._ask(actions.transfer(self._options, mine.name, digits))

    async def _consult(self, mine: Channel, party: Party) -> None:
        if mine.is_parked:
            await self._resume(mine)
            await self._manager.until(lambda: bool(mine.bridge) or mine.is_gone, TOGETHER_SECONDS)
        keys = actions.digits_for(party, self._options, as_keys=True)
        await self._ask(actions.consult(self._options, mine.name, keys))
        await self._manager.until(lambda: mine.consulting or mine.is_gone, CONSULT_SECONDS)
        if mine.is_gone:
            raise _over()
        if not mine.consulting:
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
            raise CommandRefused(NOT_NOW, code="not_now", event_name="INFO")
        return other

    async def _ask(self, action: Action) -> None:
        await carry_out(self._manager, action)


async def carry_out(manager: Manager, action: Action) -> None:
    """Have the PBX do `action`.

    Raises:
        CommandRefused: it says no, in plain words.
        ConnectionLost: there is no answer.
    """
    answer = await manager.ask(action.name, action.headers)
    if answer.get("Response") != "Success":
        raise actions.refused(answer)


def _over() -> CommandRefused:
    return CommandRefused("That call is over.", code="no_such_call", event_name="INFO")
