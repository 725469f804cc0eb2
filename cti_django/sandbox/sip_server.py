"""The SIP side: watchers subscribe to nodes over a WebSocket and are told of every change. No sockets in here.

Source: RFC 3261 8.2 and 22, RFC 6665, RFC 7118; RFC 5626 3.5.1 for the keep-alive.
"""

import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Collection

from ..exceptions import SIPMessageError, WireError
from ..wire.sip_digest import make_challenge, parse_credentials, verify
from ..wire.sip_message import SIPRequest, SIPResponse, parse_message
from ..wire.sip_uri import parse_name_addr, parse_uri
from .faults import Fault, Faults
from .journal import Journal
from .legs import Leg, Timer
from .notify_body import CONTENT_TYPE
from .pbx import Switch
from .subscriptions import Subscription

__all__ = ["SIPConnection", "SIPServer"]

METHODS = "SUBSCRIBE, REGISTER, OPTIONS"
DEFAULT_EXPIRES = 300
MAX_SUBSCRIPTIONS = 200  # of one connection
MAX_NONCES = 500
MAX_NONCE_COUNT = 0xFFFFFFFF
_NONCE_COUNT = re.compile(r"[0-9a-f]{8}")

Replied = SIPResponse | None


class SIPServer:
    """All subscriptions, by node: a change costs as much as its node has watchers, however many users there are.

    Args:
        domain: the SIP domain, which is the digest realm too.
        max_expires: the longest subscription in seconds.
        private_nodes: nodes that nobody may watch (403).
        quiet_body: False: the first NOTIFY about a quiet node has no body, as seen from the service.
        journal: notes who watches her own calls, and what she was told.
    """

    def __init__(
        self,
        switch: Switch,
        faults: Faults,
        domain: str,
        *,
        schedule: Callable[[float, Callable[[], None]], Timer],
        now: Callable[[], float],
        max_expires: int = 3600,
        private_nodes: Collection[str] = (),
        quiet_body: bool = False,
        journal: Journal | None = None,
    ) -> None:
        self.switch, self.faults, self.domain = switch, faults, domain
        self.schedule, self.now = schedule, now
        self.max_expires, self.private_nodes, self.quiet_body = max_expires, private_nodes, quiet_body
        self.journal = journal or Journal()
        self.connections: set[SIPConnection] = set()
        self.by_node: defaultdict[str, set[Subscription]] = defaultdict(set)
        self.on_change: Callable[[], None] = lambda: None
        switch.listeners.append(self._tell)

    def connect(self, send: Callable[[bytes], None], close: Callable[[], None], peer: int = 0) -> "SIPConnection":
        """A socket has been opened; see ``SIPConnection``."""
        connection = SIPConnection(self, send, close, peer)
        self.connections.add(connection)
        self.on_change()
        return connection

    def connections_of(self, user_id: str = "") -> list["SIPConnection"]:
        """That user's sockets, or all of them."""
        return [one for one in self.connections if user_id in ("", one.user_id)]

    def strike(self, fault: Fault, user_id: str = "") -> None:
        """Let a fault happen now, on that user's sockets or on all."""
        for connection in self.connections_of(user_id):
            if fault is Fault.DROP_LINE:
                connection.close()
            elif fault is Fault.MALFORMED_SIP:
                connection.send(b"NOTIFY sip:\x00\r\nContent-Length: -1\r\rnonsense\xff")
            else:
                for subscription in list(connection.subscriptions.values()):
                    if fault is Fault.END_SUBSCRIPTION:
                        connection.end(subscription, "deactivated")
                    else:
                        subscription.misbehave(fault)

    def _tell(self, leg: Leg) -> None:
        if leg.node in self.by_node:
            for subscription in list(self.by_node[leg.node]):
                subscription.notify([leg], is_full=False)


