"""INVITE transactions: a request that people answer, so its final answer takes its time and is itself acknowledged.

    client:  CALLING ──1xx──> PROCEEDING ──2xx──> ACCEPTED ──Timer M──> TERMINATED
                │ └───────────────┴──300-699: ACK──> COMPLETED ──Timer D──> TERMINATED
                └──Timer B──> TERMINATED, timed_out

    server:  PROCEEDING ──2xx──> ACCEPTED ──Timer L──> TERMINATED (timed_out without an ACK)
                 └──300-699──> COMPLETED ──ACK──> CONFIRMED ──Timer I──> TERMINATED
                                   └──Timer H──> TERMINATED, timed_out

The ACK for a refusal belongs to the transaction, and is sent by it. The ACK for a 2xx is a request of its own, and its
user's (RFC 3261 13.2.2.4). A 2xx of ours is sent again until it is acknowledged, over every transport: a proxy on the
way may have lost it (13.3.1.4); so ``acknowledge`` tells this machine what the user's ACK says.

Source: RFC 3261 17.1.1, 17.2.1, 9.1 and 13.3.1.4, as corrected by RFC 6026.
"""

from .sip_headers import Headers
from .sip_message import SIPRequest, SIPResponse
from .sip_transaction import T1, T2, T4, Transaction, TransactionState, client_key
from .sip_uri import CSeq

__all__ = ["InviteClientTransaction", "InviteServerTransaction"]

_WAIT = 64 * T1  # Timers B, D, H, L and M, seconds


class InviteClientTransaction(Transaction):
    """One INVITE of ours on its way to a final answer.

    Args:
        request: complete, with its own Via on top; queued for sending at once.
        now: monotonic seconds.
        reliable: whether the transport delivers by itself; then the request is never sent again.
    """

    __slots__ = ("_ack", "_interval", "_is_cancelled", "key", "request", "timed_out")

    def __init__(self, request: SIPRequest, now: float, *, reliable: bool) -> None:
        super().__init__(reliable=reliable)
        self.state = TransactionState.CALLING
        self.key = client_key(request)
        self.request = request
        self.timed_out = False
        self._ack = b""
        self._is_cancelled = False
        self._out.append(bytes(request))
        self._interval = T1
        self._end_deadline = now + _WAIT  # Timer B
        if not reliable:
            self._resend_deadline = now + T1  # Timer A

    def receive_response(self, response: SIPResponse, now: float) -> bool:
        """Take a response whose ``client_key`` is ours.

        Returns:
            True if its user must hear of it: of each 2xx, because each wants its ACK; not of copies of a refusal.
        """
        status, state = response.status, self.state
        if state is TransactionState.COMPLETED:
            if status >= 300:
                self._out.append(self._ack)
            return False
        if state is TransactionState.ACCEPTED:
            return 200 <= status < 300
        if state is TransactionState.TERMINATED:
            return False
        if status < 200:
            if state is TransactionState.CALLING:
                self.state = TransactionState.PROCEEDING
                self._resend_deadline = self._end_deadline = None
        elif status < 300:
            self.state = TransactionState.ACCEPTED
            self._resend_deadline = None
            self._end_deadline = now + _WAIT  # Timer M
        else:
            self._ack = bytes(_belonging("ACK", self.request, response.headers["To"]))
            self._out.append(self._ack)
            self._complete(now, _WAIT)  # Timer D
        return True

    def cancel(self, now: float) -> SIPRequest | None:
        """The CANCEL, to be sent in a transaction of its own; the call is given up 64*T1 later, whatever comes.

        Returns:
            None unless there was a provisional response and no final one: only then may it be sent (9.1), and once.
        """
        if self.state is not TransactionState.PROCEEDING or self._is_cancelled:
            return None
        self._is_cancelled = True
        self._end_deadline = now + _WAIT
        return _belonging("CANCEL", self.request, self.request.headers["To"])

    def handle_timeout(self, now: float) -> None:
        """Do what is due: send again (Timer A), give up (Timer B: ``timed_out``), or forget (Timers D and M)."""
        if self._end_deadline is not None and now >= self._end_deadline:
            self.timed_out = self.state in (TransactionState.CALLING, TransactionState.PROCEEDING)
            self._terminate()
        elif self._resend_deadline is not None and now >= self._resend_deadline:
            self._out.append(bytes(self.request))
            self._interval *= 2
            self._resend_deadline = now + self._interval


