"""The SIP dialog: what two ends remember of each other between requests, and how a request finds its way.

A dialog is known by its Call-ID and two tags. It counts the requests of each direction (CSeq), follows the peer's
Contact, and keeps the route that the first request took.

Source: RFC 3261 12.
"""

from enum import Enum
from typing import Self

from ..exceptions import SIPMessageError
from .sip_message import Headers, SIPMessage, SIPRequest, SIPResponse
from .sip_uri import SIPURI, CSeq, NameAddr, Via, parse_name_addr, parse_uri

__all__ = ["Arrival", "Dialog", "record_route", "routed"]

_MAX_ROUTES = 32


class Arrival(Enum):
    """What the CSeq of an incoming request says about its place among the others."""

    NEXT = "next"
    """Newer than all before it: act on it. The numbers need not be contiguous."""
    REPEATED = "repeated"
    """A copy of the newest one: answer it as before, act on it no more."""
    LATE = "late"
    """Older than one that was already served: RFC 3261 12.2.2 wants a 500."""


class Dialog:
    """One end of a dialog.

    Args:
        call_id: of every request in it.
        local: this end, as From of our requests, with our tag.
        remote: the other end, as To of our requests, with its tag.
        local_seq: CSeq of our latest request; 0 if there was none.
        remote_seq: CSeq of the peer's latest request; None if there was none.
        remote_target: the URI where the peer wants its requests.
        route_set: Route values, nearest hop first.
    """

    __slots__ = ("call_id", "local", "local_seq", "remote", "remote_seq", "remote_target", "route_set")

    def __init__(
        self,
        *,
        call_id: str,
        local: NameAddr,
        remote: NameAddr,
        remote_target: str,
        local_seq: int = 0,
        remote_seq: int | None = None,
        route_set: tuple[str, ...] = (),
    ) -> None:
        self.call_id = call_id
        self.local = local
        self.remote = remote
        self.local_seq = local_seq
        self.remote_seq = remote_seq
        self.remote_target = remote_target
        self.route_set = route_set

    @classmethod
    def from_response(cls, request: SIPRequest, response: SIPResponse) -> Self:
        """The dialog that `response` (2xx, or 101-199 with a To tag) makes of our `request`.

        Raises:
            SIPMessageError: the Contact or a Record-Route is malformed.

        Deviates: a response without Contact leaves the Request-URI as the target, because servers exist that forget
            it, and there is no other address to try.
        Source: RFC 3261 12.1.2.
        """
        return cls(
            call_id=request.call_id,
            local=_end_point(request.from_),
            remote=_end_point(response.to),
            local_seq=request.cseq.number,
            remote_target=_contact(response) or request.uri,
            route_set=record_route(response)[::-1],
        )

    @classmethod
    def from_request(cls, request: SIPRequest, local: NameAddr, *, local_seq: int = 0) -> Self:
        """The dialog that the peer's `request` makes once we accept it.

        Args:
            request: an INVITE or SUBSCRIBE; or the NOTIFY that tells a subscriber what became of its SUBSCRIBE.
            local: this end with our tag: the To of our answer, or the From of our SUBSCRIBE.
            local_seq: CSeq of our latest request, if we have sent one already (the SUBSCRIBE).

        Raises:
            SIPMessageError: the Contact is missing or malformed, or a Record-Route is.

        Source: RFC 3261 12.1.1, RFC 6665 4.4.1.
        """
        target = _contact(request)
        if target is None:
            raise SIPMessageError("A request that makes a dialog needs a Contact.")
        return cls(
            call_id=request.call_id,
            local=local,
            remote=_end_point(request.from_),
            local_seq=local_seq,
            remote_seq=request.cseq.number,
            remote_target=target,
            route_set=record_route(request),
        )

    def matches(self, request: SIPRequest) -> bool:
        """Whether the peer's `request` belongs to this dialog. Source: RFC 3261 12.2.2."""
        return (
            request.call_id == self.call_id
            and request.to.tag == self.local.tag
            and request.from_.tag == self.remote.tag
        )

    def receive_request(self, request: SIPRequest) -> Arrival:
        """Count the peer's `request`, which ``matches`` (not ACK nor CANCEL: they borrow an INVITE's number).

        Source: RFC 3261 12.2.2.
        """
        number = request.cseq.number
        if self.remote_seq is not None and number <= self.remote_seq:
            return Arrival.REPEATED if number == self.remote_seq else Arrival.LATE
        self.remote_seq = number
        return Arrival.NEXT

    def refresh_target(self, message: SIPMessage) -> None:
        """Follow the peer to the Contact of a target refresh: its request, or its 2xx to one of ours.

        Those are INVITE, UPDATE, SUBSCRIBE, NOTIFY and REFER. The route set stays as it is.

        Raises:
            SIPMessageError: the Contact is malformed; the old target stays.

        Source: RFC 3261 12.2.1.2 and 12.2.2, RFC 5057 5.4.
        """
        target = _contact(message)
        if target is not None:
            self.remote_target = target

    def new_request(self, method: str, via: Via | None = None) -> SIPRequest:
        """The next request of ours: numbered, addressed and routed; Contact, body and the rest are the caller's.

        Args:
            via: None leaves it to whoever sends the request.

        Source: RFC 3261 12.2.1.1.
        """
        self.local_seq += 1
        return self._request(method, self.local_seq, via)

    def new_ack(self, number: int) -> SIPRequest:
        """The ACK for a 2xx to our INVITE, whose CSeq number it bears. Source: RFC 3261 13.2.2.4."""
        return self._request("ACK", number, None)

    def _request(self, method: str, number: int, via: Via | None) -> SIPRequest:
        uri, routes = routed(self.remote_target, self.route_set)
        headers = Headers()
        if via is not None:
            headers.add("Via", str(via))
        for route in routes:
            headers.add("Route", route)
        headers.add("Max-Forwards", "70")
        headers.add("From", str(self.local))
        headers.add("To", str(self.remote))
        headers.add("Call-ID", self.call_id)
        headers.add("CSeq", str(CSeq(number, method)))
        return SIPRequest(method, uri, headers)


