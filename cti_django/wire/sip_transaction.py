"""SIP transactions that are not INVITE: one request, its final answer, and what happens when either goes missing.

    client:  TRYING ──1xx──> PROCEEDING ──final──> COMPLETED ──Timer K──> TERMINATED
                └───────────────┴──final──> ...      (Timer F, from the first two) ──> TERMINATED, timed_out

    server:  TRYING ──1xx──> PROCEEDING ──final──> COMPLETED ──Timer J──> TERMINATED

Over a reliable transport (WebSocket, TCP, TLS) nothing is sent twice and K and J are zero: a final answer ends the
transaction at once. Neither machine has a clock: `now` is monotonic seconds and always passed in.

Source: RFC 3261 17.1.2, 17.1.3, 17.2.2, 17.2.3; RFC 7118 for WebSocket being reliable.
"""

from enum import StrEnum

from ..exceptions import SIPMessageError
from .sip_message import SIPMessage, SIPRequest, SIPResponse, parse_message

__all__ = [
    "MAGIC_COOKIE",
    "T1",
    "T2",
    "T4",
    "NonInviteClientTransaction",
    "NonInviteServerTransaction",
    "Transaction",
    "TransactionState",
    "client_key",
    "salvage_request",
    "server_key",
]

T1 = 0.5
"""The estimate of a round trip, seconds (RFC 3261 17.1.1.1)."""
T2 = 4.0
"""The longest pause between two copies of one request, seconds."""
T4 = 5.0
"""How long a message may wander in the network, seconds."""
MAGIC_COOKIE = "z9hG4bK"
"""How every branch of RFC 3261 begins (8.1.1.7)."""

_SALVAGED_BYTES = 16 * 1024
_REPEATED_HEADERS = frozenset((b"via", b"v", b"from", b"f", b"to", b"t", b"call-id", b"i", b"cseq"))


class TransactionState(StrEnum):
    """Where a transaction is; the drawings, above and in ``sip_invite``, say what leads where."""

    TRYING = "trying"
    CALLING = "calling"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


class Transaction:
    """What all of them share: a queue of bytes out, a moment to send again, a moment to end."""

    __slots__ = ("_end_deadline", "_out", "_resend_deadline", "reliable", "state")

    def __init__(self, *, reliable: bool) -> None:
        self.reliable = reliable
        self.state = TransactionState.TRYING
        self._out: list[bytes] = []
        self._resend_deadline: float | None = None
        self._end_deadline: float | None = None

    def data_to_send(self) -> list[bytes]:
        """The messages to put on the wire now, oldest first; each is handed out once."""
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        """When ``handle_timeout`` wants to be called (monotonic seconds), None if never."""
        deadlines = [moment for moment in (self._resend_deadline, self._end_deadline) if moment is not None]
        return min(deadlines, default=None)

    def _complete(self, now: float, linger: float) -> None:
        self._resend_deadline = None
        if self.reliable:
            self._terminate()
        else:
            self.state = TransactionState.COMPLETED
            self._end_deadline = now + linger

    def _terminate(self) -> None:
        self.state = TransactionState.TERMINATED
        self._resend_deadline = self._end_deadline = None


