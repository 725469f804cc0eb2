"""Click-to-call: the agent's own phone first, then the number; and control of what was placed so.

    own phone rings (INITIAL) ──picked up──> ACCEPTED ── REFER ──taken──> its NOTIFYs tell: RINGING, CONNECTED, failed
                                                │          └──refused──> Bridge: we call the number ourselves
                                                └── no phone answers, but a server in its place ──> Bridge

A call that was placed by REFER belongs to the phone from then on: it is watched, and cannot be controlled. One on a
Bridge can. A server that is called in the phone's place (Asterisk) takes a REFER too, but reports "answered" as soon
as the phone hears a ringing tone, and "unavailable" for whatever fails.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from ...calls import commands
from ...calls.events import Call
from ...calls.notifications import DialNotification, DialStage, Notification
from ...calls.numbers import Party
from ...calls.states import CallState
from ...exceptions import CommandRefused, NotCapable, SIPMessageError
from . import sdp
from .bridge import Bridge
from .joining import Joiner
from .leg import CallLine, Leg, Refused
from .outcomes import end_of, own_phone_failed

__all__ = ["Dialling"]

MAX_AT_ONCE = 4
REFER_SECONDS = 180.0
_RINGING = (180, 181, 182, 183)
_AUTO_ANSWER = (
    ("Call-Info", "<sip:answer.invalid>;answer-after=0"),
    ("Alert-Info", "<http://answer.invalid>;info=alert-autoanswer"),
)
WATCHED_ONLY = "This call belongs to your phone: use its keys. Only calls that this program stays in can be controlled."
NOT_NOW = "That makes no sense now."


class _Placed:
    """One click-to-call that is under way, or goes through us."""

    def __init__(self, command_id: str, destination: Party, call_id: str, phone: Leg) -> None:
        self.command_id = command_id
        self.destination = destination
        self.call_id = call_id
        self.phone = phone
        self.bridge: Bridge | None = None
        self.is_accepted = False
        self.is_withdrawn = False
        self.task: asyncio.Task[None] | None = None


class Dialling:
    """All click-to-calls of one line.

    Args:
        line: of the agent.
        joiner: hears what they do.
        say: hears how far they have come.
        mode: "refer", "3pcc" or "auto"; see ``Options``.
        phone_uri: rings the agent's own phone.
        dial_seconds: how long it may.
        auto_answer: whether it is asked to answer by itself.
        on_control: a call is being placed that can be controlled.
    """

    def __init__(
        self,
        line: CallLine,
        joiner: Joiner,
        say: Callable[[Notification], None],
        *,
        mode: str,
        phone_uri: str,
        dial_seconds: float,
        auto_answer: bool,
        on_control: Callable[[], None],
    ) -> None:
        self.mode = mode
        self._line = line
        self._joiner = joiner
        self._say = say
        self._phone_uri = phone_uri
        self._dial_seconds = dial_seconds
        self._auto_answer = auto_answer
        self._on_control = on_control
        self._placed: dict[str, _Placed] = {}

    @property
    def is_ringing(self) -> bool:
        """Whether the agent's own phone rings for a click-to-call."""
        return any(not placed.is_accepted for placed in self._placed.values())

    def dial(self, command_id: str, destination: Party, uri: str) -> None:
        """Begin to call `destination` at `uri`: STARTED is said before this returns.

        Raises:
            CommandRefused: there are too many already.
        """
        if len(self._placed) >= MAX_AT_ONCE:
            raise CommandRefused("Too many calls are being placed at once.", code="too_many_calls")
        phone = Leg(self._line, self._phone_uri)
        call_id = self._joiner.place(f"dial-{secrets.token_hex(8)}", destination)
        placed = self._placed[call_id] = _Placed(command_id, destination, call_id, phone)
        self._tell(placed, DialStage.STARTED)
        placed.task = asyncio.create_task(self._place(placed, uri))

    async def control(self, command: commands.Command, call: Call, uri_of: Callable[[str], tuple[Party, str]]) -> None:
        """Carry out `command` for a call that was placed here.

        Args:
            uri_of: whom a number as typed names, and where they are.

        Raises:
            CommandRefused: it is not one of those, or its phones refuse.
        """
        placed = self._placed.get(call.provider_call_id)
        if placed is None:
            raise NotCapable(WATCHED_ONLY, code="watched_only")
        if isinstance(command, commands.HangUp):
            self._hang_up(placed)
            return
        if placed.bridge is None or not placed.bridge.is_talking:
            raise CommandRefused(NOT_NOW, code="not_now", event_name="INFO")
        try:
            await self._ask(placed.bridge, command, uri_of)
        except Refused as refused:
            words = f"The other telephone refuses that (status {refused.status:d})."
            raise CommandRefused(words, code="refused_by_phone") from None
        except SIPMessageError as error:
            raise CommandRefused(str(error), code=error.code) from None

    def close(self, cause: str) -> list[Bridge]:
        """The line is given up: what is not answered is withdrawn.

        Args:
            cause: the sentence for the agent whose call is not placed; "" if it may yet come about.

        Returns:
            Those who talk, to be handed over if the line is still there.
        """
        placed_calls, self._placed = list(self._placed.values()), {}
        talking = []
        for placed in placed_calls:
            if placed.bridge is not None and placed.bridge.is_talking:
                talking.append(placed.bridge)
                continue
            if placed.task is not None:
                placed.task.cancel()
            if not placed.is_accepted:
                self._tell(placed, DialStage.FAILED if cause else DialStage.DOUBTFUL, cause)
            if placed.bridge is not None:
                placed.bridge.end()
            placed.phone.end()
        return talking

    # -- placing ------------------------------------------------------------------------------------------------

    async def _place(self, placed: _Placed, uri: str) -> None:
        try:
            if await self._ring_own_phone(placed):
                await self._reach(placed, uri)
        finally:
            if placed.bridge is None:
                self._placed.pop(placed.call_id, None)

    async def _ring_own_phone(self, placed: _Placed) -> bool:
        status = 408
        try:
            async with asyncio.timeout(self._dial_seconds):
                await placed.phone.invite(sdp.black_hole(), "inactive", _AUTO_ANSWER if self._auto_answer else ())
        except Refused as refused:
            status = 487 if placed.is_withdrawn else refused.status
        except TimeoutError:
            placed.phone.end()
        else:
            placed.is_accepted = True
            self._tell(placed, DialStage.ACCEPTED)
            return True
        self._joiner.end(placed.call_id, quietly=True)
        self._tell(placed, DialStage.FAILED, own_phone_failed(status))
        return False

    async def _reach(self, placed: _Placed, uri: str) -> None:
        if self.mode == "refer" or (self.mode == "auto" and placed.phone.is_behind_proxy):
            try:
                await self._refer(placed, uri)
            except Refused as refused:
                if self.mode == "refer" or placed.phone.is_over:
                    placed.phone.end()
                    reason, cause = end_of(refused.status)
                    self._joiner.end(placed.call_id, reason, "" if placed.is_withdrawn else cause)
                    return
                self.mode = "3pcc"
            else:
                return
        self._on_control()
        placed.bridge = Bridge(
            self._line,
            placed.phone,
            lambda state, consult: self._joiner.tell(placed.call_id, state, consult=consult),
            lambda reason, cause: self._forget(placed, reason, cause),
            self._say,
        )
        await placed.bridge.connect(uri)

    async def _refer(self, placed: _Placed, uri: str) -> None:
        def progress(status: int) -> None:
            if status in _RINGING:
                self._joiner.tell(placed.call_id, CallState.RINGING)

        final = await placed.phone.refer(uri, progress)
        status = 0
        try:
            async with asyncio.timeout(REFER_SECONDS):
                status = await final
        except TimeoutError:
            pass
        placed.phone.end()
        if status >= 300:
            self._joiner.end(placed.call_id, *end_of(status))
            return
        if status:
            self._joiner.tell(placed.call_id, CallState.CONNECTED)
        self._joiner.release(placed.call_id)

    # -- control ------------------------------------------------------------------------------------------------

    def _hang_up(self, placed: _Placed) -> None:
        placed.is_withdrawn = True
        if placed.bridge is not None:
            placed.bridge.end()
        elif placed.is_accepted and placed.phone.is_over:
            raise CommandRefused(WATCHED_ONLY, code="watched_only", event_name="INFO")
        else:
            placed.phone.end()

    async def _ask(self, bridge: Bridge, command: Any, uri_of: Callable[[str], tuple[Party, str]]) -> None:
        match command:
            case commands.Hold():
                await bridge.hold()
            case commands.Resume():
                await bridge.resume()
            case commands.Transfer():
                await bridge.transfer(uri_of(command.number)[1])
            case commands.Consult():
                whom, uri = uri_of(command.number)
                await bridge.consult(uri, whom)
            case commands.CompleteTransfer():
                await bridge.complete()
            case commands.CancelTransfer():
                await bridge.back()
            case commands.SendDTMF():
                await bridge.send_dtmf(command.digits)
            case _:
                raise NotCapable("Your telephone system cannot do that.")

    def _forget(self, placed: _Placed, reason: Any, cause: str) -> None:
        self._placed.pop(placed.call_id, None)
        self._joiner.end(placed.call_id, reason, cause)

    def _tell(self, placed: _Placed, stage: DialStage, cause: str = "") -> None:
        self._say(
            DialNotification(
                command_id=placed.command_id,
                destination=placed.destination,
                stage=stage,
                provider_call_id=placed.call_id,
                cause=cause,
            )
        )
