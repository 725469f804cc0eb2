"""Our requests that are under way: each goes on until its user knows what has become of it.

A 2xx to an INVITE comes as often as its ACK is lost, and from every fork of the call (RFC 3261 13.2.2.4). The first
one is its user's; the others are acknowledged and hung up here, and so is one that crosses a CANCEL.

Source: RFC 3261 8.1.3, 9.1, 13.2.2.4, 17.1.
"""

from collections.abc import Callable, Iterator

from ..exceptions import SIPMessageError
from .sip_dialog import Dialog
from .sip_exchange import Exchange
from .sip_invite import InviteClientTransaction
from .sip_login import CREDENTIALS, Login
from .sip_message import SIPRequest, SIPResponse
from .sip_transaction import NonInviteClientTransaction, TransactionState, client_key
from .sip_uri import CSeq
from .sip_usage import Usage

__all__ = ["SentRequests"]

_MAX_FORKS = 8

_Transaction = InviteClientTransaction | NonInviteClientTransaction


class SentRequests:
    """All of one user agent.

    Args:
        login: answers challenges.
        dress: puts Via on top of a request that is about to be sent, and whatever else it lacks.
    """

    __slots__ = ("_all", "_dress", "_login", "_numbers", "_reliable", "out")

    def __init__(self, login: Login, dress: Callable[[SIPRequest], None], *, reliable: bool) -> None:
        self._login = login
        self._dress = dress
        self._reliable = reliable
        # All transactions: those of the exchanges, and INVITEs that were refused and asked again in another shape.
        self._all: dict[tuple[str, str], tuple[_Transaction, Exchange]] = {}
        self._numbers: dict[str, int] = {}
        self.out: list[bytes] = []
        """What there is to send; emptied by whoever sends it."""

    def __len__(self) -> int:
        return len(self._all)

    def count(self, call_id: str) -> None:
        """Keep count of our requests with `call_id`, until ``abandon``."""
        self._numbers.setdefault(call_id, 0)

    def send(self, request: SIPRequest, usage: Usage | None, now: float) -> None:
        """See ``UserAgent.send``."""
        if not any(name in request.headers for name in CREDENTIALS):
            self._login.introduce(request)
        self._launch(Exchange(usage), request, now)

    def send_ack(self, ack: SIPRequest) -> None:
        """See ``UserAgent.send_ack``."""
        number = ack.cseq.number
        exchange = next((one for one in self._invites(ack.call_id) if one.request.cseq.number == number), None)
        if exchange is not None:
            for name in CREDENTIALS:
                for value in exchange.request.headers.get_all(name):
                    ack.headers.add(name, value)
        self._dress(ack)
        wire = bytes(ack)
        self.out.append(wire)
        if exchange is not None:
            exchange.acks = {**(exchange.acks or {}), ack.to.tag: wire}

    def cancel(self, call_id: str, now: float) -> None:
        """Cancel the INVITE with `call_id` that is not answered yet."""
        for exchange in self._invites(call_id):
            if exchange.accepted is None and not exchange.is_cancelled:
                exchange.is_cancelled = True
                self._send_cancel(exchange, now)

    def abandon(self, call_id: str) -> None:
        """See ``UserAgent.abandon``."""
        for key, (_, exchange) in list(self._all.items()):
            if exchange.usage is None or exchange.request.call_id != call_id:
                continue
            if exchange.request.method != "INVITE":
                del self._all[key]
            else:
                exchange.usage = None
                exchange.is_cancelled = exchange.accepted is None

    def forget(self, call_id: str) -> None:
        """Count no more."""
        self._numbers.pop(call_id, None)

    def expects(self, response: SIPResponse) -> bool:
        """Whether `response` is one to a request of ours that is under way."""
        return client_key(response) in self._all

    def receive_response(self, response: SIPResponse, now: float) -> None:
        """Take `response`, which is expected."""
        key = client_key(response)
        transaction, exchange = self._all[key]
        is_news = transaction.receive_response(response, now)
        self.out += transaction.data_to_send()
        # Only a refused INVITE has anything left to say; copies of other answers are dropped as answers to nothing.
        is_over = transaction.state is TransactionState.COMPLETED and transaction.request.method != "INVITE"
        if is_over or transaction.state is TransactionState.TERMINATED:
            del self._all[key]
        if is_news:
            self._go_on(exchange, response, now)

    def next_deadline(self) -> float | None:
        """When ``handle_timeout`` wants to be called (monotonic seconds), None if never."""
        deadlines = (transaction.next_deadline() for transaction, _ in self._all.values())
        return min((moment for moment in deadlines if moment is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        for key, (transaction, exchange) in list(self._all.items()):
            if key not in self._all:
                continue  # the one before it has ended this one too
            transaction.handle_timeout(now)
            self.out += transaction.data_to_send()
            if transaction.state is TransactionState.TERMINATED:
                del self._all[key]
                if transaction.timed_out:
                    self._tell(exchange, exchange.request.reply(408, "no answer"), now)

    def lose_flow(self, now: float) -> None:
        """No answer can come any more: everybody hears 503."""
        links, self._all = list(self._all.values()), {}
        for transaction, exchange in links:
            if transaction.state not in (TransactionState.COMPLETED, TransactionState.ACCEPTED):
                self._tell(exchange, exchange.request.reply(503, "connection lost"), now)

    # What a response leads to.

    def _go_on(self, exchange: Exchange, response: SIPResponse, now: float) -> None:
        is_invite = exchange.request.method == "INVITE"
        if response.status < 200:
            if exchange.is_cancelled and is_invite:
                self._send_cancel(exchange, now)
            self._tell(exchange, response, now)
        elif response.status < 300 and is_invite:
            self._receive_acceptance(exchange, response, now)
        else:
            request = exchange.again(response, self._login) if response.status >= 300 else None
            if request is None:
                self._tell(exchange, response, now)
            else:
                self._launch(exchange, request, now)

    def _receive_acceptance(self, exchange: Exchange, response: SIPResponse, now: float) -> None:
        tag = response.to.tag
        acks = exchange.acks or {}
        if tag in acks:
            self.out.append(acks[tag])
        elif exchange.accepted is None and not exchange.is_cancelled:
            exchange.accepted = tag
            self._tell(exchange, response, now)
        elif tag != exchange.accepted and len(acks) < _MAX_FORKS:
            if exchange.is_cancelled:
                self._tell(exchange, exchange.request.reply(487), now)
                exchange.usage = None
            self._hang_up(exchange, response, now)

    def _hang_up(self, exchange: Exchange, response: SIPResponse, now: float) -> None:
        """Acknowledge a 2xx that nobody wants, and end the dialog that it made."""
        dialog = Dialog.from_response(exchange.request, response)
        self.send_ack(dialog.new_ack(exchange.request.cseq.number))
        self.send(dialog.new_request("BYE"), None, now)

    def _tell(self, exchange: Exchange, response: SIPResponse, now: float) -> None:
        if exchange.usage is None:
            return
        try:
            exchange.usage.receive_response(exchange.request, response, now)
        except SIPMessageError:
            if response.status >= 200:  # whoever waits for an end must hear of one
                exchange.usage.receive_response(exchange.request, exchange.request.reply(500, "malformed answer"), now)
            raise

    # Out.

    def _launch(self, exchange: Exchange, request: SIPRequest, now: float) -> None:
        self._number(request)
        self._dress(request)
        make = InviteClientTransaction if request.method == "INVITE" else NonInviteClientTransaction
        transaction = exchange.transaction = make(request, now, reliable=self._reliable)
        self._all[transaction.key] = transaction, exchange
        self.out += transaction.data_to_send()

    def _number(self, request: SIPRequest) -> None:
        last = self._numbers.get(request.call_id)
        if last is not None:
            number = request.cseq.number
            if number <= last:
                number = last + 1
                request.headers.set("CSeq", str(CSeq(number, request.method)))
            self._numbers[request.call_id] = number

    def _send_cancel(self, exchange: Exchange, now: float) -> None:
        invite = exchange.transaction
        request = invite.cancel(now) if isinstance(invite, InviteClientTransaction) else None
        if request is not None:
            cancelling = Exchange(None)
            transaction = cancelling.transaction = NonInviteClientTransaction(request, now, reliable=self._reliable)
            self._all[transaction.key] = transaction, cancelling
            self.out += transaction.data_to_send()

    def _invites(self, call_id: str) -> Iterator[Exchange]:
        for transaction, exchange in list(self._all.values()):
            request = transaction.request
            if request.method == "INVITE" and transaction is exchange.transaction and request.call_id == call_id:
                yield exchange