class NonInviteClientTransaction(Transaction):
    """One request of ours (not INVITE, not ACK) on its way to a final answer.

    Args:
        request: complete, with its own Via on top; queued for sending at once.
        now: monotonic seconds.
        reliable: whether the transport delivers by itself; then the request is never sent again.
    """

    __slots__ = ("_interval", "key", "request", "timed_out")

    def __init__(self, request: SIPRequest, now: float, *, reliable: bool) -> None:
        super().__init__(reliable=reliable)
        self.key = client_key(request)
        self.request = request
        self.timed_out = False
        self._out.append(bytes(request))
        self._interval = T1
        self._end_deadline = now + 64 * T1  # Timer F
        if not reliable:
            self._resend_deadline = now + T1  # Timer E

    def receive_response(self, response: SIPResponse, now: float) -> bool:
        """Take a response whose ``client_key`` is ours.

        Returns:
            True if its user must hear of it; False for copies of what was heard, and for what comes too late.
        """
        if self.state not in (TransactionState.TRYING, TransactionState.PROCEEDING):
            return False
        if response.status >= 200:
            self._complete(now, T4)  # Timer K
        elif self.state is TransactionState.TRYING:
            self.state = TransactionState.PROCEEDING
        return True

    def handle_timeout(self, now: float) -> None:
        """Do what is due: send again (Timer E), give up (Timer F: ``timed_out``), or forget (Timer K)."""
        if self._end_deadline is not None and now >= self._end_deadline:
            self.timed_out = self.state is not TransactionState.COMPLETED
            self._terminate()
        elif self._resend_deadline is not None and now >= self._resend_deadline:
            self._out.append(bytes(self.request))
            doubled = min(2 * self._interval, T2)
            self._interval = T2 if self.state is TransactionState.PROCEEDING else doubled
            self._resend_deadline = now + self._interval


class NonInviteServerTransaction(Transaction):
    """One request of the peer (not INVITE, not ACK), and the answer it gets, as often as it asks.

    Whoever serves many keeps them by ``server_key``, and forgets those that are TERMINATED.

    Args:
        reliable: whether the transport delivers by itself; then an answered request is forgotten at once.
    """

    __slots__ = ("_answer",)

    def __init__(self, *, reliable: bool) -> None:
        super().__init__(reliable=reliable)
        self._answer = b""

    def receive_request(self) -> None:
        """The peer has sent the same request again: it gets the latest answer again, if there is one (17.2.2)."""
        if self._answer:
            self._out.append(self._answer)

    def respond(self, response: SIPResponse, now: float) -> None:
        """Send `response`. Whatever comes after the first final one is dropped, as the RFC wants."""
        if self.state not in (TransactionState.TRYING, TransactionState.PROCEEDING):
            return
        wire = bytes(response)
        self._out.append(wire)
        if response.status < 200:
            self.state = TransactionState.PROCEEDING
            self._answer = wire
        else:
            self._answer = b"" if self.reliable else wire
            self._complete(now, 64 * T1)  # Timer J

    def handle_timeout(self, now: float) -> None:
        """Forget the request when Timer J is due."""
        if self._end_deadline is not None and now >= self._end_deadline:
            self._answer = b""
            self._terminate()


def client_key(message: SIPMessage) -> tuple[str, str]:
    """What a request of ours and all responses to it have in common: the top Via's branch and the method of the CSeq,
    which sets a CANCEL apart from its INVITE. Source: RFC 3261 17.1.3."""
    return message.vias[0].branch, message.cseq.method


def server_key(request: SIPRequest, method: str = "") -> tuple[str, ...]:
    """What two copies of one request have in common, and no two requests do. Source: RFC 3261 17.2.3.

    Args:
        method: "INVITE" for the key of the INVITE that an ACK or a CANCEL is about; "" for that of `request` itself.
    """
    headers, via = request.headers, request.vias[0]
    if via.branch.startswith(MAGIC_COOKIE):
        return via.branch, via.host.lower(), str(via.port), method or request.method
    return request.uri, headers["From"], headers["To"], headers["Call-ID"], headers["CSeq"], str(via)


def salvage_request(data: bytes) -> SIPRequest | None:
    """The request in a frame that ``parse_message`` refuses, cut down to what an answer repeats.

    None if that much cannot be read, or if it is a response or an ACK, which are never answered.

    Source: RFC 3261 8.2.6.2, 21.4.1.
    """
    head = data[:_SALVAGED_BYTES].lstrip(b"\r\n").partition(b"\r\n\r\n")[0].split(b"\r\n")
    repeated = [line for line in head[1:] if line.partition(b":")[0].strip().lower() in _REPEATED_HEADERS]
    try:
        message = parse_message(b"\r\n".join([head[0], *repeated]) + b"\r\n\r\n")
    except SIPMessageError:
        return None
    return message if isinstance(message, SIPRequest) and message.method != "ACK" else None
