"""One user's SIP over one flow: a UDP socket, a TCP or TLS connection, or a WebSocket.

    usages        a registration, subscriptions, calls: what it is all for
      │ send, send_ack, cancel, respond          ▲ receive_request, receive_response
    UserAgent     Via, numbers, log-in, redirects, forks, who gets what; 481, 405, OPTIONS, keep-alive
      │ transactions (sip_transaction, sip_invite): what is sent again, and what is answered again
    the flow      receive_data, data_to_send, next_deadline, handle_timeout

It has no I/O and no clock: `now` is monotonic seconds and always passed in. One flow is one UserAgent: a lost flow is
its end (``lose_flow``), and a new one gets a new UserAgent.

No peer can make it grow: it remembers no more than ``MAX_SERVED`` requests of the peer, and those for 32 s.

Source: RFC 3261 8, 9, 13, 18.2.1; RFC 3581 (rport); RFC 5626 4.4.1 (keep-alive); RFC 7118 (WebSocket).
Deviates: a request that is too large for a datagram is sent as one all the same (RFC 3261 18.1.1 wants TCP): the
    transport is configured.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..exceptions import SIPMessageError
from .sip_identity import Identity
from .sip_keep_alive import PING, PONG, KeepAlive
from .sip_login import Login
from .sip_message import SIPRequest, SIPResponse, parse_message
from .sip_sent import SentRequests
from .sip_served import ServedRequests
from .sip_transaction import salvage_request
from .sip_uri import Via, parse_uri
from .sip_usage import FlowFailed, ProtocolFault, Sleeper, Usage

__all__ = ["ALLOW", "FlowFailed", "ProtocolFault", "Sleeper", "Usage", "UserAgent"]

ALLOW = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "NOTIFY")
"""The methods that a user agent serves unless it is told otherwise."""

_MAKES_DIALOG = frozenset(("INVITE", "SUBSCRIBE", "REFER"))


class UserAgent(Identity):
    """One user on one flow.

    Args:
        address: her own, "sip:1001@example.com": what From says.
        username, password: for the digest; the password is in no repr.
        transport: "UDP", "TCP", "TLS", "WS" or "WSS".
        sent_by: where answers and requests find us, "192.0.2.1:5062"; a name that never resolves ("xyz.invalid") if
            only the flow leads here (RFC 7118 5).
        contact_user: the user part of our Contact; "" for that of `address`.
        route: the first hops of requests outside of a dialog, nearest first: an outbound proxy, a Service-Route.
        user_agent: what we call ourselves; "" for nothing.
        allow: the methods that we serve. Others are answered 405.
        accept: media types for the answer to OPTIONS.
        supported: option tags; a request that requires others is answered 420.
        logs_in_ahead: put credentials into every request once a challenge has been answered. Otherwise each is
            challenged for itself.
        random: gives as many random bytes as asked for.

    Raises:
        SIPMessageError: an address, a route or a sent_by that no message can hold.
    """

    __slots__ = (
        "_accept",
        "_calls",
        "_events",
        "_is_answered",
        "_keep_alive",
        "_out",
        "_sent",
        "_served",
        "_wakes",
        "login",
        "on_request",
        "public_address",
        "reliable",
    )

    def __init__(
        self,
        *,
        address: str,
        username: str,
        password: str,
        transport: str,
        sent_by: str,
        contact_user: str = "",
        route: tuple[str, ...] = (),
        user_agent: str = "cti_django",
        allow: tuple[str, ...] = ALLOW,
        accept: str = "",
        supported: tuple[str, ...] = (),
        logs_in_ahead: bool = True,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        super().__init__(address, transport, sent_by, contact_user=contact_user, route=route, random=random)
        self.name, self.allow, self.supported = user_agent, allow, frozenset(supported)
        self.reliable = transport != "UDP"
        """Whether the flow delivers by itself."""
        self._accept = accept
        self._keep_alive: KeepAlive | None = None
        self._calls: dict[str, Usage] = {}
        self.login = Login(username, password, is_forward=logs_in_ahead, random=random)
        self._sent = SentRequests(self.login, self.dress, reliable=self.reliable)
        self._served = ServedRequests(reliable=self.reliable)
        self._wakes: dict[Sleeper, float] = {}
        self._events: list[Any] = []
        self._out: list[bytes] = []
        self._is_answered = False
        self.on_request: Callable[[SIPRequest, float], Usage | None] | None = None
        """Asked about a request of the peer that belongs to nothing. The usage that it returns is attached, and gets
        the request; None means that it is not wanted, or answered already."""
        self.public_address = ""
        """Where the peer sees us, "198.51.100.7:40312", by the latest response that told; "" while none has."""

    # What usages want.

    def attach(self, call_id: str, usage: Usage) -> None:
        """From now on the peer's requests with `call_id` are for `usage`."""
        self._calls[call_id] = usage
        self._sent.count(call_id)

    def detach(self, call_id: str) -> None:
        """Nobody listens to `call_id` any more; its requests under way are abandoned too."""
        self.abandon(call_id)
        self._calls.pop(call_id, None)
        self._sent.forget(call_id)

    def abandon(self, call_id: str) -> None:
        """Tell nobody what becomes of our requests in `call_id`.

        Those that were sent without a usage go on. So does an INVITE until it is answered: a 2xx to it is acknowledged
        and hung up at once. To end it sooner, ``cancel`` it first.
        """
        self._sent.abandon(call_id)

    def keep_alive(self, seconds: float, now: float) -> None:
        """From now on, send a double CRLF every so many seconds: it keeps the way back open through a NAT.

        ``FlowFailed`` is told when a peer that has answered one before leaves one unanswered for 10 s, in silence.
        """
        self._keep_alive = KeepAlive(seconds, now)

    def wake(self, sleeper: Sleeper, at: float | None) -> None:
        """Have ``sleeper.handle_timeout`` called at that moment instead of the one before; None for never."""
        if at is None:
            self._wakes.pop(sleeper, None)
        else:
            self._wakes[sleeper] = at

    def tell(self, event: object) -> None:
        """Put `event` into ``events_received``, behind what is there."""
        self._events.append(event)

    def send(self, request: SIPRequest, usage: Usage | None, now: float) -> None:
        """Send `request` (no ACK, no CANCEL), complete but for Via, Contact and log-in, which are added to it here.

        Its number is raised if its call has seen that number before: log-ins take numbers of their own.

        Args:
            usage: hears what becomes of it; None if nobody needs to.
        """
        self._sent.send(request, usage, now)
        self._collect()

    def send_ack(self, request: SIPRequest, now: float) -> None:
        """Send the ACK for a 2xx (``Dialog.new_ack``); whenever the 2xx comes again, it is sent again."""
        self._sent.send_ack(request)
        self._collect()

    def cancel(self, request: SIPRequest, now: float) -> None:
        """Cancel the INVITE `request`, as soon as that may be; its usage hears its refusal (487, as a rule)."""
        self._sent.cancel(request.call_id, now)
        self._collect()

    def respond(
        self,
        request: SIPRequest,
        status: int,
        now: float,
        *,
        reason: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        content_type: str = "",
        to_tag: str = "",
    ) -> SIPResponse:
        """Answer `request` of the peer.

        Args:
            reason: "" for the usual phrase.
            to_tag: "" for a tag that all answers to this request have in common.

        Returns:
            What was sent: its To is our end of the dialog that it makes.
        """
        served = self._served.find(request) if self._served.needs(request) else None
        tag = to_tag or (served.tag if served is not None else self.new_tag())
        response = request.reply(status, reason, to_tag=tag if status > 100 else "")
        for name, value in headers:
            response.headers.add(name, value)
        if 100 < status < 300 and request.method in _MAKES_DIALOG:
            for route in request.headers.get_all("Record-Route"):
                response.headers.add("Record-Route", route)
            if "Contact" not in response.headers:
                response.headers.add("Contact", str(self.contact))
        if content_type:
            response.headers.add("Content-Type", content_type)
        response.body = body
        self._is_answered = True
        if served is None:
            self._out.append(bytes(response))
        else:
            self._served.respond(served, response, now)
            self._collect()
        return response

    # The five verbs of a protocol machine.

    def receive_data(self, data: bytes | str, now: float) -> None:
        """Take one datagram, WebSocket frame, or message of a ``SIPStream``. Never raises, whatever it holds."""
        if isinstance(data, str):
            data = data.encode("utf-8", "replace")
        if self._keep_alive is not None:
            self._keep_alive.hear(data)
        if data in (PING, PONG):
            if data == PING and self.reliable:
                self._out.append(PONG)
            return
        try:
            message = parse_message(data)
        except SIPMessageError:
            self._receive_rubbish(data, now)
            return
        self._is_answered = False
        try:
            if isinstance(message, SIPResponse):
                self._receive_response(message, now)
            else:
                self._receive_request(message, now)
        except SIPMessageError:
            if isinstance(message, SIPResponse) or message.method == "ACK" or self._is_answered:
                self._fault("What a message said in a malformed header was dropped.")
            else:
                self._refuse(message, 400, "A request with a malformed header was answered 400.", now)
        self._collect()

    def events_received(self) -> list[Any]:
        """What has happened since the last call, oldest first: ``ProtocolFault``, ``FlowFailed``, and whatever the
        usages ``tell``. Send ``data_to_send`` first."""
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> list[bytes]:
        """The messages to send now, oldest first; each is handed out once."""
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        """When ``handle_timeout`` wants to be called (monotonic seconds), None if never. Changes with every call."""
        parts = (self._sent, self._served, self._keep_alive)
        deadlines = [part.next_deadline() for part in parts if part]
        deadlines += self._wakes.values()
        return min((moment for moment in deadlines if moment is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Do what is due by `now`. Calling it early is harmless."""
        self._sent.handle_timeout(now)
        for invite in self._served.handle_timeout(now):
            usage = self._calls.get(invite.call_id)
            if usage is not None:
                usage.receive_response(invite, invite.reply(408, "no ACK"), now)
        for sleeper, at in list(self._wakes.items()):
            if at <= now and self._wakes.get(sleeper) == at:
                del self._wakes[sleeper]
                sleeper.handle_timeout(now)
        ping = self._keep_alive.handle_timeout(now) if self._keep_alive is not None else b""
        if ping is None:
            self._events.append(FlowFailed())
        elif ping:
            self._out.append(ping)
        self._collect()

    def lose_flow(self, now: float) -> None:
        """The socket is gone: whoever waits for an answer hears a 503."""
        self._keep_alive = None
        self._sent.lose_flow(now)

    # In.

    def _receive_rubbish(self, data: bytes, now: float) -> None:
        request = salvage_request(data)
        if request is None:
            self._fault("A frame that is no SIP message was dropped.")
        else:
            self._refuse(request, 400, "A malformed request was answered 400.", now)

    def _receive_response(self, response: SIPResponse, now: float) -> None:
        via, *others = response.vias
        if others or not self._sent.expects(response):
            if self.reliable:  # a datagram may come twice, and a copy may come late
                self._fault("A response that nobody waits for was dropped.")
            return
        if via.params.get("received") or via.params.get("rport"):
            with suppress(SIPMessageError):  # what cannot be an address is of no use, but the answer is
                self._learn_address(via)
        self._sent.receive_response(response, now)

    def _learn_address(self, via: Via) -> None:
        host = via.params.get("received") or via.host
        port = via.params.get("rport") or ("" if via.port is None else str(via.port))
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        address = f"{host}:{port}" if port else host
        parse_uri(f"sip:{address}")
        self.public_address = address

    def _receive_request(self, request: SIPRequest, now: float) -> None:
        method = request.method
        if method == "ACK":
            if self._served.receive_ack(request, now) and request.call_id in self._calls:
                self._calls[request.call_id].receive_request(request, now)
            return
        if self._served.needs(request):
            if self._served.repeat(request):
                return
            if self._served.is_merged(request):
                self._refuse(request, 482, "A request that came twice, by two ways, was answered 482.", now)
                return
            if not self._served.admit(request, self.new_tag()):
                self._refuse(request, 503, "A request too many was answered 503.", now)
                return
        if method == "CANCEL":
            self._receive_cancel(request, now)
        elif method not in self.allow:
            self._refuse(request, 405, "A request of another method was answered 405.", now, Allow=self.allowed)
        elif "Require" in request.headers and (unsupported := self._unsupported(request)):
            message = "A request that requires too much was answered 420."
            self._refuse(request, 420, message, now, Unsupported=unsupported)
        else:
            self._hand_over(request, now)
        if method == "INVITE" and not self._is_answered:
            self.respond(request, 100, now)

    def _hand_over(self, request: SIPRequest, now: float) -> None:
        usage = self._calls.get(request.call_id)
        if usage is None and request.to.tag:
            self._refuse(request, 481, "A request of an unknown dialog was answered 481.", now)
        elif request.method == "OPTIONS":
            headers = (("Allow", self.allowed), *((("Accept", self._accept),) if self._accept else ()))
            self.respond(request, 200, now, headers=headers)
        elif usage is not None:
            usage.receive_request(request, now)
        else:
            usage = self.on_request(request, now) if self.on_request is not None else None
            if usage is not None:
                self.attach(request.call_id, usage)
                usage.receive_request(request, now)
            elif not self._is_answered:
                status = 480 if request.method == "INVITE" else 481
                self._refuse(request, status, f"A request that belongs to nothing was answered {status}.", now)

    def _unsupported(self, request: SIPRequest) -> str:
        return ", ".join(sorted(set(request.headers.get_all("Require")) - self.supported))

    def _receive_cancel(self, cancel: SIPRequest, now: float) -> None:
        served = self._served.find(cancel, "INVITE")
        if served is None or served.invite is None:
            self._refuse(cancel, 481, "A CANCEL of nothing was answered 481.", now)
            return
        self.respond(cancel, 200, now, to_tag=served.tag)
        usage = self._calls.get(cancel.call_id)
        if usage is not None and served.is_open:
            usage.receive_request(cancel, now)
        self.respond(served.invite, 487, now)

    def _refuse(self, request: SIPRequest, status: int, message: str, now: float, **headers: str) -> None:
        self.respond(request, status, now, headers=tuple(headers.items()))
        self._fault(message)

    def _fault(self, message: str) -> None:
        self._events.append(ProtocolFault(message))

    def _collect(self) -> None:
        for part in (self._sent, self._served):
            if part.out:
                self._out += part.out
                part.out = []
