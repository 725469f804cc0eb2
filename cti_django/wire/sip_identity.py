"""Who a user agent is, and what its requests look like: From, Via, Contact, Route.

Source: RFC 3261 8.1.1, 12.1; RFC 3581 (rport); RFC 7118 5 (WebSocket).
"""

import secrets
from collections.abc import Callable

from .sip_dialog import Dialog, routed
from .sip_message import SIPRequest
from .sip_transaction import MAGIC_COOKIE
from .sip_uri import SIPURI, NameAddr, Via, parse_uri

__all__ = ["Identity"]

_NEEDS_CONTACT = frozenset(("INVITE", "SUBSCRIBE", "REFER", "UPDATE", "NOTIFY"))
_WEBSOCKETS = ("WS", "WSS")


class Identity:
    """One user at one place; the arguments are those of ``UserAgent``, which hands all of this on."""

    __slots__ = (
        "_address",
        "_contact",
        "_contact_user",
        "_random",
        "_route",
        "_sent_by",
        "allow",
        "name",
        "supported",
        "transport",
        "uri",
    )

    def __init__(
        self,
        address: str,
        transport: str,
        sent_by: str,
        *,
        contact_user: str = "",
        route: tuple[str, ...] = (),
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._address = address
        self.uri = parse_uri(address)
        self.transport = transport
        self._contact_user = contact_user or self.uri.user
        self.name = ""
        """What we call ourselves in User-Agent; "" for nothing."""
        self.allow: tuple[str, ...] = ()
        """The methods that we serve."""
        self.supported: frozenset[str] = frozenset()
        """The option tags that we understand."""
        self._random = random
        self.sent_by = sent_by
        self.route = route

    @property
    def address(self) -> NameAddr:
        """Our own address, without a tag."""
        return NameAddr(self._address)

    @property
    def contact(self) -> NameAddr:
        """Where the peer reaches us."""
        return NameAddr(self._contact)

    @property
    def sent_by(self) -> str:
        """Host and port that our Via and our Contact say."""
        return f"{self._sent_by.host}:{self._sent_by.port}" if self._sent_by.port else self._sent_by.host

    @sent_by.setter
    def sent_by(self, sent_by: str) -> None:
        self._sent_by = parse_uri(f"sip:{sent_by}")
        params: dict[str, str | None] = {}
        if self.transport != "UDP":
            params["transport"] = "ws" if self.transport in _WEBSOCKETS else self.transport.lower()
        host, port = self._sent_by.host, self._sent_by.port
        self._contact = str(SIPURI("sip", self._contact_user, host, port, params=params))

    @property
    def route(self) -> tuple[str, ...]:
        """The first hops of requests outside of a dialog."""
        return self._route

    @route.setter
    def route(self, route: tuple[str, ...]) -> None:
        routed(self._address, route)
        self._route = route

    @property
    def allowed(self) -> str:
        """The value of an Allow header."""
        return ", ".join(self.allow)

    def new_tag(self) -> str:
        """A tag that nobody can guess."""
        return self._random(6).hex()

    def new_dialog(self, uri: str, *, to: NameAddr | None = None, call_id: str = "") -> Dialog:
        """Half of a dialog with whoever is at `uri`, along our route: what a first request needs.

        Args:
            to: whom it is for; None for `uri`.
            call_id: "" for a fresh one.
        """
        return Dialog(
            call_id=call_id or self._random(12).hex(),
            local=NameAddr(self._address, params={"tag": self.new_tag()}),
            remote=to or NameAddr(uri),
            remote_target=uri,
            route_set=self._route,
        )

    def new_request(
        self,
        method: str,
        uri: str,
        *,
        to: NameAddr | None = None,
        call_id: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> SIPRequest:
        """A request outside of a dialog; `headers` are added, and the rest is as in ``new_dialog``.

        Raises:
            SIPMessageError: a URI or a header that no message can hold.
        """
        request = self.new_dialog(uri, to=to, call_id=call_id).new_request(method)
        for name, value in headers:
            request.headers.add(name, value)
        return request

    def dress(self, request: SIPRequest) -> None:
        """Give `request` what it lacks: our Via on top, with a branch of its own, and our Contact where it is due."""
        headers = request.headers
        if request.method in _NEEDS_CONTACT:
            if "Contact" not in headers:
                headers.add("Contact", f"<{self._contact}>")
            if self.supported and "Supported" not in headers:
                headers.add("Supported", ", ".join(sorted(self.supported)))
        if request.method == "INVITE" and "Allow" not in headers:
            headers.add("Allow", self.allowed)
        if self.name and "User-Agent" not in headers:
            headers.add("User-Agent", self.name)
        params: dict[str, str | None] = {"branch": MAGIC_COOKIE + self._random(9).hex()}
        if self.transport not in _WEBSOCKETS:
            params["rport"] = None
        headers.prepend("Via", str(Via(self.transport, self._sent_by.host, self._sent_by.port, params)))
