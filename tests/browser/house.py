"""A telephone system that can do everything, in the demo's own process: the sandbox's protocol cannot.

Every number answers at once, but for two: ``CALLS_BACK`` has Dana call whoever dials it, ``ENDS_ALL`` ends all calls.
"""

from dataclasses import replace
from itertools import count
from typing import Any

from cti_django.calls import commands
from cti_django.calls.commands import Command
from cti_django.calls.events import Call
from cti_django.calls.notifications import (
    DialNotification,
    DialStage,
    LegNotification,
    PresenceNotification,
    SessionNotification,
)
from cti_django.calls.numbers import Party, classify, dialable
from cti_django.calls.states import CallState, Direction, EndReason
from cti_django.exceptions import CommandRefused
from cti_django.testing import FakeConnector

__all__ = ["CALLS_BACK", "ENDS_ALL", "HouseConnector"]

CALLS_BACK, ENDS_ALL = "10099", "10098"
BROKEN_KEY = "9"
EXTENSIONS = {"alice": "10031", "bob": "10032", "carol": "10033"}
NAMES = {"10031": "Alice Agent", "10032": "Bob Agent", "10033": "Carol Agent"}
OTHERS = {"10034": ("Abel Absent", "offline"), "10035": ("Dave Dutiful", "busy"), "10036": ("Eve Early", "hold")}
DANA = classify("+442079460018", "Dana")

_lines: dict[str, "HouseConnector"] = {}  # by extension
_ids = count(1)


class HouseConnector(FakeConnector):
    """One agent's line of the house."""

    def __init__(self, credentials: Any, options: Any, **more: Any) -> None:
        super().__init__(credentials, {}, **more)
        self.extension = EXTENSIONS.get(credentials.username.partition("@")[0], "10030")
        self.me = self._party(self.extension, NAMES.get(self.extension, ""))
        self.presence = PresenceNotification(queues={"sales": False, "support": True}, is_dnd=False)
        self.pressed = ""
        self.consulted: dict[str, tuple[HouseConnector, LegNotification]] = {}  # by my leg

    async def open(self) -> None:
        await super().open()
        _lines[self.extension] = self
        self.say(self.presence)

    async def close(self) -> None:
        _lines.pop(self.extension, None)
        await super().close()

    async def directory(self) -> list[dict[str, str]]:
        others = {extension: (name, self._standing(extension)) for extension, name in NAMES.items()}
        return [
            {"number": extension, "name": name, "node": "", "presence": presence}
            for extension, (name, presence) in {**OTHERS, **others}.items()
        ]

    def _standing(self, extension: str) -> str:
        line = _lines.get(extension)
        return "offline" if line is None else "busy" if line.legs else "idle"

    async def execute(self, command: Command, call: Call | None = None) -> None:
        match command:
            case commands.Dial():
                self._dial(command)
            case commands.QueueLogin() | commands.QueueLogout():
                is_in = isinstance(command, commands.QueueLogin)
                named = {name: is_in for name in self.presence.queues if command.queue in ("", name)}
                self._stand(queues={**self.presence.queues, **named})
            case commands.Pause() | commands.Unpause():
                self._stand(is_paused=isinstance(command, commands.Pause))
            case commands.DoNotDisturb():
                self._stand(is_dnd=command.state == "on")
            case _ if call is not None:
                self._act(command, self.legs[call.leg_id])

    def _stand(self, **changed: Any) -> None:
        self.presence = replace(self.presence, **changed)
        self.say(self.presence)

    def _act(self, command: Command, leg: LegNotification) -> None:
        match command:
            case commands.Answer() | commands.Resume() | commands.Hold() | commands.HangUp():
                state = {commands.Hold: CallState.ON_HOLD, commands.HangUp: CallState.HANGUP}.get(type(command))
                self._tell(leg, state=state or CallState.CONNECTED)
            case commands.Transfer():
                self._tell(leg, state=CallState.HANGUP)
                self._ring(command.number, leg.remote)
            case commands.Consult():
                asked, theirs = self._ring(command.number, self.me)
                self.consulted[leg.leg_id] = (asked, theirs)
                self._tell(leg, state=CallState.ON_HOLD, consult=asked.me)
            case commands.CompleteTransfer():
                asked, theirs = self.consulted.pop(leg.leg_id)
                self._tell(leg, state=CallState.HANGUP)
                asked._tell(asked.legs[theirs.leg_id], remote=leg.remote)
            case commands.CancelTransfer():
                asked, theirs = self.consulted.pop(leg.leg_id)
                asked._tell(asked.legs[theirs.leg_id], state=CallState.HANGUP, end_reason=EndReason.ELSEWHERE)
                self._tell(leg, state=CallState.CONNECTED, consult=None)
            case commands.SendDTMF():
                if BROKEN_KEY in command.digits:
                    raise CommandRefused("That key is broken.")
                self.pressed += command.digits
                self.say(SessionNotification(name="INFO", message=f"Pressed {self.pressed}"))

    def _dial(self, command: commands.Dial) -> None:
        whom = dialable(command.number, self.number_plan)
        told = DialNotification(command_id=command.command_id, destination=whom, stage=DialStage.STARTED)
        self.say(told)
        if whom.extension in (CALLS_BACK, ENDS_ALL):
            self.say(replace(told, stage=DialStage.FAILED))
            if whom.extension == CALLS_BACK:
                self._ring(self.extension, DANA)
            else:
                _end_all()
            return
        leg = self._new_leg(whom, Direction.OUTBOUND)
        self.say(replace(told, stage=DialStage.ACCEPTED, provider_call_id=leg.provider_call_id))
        self._tell(leg, state=CallState.CONNECTED)

    def _ring(self, extension: str, caller: Party) -> tuple["HouseConnector", LegNotification]:
        line = _lines.get(extension)
        if line is None:
            raise CommandRefused("Nobody answers there.")
        leg = line._new_leg(caller, Direction.INBOUND)
        line._tell(leg)
        return line, leg

    def _new_leg(self, remote: Party, direction: Direction) -> LegNotification:
        name = f"house-{next(_ids)}"
        return LegNotification(
            provider_call_id=name, leg_id=f"{name}-1", state=CallState.RINGING, direction=direction,
            local=self.me, remote=remote, follows_remote=True,
        )  # fmt: skip

    def _tell(self, leg: LegNotification, **changed: Any) -> None:
        leg = replace(leg, **changed)
        self.legs[leg.leg_id] = leg
        if leg.state is CallState.HANGUP:
            del self.legs[leg.leg_id]
        self.say(leg)


def _end_all() -> None:
    for line in _lines.values():
        for leg in list(line.legs.values()):
            line._tell(leg, state=CallState.HANGUP)
