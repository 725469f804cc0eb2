"""One phone that we have called: its INVITE, its dialog, and all that goes through it later.

    invite ──1xx──> on_ring ──2xx──> (returns its description) ── reinvite, refer, send_dtmf ── end ──> over
       └──3xx-6xx──> Refused                     the other side's BYE ──> on_over

A leg is a usage of the line's user agent. It has no media of its own: it carries descriptions to and fro.

Source: RFC 3261 12-15, RFC 3264, RFC 3515 (REFER), RFC 3891 (Replaces), RFC 6665 (the NOTIFYs of a REFER).
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ...exceptions import SIPMessageError
from ...wire.sip_dialog import Arrival, Dialog
from ...wire.sip_grammar import write_params
from ...wire.sip_message import SIPRequest, SIPResponse
from ...wire.sip_uri import SIPURI, NameAddr, parse_uri
from ...wire.sip_user_agent import UserAgent
from . import sdp

__all__ = ["CallLine", "Leg", "Refused"]

ANSWER_SECONDS = 12.0  # to a request that no human answers
LINGER_SECONDS = 200.0  # longer than the far side of a REFER may ring
MAX_SIPFRAG = 2_048
_RINGING = (180, 181, 182, 183)


class Refused(Exception):
    """The phone, or the server before it, said no; 408 is silence, 487 a withdrawn call."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class CallLine:
    """What a leg needs of the line: its user agent, and to have sent what that has to send."""

    agent: UserAgent
    flush: Callable[[], None]


