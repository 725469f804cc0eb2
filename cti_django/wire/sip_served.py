"""The requests of the peer that are being served: each is told once, and answered as often as it comes.

Source: RFC 3261 8.2.2.2 (merged requests), 9.2, 17.2.
"""

from collections.abc import Iterator

from .sip_invite import InviteServerTransaction
from .sip_message import SIPRequest, SIPResponse
from .sip_transaction import NonInviteServerTransaction, TransactionState, server_key

__all__ = ["MAX_SERVED", "Served", "ServedRequests"]

MAX_SERVED = 128
"""So many are remembered; then the oldest answered one is forgotten."""

_AWAITS_ACK = (TransactionState.COMPLETED, TransactionState.ACCEPTED)


class Served:
    """One request, the tag that its answers bear, and its transaction.

    An INVITE is kept as it came, because others are about it; of any other request only ``identity``, which its copies
    by another way have in common with it.
    """

    __slots__ = ("identity", "invite", "key", "tag", "transaction")

    def __init__(self, request: SIPRequest, tag: str, *, reliable: bool) -> None:
        self.key = server_key(request)
        self.identity = _identity(request)
        self.tag = tag
        self.invite: SIPRequest | None = None
        self.transaction: InviteServerTransaction | NonInviteServerTransaction
        if request.method == "INVITE":
            self.invite = request
            self.transaction = InviteServerTransaction(reliable=reliable)
        else:
            self.transaction = NonInviteServerTransaction(reliable=reliable)

    @property
    def is_open(self) -> bool:
        """Whether there is no final answer yet."""
        return self.transaction.state in (TransactionState.TRYING, TransactionState.PROCEEDING)


class ServedRequests:
    """All of one user agent.

    Over a reliable transport only an INVITE needs to be remembered: nothing else comes twice (17.2.2).
    """

    __slots__ = ("_all", "_reliable", "out")

    def __init__(self, *, reliable: bool) -> None:
        self._reliable = reliable
        self._all: dict[tuple[str, ...], Served] = {}
        self.out: list[bytes] = []
        """What there is to send; emptied by whoever sends it."""

    def __len__(self) -> int:
        return len(self._all)

    def needs(self, request: SIPRequest) -> bool:
        """Whether `request` has to be remembered."""
        return not self._reliable or request.method == "INVITE"

    def find(self, request: SIPRequest, method: str = "") -> Served | None:
        """What `request` is a copy of; or, with "INVITE", the INVITE that it cancels."""
        return self._all.get(server_key(request, method)) if self._all else None

    def repeat(self, request: SIPRequest) -> bool:
        """Whether `request` was here before; it gets the same answer again, if there is one."""
        served = self.find(request)
        if served is None:
            return False
        served.transaction.receive_request()
        self.out += served.transaction.data_to_send()
        return True

    def is_merged(self, request: SIPRequest) -> bool:
        """Whether `request` came another way too: a proxy has forked it, and both forks lead here."""
        if request.to.tag:
            return False
        wanted = _identity(request)
        return any(other.identity == wanted for other in self._all.values())

    def admit(self, request: SIPRequest, tag: str) -> bool:
        """Remember `request`; False if there is no room, because none of so many is answered."""
        if len(self._all) >= MAX_SERVED and not self._make_room():
            return False
        served = Served(request, tag, reliable=self._reliable)
        self._all[served.key] = served
        return True

    def respond(self, served: Served, response: SIPResponse, now: float) -> None:
        """Send `response` to `served`."""
        served.transaction.respond(response, now)
        self.out += served.transaction.data_to_send()
        if served.transaction.state is TransactionState.TERMINATED:
            self._all.pop(served.key, None)

    def receive_ack(self, ack: SIPRequest, now: float) -> bool:
        """Whether the user must hear of `ack`: the first one for a 2xx."""
        served = self.find(ack, "INVITE") or next(self._acknowledged(ack), None)
        if served is None or not isinstance(served.transaction, InviteServerTransaction):
            return False
        served.transaction.receive_ack(now)
        if served.transaction.state is TransactionState.TERMINATED:
            self._all.pop(served.key, None)
        return served.transaction.acknowledge()

    def next_deadline(self) -> float | None:
        """When ``handle_timeout`` wants to be called (monotonic seconds), None if never."""
        earliest = None
        for served in self._all.values():
            deadline = served.transaction.next_deadline()
            if deadline is not None and (earliest is None or deadline < earliest):
                earliest = deadline
            if deadline is not None and served.invite is None:
                break  # those behind it were answered later, and all are forgotten after the same time
        return earliest

    def handle_timeout(self, now: float) -> list[SIPRequest]:
        """Do what is due.

        Returns:
            The INVITEs that were accepted, without the peer ever acknowledging that.
        """
        deaf = []
        for key, served in list(self._all.items()):
            transaction = served.transaction
            is_accepted = transaction.state is TransactionState.ACCEPTED
            transaction.handle_timeout(now)
            self.out += transaction.data_to_send()
            if transaction.state is TransactionState.TERMINATED:
                del self._all[key]
                is_deaf = isinstance(transaction, InviteServerTransaction) and transaction.timed_out
                if is_accepted and is_deaf and served.invite is not None:
                    deaf.append(served.invite)
        return deaf

    def _acknowledged(self, ack: SIPRequest) -> Iterator[Served]:
        """The INVITE that `ack` is about by its number: a 2xx's has a branch of its own, and RFC 2543 had none."""
        call_id, number, tag = ack.call_id, ack.cseq.number, ack.from_.tag
        for served in self._all.values():
            request = served.invite
            if request is None or served.transaction.state not in _AWAITS_ACK:
                continue
            if (request.call_id, request.cseq.number, request.from_.tag) == (call_id, number, tag):
                yield served

    def _make_room(self) -> bool:
        for key, served in self._all.items():
            if served.transaction.next_deadline() is not None:  # it is answered, so something is due for it
                del self._all[key]
                return True
        return False


def _identity(request: SIPRequest) -> tuple[str, str, str]:
    """What no proxy changes in `request`, and nobody else's request has. Source: RFC 3261 8.2.2.2."""
    headers = request.headers
    return headers["Call-ID"], headers["CSeq"], headers["From"]
