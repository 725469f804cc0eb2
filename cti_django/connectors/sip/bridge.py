"""Third-party call control: two phones talk, and we stand in the signalling between them.

    phone <──INVITE, re-INVITE, BYE── us ──INVITE, re-INVITE, BYE, REFER──> far        third: whom the agent consults

Each phone's description is handed to the other; their media goes past us. What one changes is offered to the other.

Source: RFC 3725 (flow of section 4.4, with the phone's first answer as the offer), RFC 3264 8.4 (hold), RFC 5589
    (transfer), RFC 3891 (Replaces).
Deviates: sounds from before the answer (183) are not passed on; the agent hears nothing, or her server's music.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from ...calls.notifications import Notification, SessionNotification
from ...calls.numbers import Party
from ...calls.states import CallState, EndReason
from ...exceptions import CommandRefused, SIPMessageError
from . import sdp
from .leg import CallLine, Leg, Refused
from .outcomes import end_of

__all__ = ["Bridge"]

RING_SECONDS = 180.0
TRANSFER_SECONDS = 6.0
TRANSFERRED_SECONDS = 60.0
HAND_OVER_SECONDS = 1.5
_HELD = ("sendonly", "inactive")


class Bridge:
    """The agent's phone, and the call that it is connected with.

    Args:
        line: for further legs.
        phone: the agent's own phone, which has answered.
        tell: hears the state of the call, and whom she consults.
        on_end: hears why it is over, once.
        say: hears what else the agent should know.
    """

    def __init__(
        self,
        line: CallLine,
        phone: Leg,
        tell: Callable[[CallState, Party | None], None],
        on_end: Callable[[EndReason | None, str], None],
        say: Callable[[Notification], None],
    ) -> None:
        self._line = line
        self._phone = phone
        self._tell = tell
        self._on_end = on_end
        self._say = say
        self._far: Leg | None = None
        self._third: Leg | None = None
        self._turn = asyncio.Lock()  # two of us offering media at once would only refuse each other
        self._chores: set[asyncio.Task[None]] = set()
        self._is_over = False

    @property
    def is_talking(self) -> bool:
        """Whether the far side has answered, and nobody has hung up."""
        return not self._is_over and self._far is not None and self._far.is_up

    async def connect(self, uri: str) -> None:
        """Call the far side; returns when it has answered, or when the call is over."""
        self._phone.on_over = self._hung_up
        far = self._far = Leg(self._line, uri)
        far.on_ring = lambda: self._tell(CallState.RINGING, None)
        try:
            async with asyncio.timeout(RING_SECONDS):
                answer = await far.invite(self._phone.sdp)
            self._watch(far)
            await self._phone.reinvite(answer)
        except Refused as refused:
            self._finish(*end_of(refused.status))
        except TimeoutError:
            self._finish(*end_of(408))
        except SIPMessageError as error:
            self._finish(None, str(error))
        else:
            self._watch(self._phone)
            self._tell(CallState.CONNECTED, None)

    def end(self) -> None:
        """Hang up everywhere."""
        self._finish(None, "")

    async def hand_over(self) -> None:
        """Go away, and let those who talk go on talking: connected with each other, if the far side lets itself be."""
        self._is_over = True
        for chore in self._chores:
            chore.cancel()
        with contextlib.suppress(Refused, TimeoutError, SIPMessageError):
            async with asyncio.timeout(HAND_OVER_SECONDS):
                far = self._other()
                await (await far.refer(self._phone.target, replaces=self._phone.replaces))
                far.end()

    # -- what the agent asks ------------------------------------------------------------------------------------

    async def hold(self) -> None:
        """Both sides stop sending.

        Raises:
            Refused: one of them does not do that.
        """
        async with self._turn:
            far = self._other()
            await far.reinvite(self._phone.sdp, "inactive")
            await self._phone.reinvite(far.sdp, "inactive")
        self._tell(CallState.ON_HOLD, None)

    async def resume(self) -> None:
        """Both talk again. Raises as ``hold``."""
        async with self._turn:
            await self._join(self._phone, self._other())
        self._tell(CallState.CONNECTED, None)

    async def transfer(self, uri: str) -> None:
        """Send the far side to `uri`; the agent is out as soon as it has agreed to go.

        Raises:
            Refused: it does not let itself be sent.
        """
        far = self._other()
        gone = await far.refer(uri)
        self._phone.end()
        self._far = None
        self._finish(EndReason.TRANSFERRED, "")
        self._spawn(self._end_behind(far, gone))

    async def consult(self, uri: str, whom: Party) -> None:
        """Put the far side on hold and call `uri`. Raises as ``hold``."""
        async with self._turn:
            await self._other().reinvite(self._phone.sdp, "inactive")
        self._third = Leg(self._line, uri)
        self._tell(CallState.ON_HOLD, whom)
        self._spawn(self._reach(self._third))

    async def complete(self) -> None:
        """Connect the far side with whoever is consulted, and leave.

        Raises:
            Refused: they cannot be connected.
        """
        far, third = self._other(), self._third
        if third is None:
            raise Refused(481)
        if not third.is_up:
            third.end()
            self._third = None
            await self.transfer(third.uri)
            return
        try:
            async with asyncio.timeout(TRANSFER_SECONDS):
                status = await (await far.refer(third.target, replaces=third.replaces))
            if status >= 300:
                raise Refused(status)
        except (Refused, TimeoutError):
            if far.is_up and third.is_up:
                await self._leave_them(far, third)
                return
            if far.is_up:
                raise
        self._finish(EndReason.TRANSFERRED, "")

    async def back(self) -> None:
        """Leave whoever is consulted and go back to the far side. Raises as ``hold``."""
        third, self._third = self._third, None
        if third is not None:
            third.end()
        await self.resume()

    async def send_dtmf(self, digits: str) -> None:
        """Press keys for whoever the agent talks with.

        Raises:
            Refused: that side takes no keys like that.
        """
        leg = self._third if self._third is not None and self._third.is_up else self._other()
        for digit in digits.upper():
            await leg.send_dtmf(digit)

    # -- what the phones do -------------------------------------------------------------------------------------

    async def _pass_on(self, leg: Leg, offer: bytes) -> bytes:
        """What `leg` offers is for the other side to answer."""
        other = self._other() if leg is self._phone else self._phone
        if self._third is not None:
            if leg is not self._phone:
                raise Refused(488)  # it is on hold
            other = self._third
        direction = sdp.direction_of(offer)
        async with self._turn:
            answer = await other.reinvite(offer, direction)
        if leg is self._phone and self._third is None:
            self._tell(CallState.ON_HOLD if direction in _HELD else CallState.CONNECTED, None)
        return answer

    def _hung_up(self, leg: Leg) -> None:
        if leg is self._third:
            self._spawn(self._come_back())
        else:
            self._finish(None, "")

    # -- small change -------------------------------------------------------------------------------------------

    def _watch(self, leg: Leg) -> None:
        leg.on_over = self._hung_up
        leg.on_offer = self._pass_on
        if leg.is_over:
            self._hung_up(leg)

    async def _join(self, one: Leg, other: Leg) -> None:
        answer = await other.reinvite(one.sdp)
        await one.reinvite(answer)

    async def _reach(self, third: Leg) -> None:
        try:
            async with asyncio.timeout(RING_SECONDS):
                answer = await third.invite(self._phone.sdp)
            third.on_over = self._hung_up
            async with self._turn:
                await self._phone.reinvite(answer)
        except (Refused, TimeoutError, SIPMessageError) as error:
            third.end()
            if self._third is third:  # else she has gone back by herself
                words = end_of(error.status if isinstance(error, Refused) else 408)[1]
                self._say(SessionNotification(name="INFO", message=words, code="consult_failed"))
                await self._come_back()

    async def _come_back(self) -> None:
        try:
            await self.back()
        except (Refused, CommandRefused, SIPMessageError):
            self._finish(None, "")

    async def _leave_them(self, far: Leg, third: Leg) -> None:
        """Whoever cannot be transferred is connected by us, and we stay between them."""
        async with self._turn:
            await self._join(far, third)
        self._phone.end()
        self._third = self._far = None
        rest = Bridge(self._line, far, lambda *_: None, lambda *_: None, lambda _: None)
        rest._far = third
        rest._watch(far)
        rest._watch(third)
        self._finish(EndReason.TRANSFERRED, "")

    async def _end_behind(self, far: Leg, gone: "asyncio.Future[int]") -> None:
        await asyncio.wait({gone}, timeout=TRANSFERRED_SECONDS)
        gone.cancel()
        far.end()

    def _other(self) -> Leg:
        if self._far is None or not self._far.is_up:
            raise Refused(481)
        return self._far

    def _finish(self, reason: EndReason | None, cause: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        for leg in (self._phone, self._far, self._third):
            if leg is not None:
                leg.end()
        self._on_end(reason, cause)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        chore = asyncio.create_task(coroutine)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)