class Leg:
    """One call to one phone.

    Args:
        line: goes on when anything has been said.
        uri: whom to call.
    """

    def __init__(self, line: CallLine, uri: str) -> None:
        self.uri = uri
        self.sdp = b""
        """What the phone has said last of its media."""
        self.on_ring: Callable[[], None] = lambda: None
        self.on_over: Callable[[Leg], None] = lambda leg: None
        self.on_offer: Callable[[Leg, bytes], Awaitable[bytes]] | None = None
        """Asked for an answer when the phone wants to change its media (hold)."""
        self.is_up = False
        self.is_over = False
        self._line = line
        self._agent = line.agent
        self._invite: SIPRequest | None = None
        self._dialog: Dialog | None = None
        # By method, one of each at a time: what was asked, and who waits for the answer.
        self._answers: dict[str, tuple[SIPRequest, asyncio.Future[SIPResponse]]] = {}
        self._on_progress: Callable[[int], None] | None = None
        self._referral: asyncio.Future[int] | None = None
        self._offers: set[asyncio.Task[None]] = set()
        self._session = secrets.randbelow(2**31)
        self._version = 0

    # -- the call -----------------------------------------------------------------------------------------------

    async def invite(
        self, offer: bytes, direction: str = "sendrecv", headers: tuple[tuple[str, str], ...] = ()
    ) -> bytes:
        """Call; the phone's answer to `offer`, with its media in `direction`, when somebody has picked up.

        Raises:
            Refused: nobody has.
        """
        request = self._agent.new_request("INVITE", self.uri, headers=headers)
        self._describe(request, offer, direction)
        self._invite = request
        self._agent.attach(request.call_id, self)
        response = await self._ask(request, None)
        if response.status >= 300:
            self._finish()
            raise Refused(response.status)
        if self.is_over:
            raise Refused(487)  # it was put down as soon as it was picked up
        return response.body

    async def reinvite(self, offer: bytes, direction: str = "sendrecv") -> bytes:
        """Offer the phone other media; its answer.

        Raises:
            Refused: it keeps what it has.
        """
        request = self._dialog_or_refused().new_request("INVITE")
        self._describe(request, offer, direction)
        response = await self._ask(request, ANSWER_SECONDS)
        if response.status >= 300:
            if response.status in (408, 481):
                self._lose()
            raise Refused(response.status)
        return self.sdp

    def end(self) -> None:
        """Hang up, or withdraw the call. What comes of it is of no interest to anybody."""
        if self.is_over:
            return
        now = _now()
        if self.is_up and self._dialog is not None:
            self._agent.send(self._dialog.new_request("BYE"), None, now)
            self._finish()
        elif self._invite is not None:
            self._agent.cancel(self._invite, now)
        self._line.flush()

    # -- what goes through it -----------------------------------------------------------------------------------

    async def refer(
        self, uri: str, on_progress: Callable[[int], None] | None = None, *, replaces: str = ""
    ) -> "asyncio.Future[int]":
        """Ask the phone to call `uri`, in place of the call `replaces` if that is given.

        Args:
            on_progress: hears each provisional status of that call.

        Returns:
            Its final status, some time; 0 if the phone stops telling.

        Raises:
            Refused: it does not do that.
        """
        target = parse_uri(uri)
        if replaces:
            headers = (("Replaces", replaces),)
            target = SIPURI(target.scheme, target.user, target.host, target.port, headers=headers)
        request = self._dialog_or_refused().new_request("REFER")
        request.headers.add("Refer-To", str(NameAddr(str(target))))
        request.headers.add("Referred-By", str(self._agent.address))
        self._on_progress = on_progress
        referral = self._referral = asyncio.get_running_loop().create_future()
        try:
            response = await self._ask(request, ANSWER_SECONDS)
            if response.status >= 300:
                raise Refused(response.status)
        except Refused:
            self._referral = self._on_progress = None
            raise
        return referral

    async def send_dtmf(self, digit: str) -> None:
        """Press one key.

        Raises:
            Refused: the phone does not take keys like that.
        """
        request = self._dialog_or_refused().new_request("INFO")
        request.headers.add("Content-Type", "application/dtmf-relay")
        request.body = f"Signal={digit}\r\nDuration=160\r\n".encode()
        response = await self._ask(request, ANSWER_SECONDS)
        if response.status >= 300:
            raise Refused(response.status)

    @property
    def replaces(self) -> str:
        """What a Replaces header says of this leg, seen from its other side. Source: RFC 3891 3."""
        dialog = self._dialog_or_refused()
        return dialog.call_id + write_params({"to-tag": dialog.remote.tag, "from-tag": dialog.local.tag})

    @property
    def target(self) -> str:
        """The URI at which its other side is reached."""
        return self._dialog_or_refused().remote_target

    @property
    def is_behind_proxy(self) -> bool:
        """Whether the phone itself has answered, by way of a proxy that stays in the path. Else the server has, in its
        place, and calls it in a call of its own (a back-to-back user agent)."""
        return bool(self._dialog_or_refused().route_set)

    # -- a usage of the user agent ------------------------------------------------------------------------------

    def receive_response(self, request: SIPRequest, response: SIPResponse, now: float) -> None:
        """See ``Usage``."""
        if response.status < 200:
            if request.method == "INVITE" and not self.is_up and response.status in _RINGING:
                self.on_ring()
            return
        if self._dialog is not None and request.from_.tag != self._dialog.local.tag:
            self._lose()  # an INVITE of the phone's: our 2xx was never acknowledged (RFC 3261 13.3.1.4)
            return
        is_accepted = request.method == "INVITE" and response.status < 300
        if is_accepted:
            self._acknowledge(request, response, now)
        is_wanted = self._settle(request, response)
        if is_accepted and not self.is_over:
            is_late = not self.is_up and not is_wanted
            self.is_up, self.sdp = True, response.body or self.sdp
            if is_late:
                self.end()  # it was picked up after all, when nobody wanted it any more
        elif request.method == "INVITE" and not is_wanted and not self.is_up:
            self._finish()

    def handle_timeout(self, now: float) -> None:
        """See ``Sleeper``: nothing can come of this call any more."""
        if self._invite is not None:
            self._agent.detach(self._invite.call_id)

    def receive_request(self, request: SIPRequest, now: float) -> None:
        """See ``Usage``."""
        dialog = self._dialog
        if request.method == "ACK":
            return
        if dialog is None or not dialog.matches(request):
            self._agent.respond(request, 481, now)
            return
        if dialog.receive_request(request) is Arrival.LATE:
            self._agent.respond(request, 500, now)
            return
        match request.method:
            case "BYE":
                self._agent.respond(request, 200, now)
                if not self.is_over:
                    self._finish()
                    self.on_over(self)
            case "NOTIFY":
                self._hear_notify(request, now)
            case "INVITE" if self.is_up and self.on_offer is not None and request.body:
                dialog.refresh_target(request)
                task = asyncio.create_task(self._answer_offer(request))
                self._offers.add(task)
                task.add_done_callback(self._offers.discard)
            case "INVITE":
                self._agent.respond(request, 488, now)
            case _:
                self._agent.respond(request, 200, now)

    # -- small change -------------------------------------------------------------------------------------------

    def _describe(self, request: SIPRequest, description: bytes, direction: str) -> None:
        self._version += 1
        request.headers.add("Content-Type", sdp.CONTENT_TYPE)
        request.body = sdp.directed(description, direction, (self._session, self._version))

    async def _ask(self, request: SIPRequest, seconds: float | None) -> SIPResponse:
        if request.method in self._answers:
            raise Refused(491)
        future: asyncio.Future[SIPResponse] = asyncio.get_running_loop().create_future()
        waiting = self._answers[request.method] = request, future
        self._agent.send(request, self, _now())
        self._line.flush()
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            raise Refused(408) from None
        finally:
            if self._answers.get(request.method) is waiting:
                del self._answers[request.method]

    def _settle(self, request: SIPRequest, response: SIPResponse) -> bool:
        """Give `response` to whoever waits for it; False if nobody does any more. `request` may be a later copy of
        what was asked, with a log-in, but no earlier one."""
        asked, future = self._answers.get(request.method, (request, None))
        if future is None or future.done() or request.cseq.number < asked.cseq.number:
            return False
        del self._answers[request.method]
        future.set_result(response)
        return True

    def _acknowledge(self, request: SIPRequest, response: SIPResponse, now: float) -> None:
        if self._dialog is None:
            self._dialog = Dialog.from_response(request, response)
        else:
            self._dialog.refresh_target(response)
        self._agent.send_ack(self._dialog.new_ack(request.cseq.number), now)

    async def _answer_offer(self, request: SIPRequest) -> None:
        assert self.on_offer is not None
        try:
            answer = await self.on_offer(self, request.body)
            self._version += 1
            body = sdp.directed(answer, sdp.direction_of(answer), (self._session, self._version))
        except (Refused, SIPMessageError):
            self._agent.respond(request, 488, _now())
        else:
            self.sdp = request.body
            self._agent.respond(request, 200, _now(), body=body, content_type=sdp.CONTENT_TYPE)
        self._line.flush()

    def _hear_notify(self, request: SIPRequest, now: float) -> None:
        event = (request.headers.get("Event") or "").partition(";")[0].strip().lower()
        if event != "refer":
            self._agent.respond(request, 489, now, headers=(("Allow-Events", "refer"),))
            return
        self._agent.respond(request, 200, now)
        if "REFER" in self._answers:  # the answer itself was lost, or is late (RFC 6665 4.1.2.4)
            self._settle(self._answers["REFER"][0], SIPResponse(202, ""))
        status = _sipfrag_status(request.body)
        is_last = (request.headers.get("Subscription-State") or "").strip().lower().startswith("terminated")
        if 100 <= status < 200 and self._on_progress is not None:
            self._on_progress(status)
        if (status >= 200 or is_last) and self._referral is not None and not self._referral.done():
            self._referral.set_result(status if status >= 200 else 0)

    def _dialog_or_refused(self) -> Dialog:
        if self._dialog is None or self.is_over:
            raise Refused(481)
        return self._dialog

    def _lose(self) -> None:
        """The phone knows the call no more, or does not answer. Source: RFC 3261 12.2.1.2."""
        if not self.is_over:
            self.end()
            self.on_over(self)

    def _finish(self) -> None:
        """The call is over. What is still on its way is answered for a while: a BYE that has crossed ours, and the
        NOTIFYs of a REFER, which outlive the call (RFC 5057 4.2)."""
        if self.is_over or self._invite is None:
            return
        self.is_over, self.is_up = True, False
        self._agent.wake(self, _now() + LINGER_SECONDS)


def _sipfrag_status(body: bytes) -> int:
    """The status in a message/sipfrag, 0 if there is none. Source: RFC 3515 2.4.5."""
    words = body[:MAX_SIPFRAG].split(b"\r\n", 1)[0].split()
    is_status = len(words) >= 2 and words[0].upper() == b"SIP/2.0" and len(words[1]) == 3 and words[1].isdigit()
    return int(words[1]) if is_status else 0


def _now() -> float:
    return asyncio.get_running_loop().time()