def routed(target: str, route_set: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The Request-URI and the Route values of a request to `target` along `route_set`.

    A first hop that is a loose router (;lr) leaves the target in the Request-URI; a strict one, of RFC 2543, wants to
    be there itself, and the target behind the other routes.

    Raises:
        SIPMessageError: the first hop is no SIP URI.

    Source: RFC 3261 12.2.1.1.
    """
    if not route_set:
        return _request_uri(target), ()
    first = parse_name_addr(route_set[0]).uri
    if "lr" in parse_uri(first).params:
        return _request_uri(target), route_set
    return _request_uri(first), (*route_set[1:], f"<{target}>")


def record_route(message: SIPMessage) -> tuple[str, ...]:
    """The Record-Route values of `message`, topmost first, each of them checked.

    Raises:
        SIPMessageError: one is malformed, or there are more than 32.
    """
    routes = tuple(message.headers.get_all("Record-Route"))
    if len(routes) > _MAX_ROUTES:
        raise SIPMessageError("A message came through too many proxies.")
    for route in routes:
        parse_uri(parse_name_addr(route).uri)
    return routes


def _request_uri(text: str) -> str:
    """`text` without what a URI may hold, but not as a Request-URI (RFC 3261 19.1.1, table 1)."""
    uri = parse_uri(text)
    if not uri.headers and "method" not in uri.params:
        return text
    params = {name: value for name, value in uri.params.items() if name != "method"}
    return str(SIPURI(uri.scheme, uri.user, uri.host, uri.port, uri.password, params))


def _contact(message: SIPMessage) -> str | None:
    contacts = message.headers.get_all("Contact")
    if not contacts:
        return None
    uri = parse_name_addr(contacts[0]).uri
    parse_uri(uri)
    return uri


def _end_point(address: NameAddr) -> NameAddr:
    """Whom From or To names, and the tag: a dialog has no use for display names and other parameters."""
    return NameAddr(address.uri, params={"tag": address.tag} if address.tag else {})