class InviteServerTransaction(Transaction):
    """One INVITE of the peer, and the answer it gets until the peer has acknowledged it.

    Args:
        reliable: whether the transport delivers by itself; then a refusal is sent once.
    """

    __slots__ = ("_answer", "_interval", "is_acknowledged", "timed_out")

    def __init__(self, *, reliable: bool) -> None:
        super().__init__(reliable=reliable)
        self.state = TransactionState.PROCEEDING
        self.is_acknowledged = False
        self.timed_out = False
        self._answer = b""
        self._interval = T1

    def receive_request(self) -> None:
        """The peer has sent the same INVITE again: it gets the latest answer again, but a 2xx at its own pace."""
        if self._answer and self.state in (TransactionState.PROCEEDING, TransactionState.COMPLETED):
            self._out.append(self._answer)

    def respond(self, response: SIPResponse, now: float) -> None:
        """Send `response`. Whatever comes after the first final one is dropped."""
        if self.state is not TransactionState.PROCEEDING:
            return
        self._answer = bytes(response)
        self._out.append(self._answer)
        if response.status < 200:
            return
        self._end_deadline = now + _WAIT  # Timers H and L
        if response.status < 300:
            self.state = TransactionState.ACCEPTED
            self._resend_deadline = now + T1
        else:
            self.state = TransactionState.COMPLETED
            if not self.reliable:
                self._resend_deadline = now + T1  # Timer G

    def receive_ack(self, now: float) -> None:
        """The peer has acknowledged a refusal: an ACK with this transaction's branch."""
        if self.state is TransactionState.COMPLETED:
            self._answer = b""
            self._complete(now, T4)  # Timer I
            if not self.reliable:
                self.state = TransactionState.CONFIRMED

    def acknowledge(self) -> bool:
        """The peer has acknowledged a 2xx: an ACK of the dialog, with this INVITE's number.

        Returns:
            True the first time.
        """
        is_news = self.state is TransactionState.ACCEPTED and not self.is_acknowledged
        if is_news:
            self.is_acknowledged = True
            self._resend_deadline = None
            self._answer = b""
        return is_news

    def handle_timeout(self, now: float) -> None:
        """Do what is due: send the answer again, or forget (``timed_out`` if the peer never acknowledged it)."""
        if self._end_deadline is not None and now >= self._end_deadline:
            is_settled = self.is_acknowledged or self.state is TransactionState.CONFIRMED
            self.timed_out = not is_settled
            self._answer = b""
            self._terminate()
        elif self._resend_deadline is not None and now >= self._resend_deadline:
            self._out.append(self._answer)
            self._interval = min(2 * self._interval, T2)
            self._resend_deadline = now + self._interval


def _belonging(method: str, invite: SIPRequest, to: str) -> SIPRequest:
    """The ACK for a refusal, or the CANCEL: it goes the way of its INVITE. Source: RFC 3261 9.1, 17.1.1.3."""
    headers = Headers([("Via", invite.headers.get_all("Via")[0])])
    for route in invite.headers.get_all("Route"):
        headers.add("Route", route)
    headers.add("Max-Forwards", "70")
    headers.add("From", invite.headers["From"])
    headers.add("To", to)
    headers.add("Call-ID", invite.call_id)
    headers.add("CSeq", str(CSeq(invite.cseq.number, method)))
    return SIPRequest(method, invite.uri, headers)