class SIPConnection:
    """One socket: requests in, responses and NOTIFYs out.

    Args:
        send: takes a frame; must not block.
        close: closes the socket.
        peer: the port at its other end.
    """

    def __init__(
        self, server: SIPServer, send: Callable[[bytes], None], close: Callable[[], None], peer: int = 0
    ) -> None:
        self.server, self.send, self.close = server, send, close
        self.connection_id, self.peer = secrets.token_hex(4), peer
        self.user_id = ""
        self.subscriptions: dict[tuple[str, str], Subscription] = {}  # by Call-ID and our tag
        self._nonce_counts: dict[str, int] = {}

    def receive(self, frame: bytes) -> None:
        """Take a frame. What is no SIP message is dropped."""
        if not frame.strip(b"\r\n"):
            self.send(b"\r\n")
            return
        try:
            message = parse_message(frame)
            if isinstance(message, SIPRequest):
                self._answer(message)
            else:
                self._take_response(message)
        except WireError:
            return

    def lost(self, why: str = "socket closed") -> None:
        """The socket is gone, and all that came in on it."""
        for subscription in list(self.subscriptions.values()):
            self._forget(subscription, why)
        self.server.connections.discard(self)
        self.server.on_change()

    def end(self, subscription: Subscription, reason: str, why: str = "") -> None:
        """End one subscription with a last NOTIFY; `why` is for the journal, if `reason` does not say it."""
        self._forget(subscription, why or reason)
        subscription.notify(self.server.switch.legs_at(subscription.node), is_full=True, ended=reason)
        self.server.on_change()

    # -- requests -----------------------------------------------------------------------------------------------

    def _answer(self, request: SIPRequest) -> None:
        match request.method:
            case "ACK":
                return
            case "OPTIONS" | "REGISTER":
                response = self._reply(request, 200)
                for contact in request.headers.get_all("Contact") if request.method == "REGISTER" else ():
                    response.headers.add("Contact", contact)
                response.headers.add("Accept", CONTENT_TYPE)
            case "SUBSCRIBE":
                self._subscribe(request)
                return
            case "BYE" | "CANCEL" | "NOTIFY":
                response = self._reply(request, 481)
            case _:
                response = self._reply(request, 405)
        response.headers.add("Allow", METHODS)
        self.send(bytes(response))

    def _subscribe(self, request: SIPRequest) -> None:
        refusal = self._refusal(request)
        if refusal is not None:
            self.send(bytes(refusal))
            return
        subscription = self.subscriptions.get((request.call_id, request.to.tag))
        if self.server.faults.take(Fault.REFUSE_SOCKETS, self.user_id):
            self.close()
        elif request.to.tag and subscription is None:
            self.send(bytes(self._reply(request, 481)))
        elif subscription is not None:
            self._refresh(request, subscription)
        else:
            self._begin(request)

    def _refusal(self, request: SIPRequest) -> Replied:
        """The response to a SUBSCRIBE that is not accepted; logs the user in on the way."""
        headers = request.headers
        if (headers.get("Event") or "").partition(";")[0].strip().lower() != "dialog":
            response = self._reply(request, 489)
            response.headers.add("Allow-Events", "dialog")
            return response
        try:
            headers.get_number("Expires")
            parse_uri(request.uri)
            _notify_target(request)
        except SIPMessageError:
            return self._reply(request, 400)
        accepted = [one.partition(";")[0].strip().lower() for one in headers.get_all("Accept")]
        if accepted and not {CONTENT_TYPE, "application/*", "*/*"} & set(accepted):
            return self._reply(request, 406)
        return self._authenticate(request)

    def _authenticate(self, request: SIPRequest) -> Replied:
        for value in request.headers.get_all("Authorization"):
            try:
                credentials = parse_credentials(value)
            except WireError:
                continue
            user = self.server.switch.users.get(credentials.username)
            nonce = credentials.nonce
            if user is None or not verify(value, request.method, user.sip_password, nonce, realm=self.server.domain):
                continue
            if self.user_id not in ("", user.user_id):
                return self._reply(request, 403)
            count = int(credentials.nc, 16) if _NONCE_COUNT.fullmatch(credentials.nc.lower()) else 0
            if count <= self._nonce_counts.get(nonce, MAX_NONCE_COUNT):  # not of ours, forgotten, or used before
                return self._challenge(request, stale=True)
            self._nonce_counts[nonce] = count
            self.user_id = user.user_id
            return None
        return self._challenge(request)

    def _challenge(self, request: SIPRequest, *, stale: bool = False) -> SIPResponse:
        # A nonce for each challenge: SIP.js counts the uses of a nonce from 1 in every subscription of its own.
        nonce = secrets.token_hex(16)
        self._nonce_counts[nonce] = 0
        while len(self._nonce_counts) > MAX_NONCES:
            del self._nonce_counts[next(iter(self._nonce_counts))]
        response = self._reply(request, 401)
        response.headers.add("WWW-Authenticate", make_challenge(self.server.domain, nonce, stale=stale))
        return response

    # -- subscriptions ------------------------------------------------------------------------------------------

    def _begin(self, request: SIPRequest) -> None:
        server = self.server
        node = parse_uri(request.uri).user
        status = 200
        if not server.switch.has_node(node):
            status = 404
        elif node in server.private_nodes:
            status = 403
        elif len(self.subscriptions) >= MAX_SUBSCRIPTIONS:
            status = 503
        if status != 200:
            self.send(bytes(self._reply(request, status)))
            return
        response = self._reply(request, 200)
        subscription = Subscription(
            self,
            node,
            server.domain,
            call_id=request.call_id,
            local=response.headers["To"],
            remote=request.headers["From"],
            target=_notify_target(request),
            event=request.headers["Event"],
            faults=server.faults,
            schedule=server.schedule,
            now=server.now,
            journal=server.journal,
            on_expiry=lambda one: self.end(one, "timeout", "expired"),
        )
        self.subscriptions[request.call_id, response.to.tag] = subscription
        server.by_node[node].add(subscription)
        subscription.note("subscribed", peer=self.peer)
        self._grant(request, response, subscription, is_new=True)

    def _refresh(self, request: SIPRequest, subscription: Subscription) -> None:
        if request.cseq.number <= subscription.remote_cseq:
            self.send(bytes(self._reply(request, 500)))
            return
        subscription.target = _notify_target(request)
        self._grant(request, self._reply(request, 200), subscription, is_new=False)

    def _grant(self, request: SIPRequest, response: SIPResponse, subscription: Subscription, *, is_new: bool) -> None:
        server = self.server
        asked = request.headers.get_number("Expires")
        seconds = min(DEFAULT_EXPIRES if asked is None else asked, server.max_expires)
        subscription.remote_cseq = request.cseq.number
        response.headers.add("Contact", f"<sip:{subscription.node}@{server.domain};transport=ws>")
        response.headers.add("Expires", str(seconds))
        self.send(bytes(response))
        if not seconds:
            self.end(subscription, "timeout", "unsubscribed")
            return
        subscription.refresh(seconds)
        legs = server.switch.legs_at(subscription.node)
        subscription.notify(legs, is_full=True, with_body=bool(legs) or server.quiet_body or not is_new)
        server.on_change()

    def _forget(self, subscription: Subscription, why: str) -> None:
        subscription.cancel()
        subscription.note("unsubscribed", why=why)
        self.subscriptions = {key: one for key, one in self.subscriptions.items() if one is not subscription}
        watchers = self.server.by_node[subscription.node]
        watchers.discard(subscription)
        if not watchers:
            del self.server.by_node[subscription.node]

    def _take_response(self, response: SIPResponse) -> None:
        """A NOTIFY that the watcher does not know ends its subscription (RFC 6665 4.2.2)."""
        if response.status not in (200, 481) or response.cseq.method != "NOTIFY":
            return
        subscription = self.subscriptions.get((response.call_id, response.from_.tag))
        if subscription is None:
            return
        if response.status == 200:
            subscription.note_answer(response.cseq.number)
        else:
            self._forget(subscription, "481")
            self.server.on_change()

    def _reply(self, request: SIPRequest, status: int) -> SIPResponse:
        return request.reply(status, to_tag=secrets.token_hex(8))


def _notify_target(request: SIPRequest) -> str:
    """The URI for NOTIFYs. Raises SIPMessageError unless there is exactly one Contact with a sound one."""
    contacts = request.headers.get_all("Contact")
    if len(contacts) != 1:
        raise SIPMessageError("A SUBSCRIBE has one Contact.")
    return str(parse_uri(parse_name_addr(contacts[0]).uri))
