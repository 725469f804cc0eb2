"""Many event subscriptions of one user over one WebSocket.

    PENDING ──2xx──> ACTIVE ──SUBSCRIBE again, in the dialog, before it expires──> ACTIVE ...
       ^ │              │ └──unsubscribe──> ENDING ──the last NOTIFY──> (gone)
       │ └──failure──┬──┘
       └─────────WAITING                    a final refusal, or NOTIFY terminated for good──> (gone)

A ``Subscriber`` has no I/O and no clock: `now` is monotonic seconds and always passed in. It goes on by itself: it
refreshes, answers challenges, and subscribes again where the server invites it to. What comes of it is told in four
kinds of events. A lost socket is its end; a new socket gets a new Subscriber.

It remembers no request of the peer: over a reliable transport a server transaction ends with its answer (RFC 3261
17.2.2), and the dialog's CSeq tells a NOTIFY that was served before. So no peer can make it grow.

Source: RFC 6665 4.1, RFC 7118, RFC 3261 8 and 12, RFC 5626 4.4.1 (keep-alive).
"""

import secrets
from collections.abc import Callable

from ..exceptions import DigestError, SIPMessageError
from .sip_dialog import Arrival, Dialog
from .sip_digest import DigestClient, parse_credentials
from .sip_grammar import parse_params
from .sip_message import SIPRequest, SIPResponse, parse_message
from .sip_subscription import (
    MAX_EXPIRES,
    NotifyReceived,
    Phase,
    ProtocolFault,
    SubscriberEvent,
    Subscription,
    SubscriptionActive,
    SubscriptionEnded,
    read_seconds,
)
from .sip_transaction import MAGIC_COOKIE, T1, NonInviteClientTransaction, salvage_request
from .sip_uri import SIPURI, NameAddr, Via, parse_uri

__all__ = [
    "NotifyReceived",
    "ProtocolFault",
    "Subscriber",
    "SubscriberEvent",
    "SubscriptionActive",
    "SubscriptionEnded",
]

_CREDENTIALS = ("Authorization", "Proxy-Authorization")
_ALLOW = "NOTIFY, OPTIONS"
_PING, _PONG = b"\r\n\r\n", b"\r\n"
_MAX_ROUNDS = 5  # challenges and 423s in one exchange: two hops may each ask once, and each nonce may be stale once
_MAX_REASON = 200


class Subscriber:
    """The subscriptions of one user over one flow.

    Args:
        domain: of the user and of all nodes; may have a port.
        username: the user part of our address, and the name in the digest.
        password: for the digest; not in the repr.
        event: the event package.
        accept: the media type that its NOTIFYs may carry.
        expires: seconds to ask for.
        transport: "WSS" or "WS", as the socket is.
        random: gives as many random bytes as asked for.

    Raises:
        SIPMessageError: a domain that no URI can hold.
    """

    __slots__ = (
        "_accept",
        "_by_call_id",
        "_by_node",
        "_contact",
        "_digest",
        "_domain",
        "_event",
        "_events",
        "_expires",
        "_host",
        "_out",
        "_random",
        "_transport",
        "_username",
    )

    def __init__(
        self,
        domain: str,
        username: str,
        password: str,
        *,
        event: str = "dialog",
        accept: str = "application/dialog-info+xml",
        expires: int = 300,
        transport: str = "WSS",
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._domain = parse_uri(f"sip:{domain}")
        self._username = username
        self._digest = DigestClient(username, password, random=random)
        self._event = event
        self._accept = accept
        self._expires = float(expires)
        self._transport = transport
        self._random = random
        # The peer reaches us through the socket alone, so our host is a name that can never resolve (RFC 7118 5).
        self._host = f"{random(6).hex()}.invalid"
        self._contact = f"<{SIPURI('sip', username, self._host, params={'transport': 'ws'})}>"
        self._by_node: dict[str, Subscription] = {}
        self._by_call_id: dict[str, Subscription] = {}
        self._events: list[SubscriberEvent] = []
        self._out: list[bytes] = []

    # What we want.

    def subscribe(self, node: str, now: float) -> None:
        """Follow `node`, the user part of an address in our domain. Nothing happens if that is so already."""
        subscription = self._by_node.get(node)
        if subscription is None or subscription.phase is Phase.ENDING:
            if subscription is not None:
                self._by_call_id.pop(subscription.dialog.call_id, None)
            dialog = self._half_dialog(node)
            subscription = self._by_node[node] = Subscription(node, dialog, self._expires)
            self._by_call_id[dialog.call_id] = subscription
            self._send_subscribe(subscription, now)

    def unsubscribe(self, node: str, now: float) -> None:
        """Follow `node` no more. SubscriptionEnded (status 0) comes when the server has said its last word, or 32 s
        later; at once if it had accepted nothing yet."""
        subscription = self._by_node.get(node)
        if subscription is None or subscription.phase is Phase.ENDING:
            return
        if subscription.phase is not Phase.ACTIVE:
            self._end(subscription, 0, "unsubscribed", None, now)
            return
        subscription.phase = Phase.ENDING
        subscription.asked = 0.0
        subscription.rounds = 0
        subscription.deadline = now + 64 * T1
        self._send_subscribe(subscription, now)

    def refresh(self, node: str, now: float) -> None:
        """Refresh `node` now: the server answers with a NOTIFY of its full state.

        Nothing happens while `node` is not active, or is being refreshed already.
        """
        subscription = self._by_node.get(node)
        if subscription is not None and subscription.phase is Phase.ACTIVE and subscription.transaction is None:
            self._send_subscribe(subscription, now)

    # The five verbs of a protocol machine.

    def receive_data(self, frame: bytes | str, now: float) -> None:
        """Take one WebSocket frame, text or binary. Never raises, whatever it holds."""
        data = frame.encode("utf-8", "replace") if isinstance(frame, str) else frame
        if data in (_PING, _PONG):
            if data == _PING:
                self._out.append(_PONG)
            return
        try:
            message = parse_message(data)
        except SIPMessageError:
            request = salvage_request(data)
            if request is None:
                self._fault("A frame that is no SIP message was dropped.")
            else:
                self._refuse(request, 400, "A malformed request was answered 400.")
            return
        if isinstance(message, SIPResponse):
            self._receive_response(message, now)
            return
        try:
            self._receive_request(message, now)
        except SIPMessageError:
            self._refuse(message, 400, "A request with a malformed header was answered 400.")

    def events_received(self) -> list[SubscriberEvent]:
        """What has happened since the last call, oldest first. Send ``data_to_send`` first: NOTIFYs want their 200."""
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> list[bytes]:
        """The frames to send now, oldest first; each is handed out once."""
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        """When ``handle_timeout`` wants to be called (monotonic seconds), None if never. Changes with every call."""
        deadlines = (subscription.next_deadline() for subscription in self._by_node.values())
        return min((moment for moment in deadlines if moment is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Do what is due by `now`: give up on answers, refresh, try again. Calling it early is harmless."""
        for subscription in list(self._by_node.values()):
            transaction = subscription.transaction
            if transaction is not None:
                transaction.handle_timeout(now)
                if transaction.timed_out:
                    subscription.transaction = None
                    self._fail(subscription, 408, "no answer", None, now)
                    continue
            if subscription.deadline is not None and now >= subscription.deadline:
                self._act_on_deadline(subscription, now)

    # Out.

    def _half_dialog(self, node: str) -> Dialog:
        local = NameAddr(self._uri(self._username), params={"tag": self._random(6).hex()})
        uri = self._uri(node)
        return Dialog(call_id=self._random(12).hex(), local=local, remote=NameAddr(uri), remote_target=uri)

    def _uri(self, user: str) -> str:
        return str(SIPURI("sip", user, self._domain.host, self._domain.port))

    def _send_subscribe(
        self, subscription: Subscription, now: float, refused: tuple[SIPRequest, SIPResponse] | None = None
    ) -> None:
        via = Via(self._transport, self._host, params={"branch": MAGIC_COOKIE + self._random(9).hex()})
        request = subscription.dialog.new_request("SUBSCRIBE", via)
        request.headers.add("Contact", self._contact)
        request.headers.add("Event", self._event)
        request.headers.add("Accept", self._accept)
        request.headers.add("Expires", str(int(subscription.asked)))
        if refused is not None:
            self._authorize(request, *refused)
        transaction = NonInviteClientTransaction(request, now, reliable=True)
        subscription.transaction = transaction
        self._out += transaction.data_to_send()
        if subscription.phase is not Phase.ENDING:
            subscription.deadline = None

    def _authorize(self, request: SIPRequest, refused: SIPRequest, response: SIPResponse) -> None:
        """Put into `request` the credentials of `refused`, and those that `response` asks for in place of theirs."""
        for name in _CREDENTIALS:
            for value in refused.headers.get_all(name):
                request.headers.add(name, value)
        answers = self._digest.answer(request, response)
        realms = {(name, parse_credentials(value).realm) for name, value in answers}
        for name in _CREDENTIALS:
            for value in request.headers.get_all(name):
                if (name, parse_credentials(value).realm) not in realms:
                    answers.append((name, value))
            request.headers.remove(name)
        for name, value in answers:
            request.headers.add(name, value)

    def _act_on_deadline(self, subscription: Subscription, now: float) -> None:
        match subscription.phase:
            case Phase.ENDING:
                self._end(subscription, 0, "unsubscribed", None, now)
            case Phase.WAITING:
                self._start_again(subscription, now)
            case _:
                self._send_subscribe(subscription, now)

    def _start_again(self, subscription: Subscription, now: float) -> None:
        dialog = self._half_dialog(subscription.node)
        subscription.restart(dialog, self._expires)
        self._by_call_id[dialog.call_id] = subscription
        self._send_subscribe(subscription, now)

    # In: responses.

    def _receive_response(self, response: SIPResponse, now: float) -> None:
        subscription = self._by_call_id.get(response.call_id)
        transaction = subscription.transaction if subscription else None
        if subscription is None or transaction is None or not transaction.matches(response):
            self._fault("A response that nobody waits for was dropped.")
            return
        if not transaction.receive_response(response, now) or response.status < 200:
            return
        subscription.transaction = None
        if response.status < 300:
            self._accept_2xx(subscription, transaction.request, response, now)
        elif not self._ask_again(subscription, transaction.request, response, now):
            retry_after = read_seconds(response.headers.get("Retry-After"))
            self._fail(subscription, response.status, response.reason, retry_after, now)

    def _accept_2xx(self, subscription: Subscription, request: SIPRequest, response: SIPResponse, now: float) -> None:
        if subscription.phase is Phase.ENDING:
            return  # the last NOTIFY, or the deadline, ends it
        is_refresh = subscription.phase is Phase.ACTIVE
        try:
            granted = subscription.receive_acceptance(request, response, now)
        except SIPMessageError:
            self._fault("The answer to a SUBSCRIBE has a malformed Contact or Record-Route.")
            wait = subscription.wait_after_response(500, None, now)
            self._end(subscription, response.status, "malformed answer", wait, now)
            return
        if not is_refresh:
            self._events.append(SubscriptionActive(subscription.node, granted))

    def _ask_again(self, subscription: Subscription, request: SIPRequest, response: SIPResponse, now: float) -> bool:
        """Send the SUBSCRIBE once more, as a 401, 407 or 423 wants it; False if that is no use."""
        subscription.rounds += 1
        if subscription.rounds > _MAX_ROUNDS:
            return False
        if response.status in (401, 407):
            try:
                self._send_subscribe(subscription, now, (request, response))
            except DigestError:
                return False
            return True
        shortest = read_seconds(response.headers.get("Min-Expires"))
        if response.status != 423 or shortest is None or not 0 < subscription.asked < shortest <= MAX_EXPIRES:
            return False
        subscription.asked = shortest
        self._send_subscribe(subscription, now)
        return True

    def _fail(
        self, subscription: Subscription, status: int, reason: str, retry_after: float | None, now: float
    ) -> None:
        if subscription.phase is Phase.ENDING:
            self._end(subscription, 0, "unsubscribed", None, now)
            return
        wait = subscription.wait_after_response(status, retry_after, now)
        is_alive = subscription.phase is Phase.ACTIVE and status != 481
        if is_alive and wait is not None and now + wait < subscription.expires_at:
            # A refresh that failed for the moment takes nothing from what was granted (RFC 6665 4.1.2.2).
            subscription.deadline = now + wait
            subscription.rounds = 0
            return
        self._end(subscription, status, reason, wait, now)

    def _end(self, subscription: Subscription, status: int, reason: str, wait: float | None, now: float) -> None:
        self._by_call_id.pop(subscription.dialog.call_id, None)
        self._events.append(SubscriptionEnded(subscription.node, status, reason[:_MAX_REASON], wait, wait is not None))
        if wait is None:
            del self._by_node[subscription.node]
        elif wait == 0:
            self._start_again(subscription, now)
        else:
            subscription.phase = Phase.WAITING
            subscription.transaction = None
            subscription.deadline = now + wait

    # In: requests.

    def _receive_request(self, request: SIPRequest, now: float) -> None:
        if request.method == "NOTIFY":
            self._receive_notify(request, now)
        elif request.method == "OPTIONS":
            self._reply(request, 200, Allow=_ALLOW, Accept=self._accept)
        elif request.method != "ACK":  # which is never answered
            self._refuse(request, 405, "A request that is no NOTIFY was answered 405.", Allow=_ALLOW)

    def _receive_notify(self, request: SIPRequest, now: float) -> None:
        headers = request.headers
        subscription = self._by_call_id.get(request.call_id)
        if subscription is None or not subscription.expects(request):
            self._refuse(request, 481, "A NOTIFY of an unknown subscription was answered 481.")
            return
        if parse_params(headers.get("Event") or "")[0].lower() != self._event:
            event = self._event
            self._refuse(request, 489, "A NOTIFY of another event was answered 489.", **{"Allow-Events": event})
            return
        state, params = parse_params(headers["Subscription-State"])
        arrival = subscription.receive_notify(request)
        if arrival is Arrival.LATE:
            self._refuse(request, 500, "A NOTIFY that came out of order was answered 500.")
            return
        self._reply(request, 200)
        if arrival is Arrival.REPEATED:
            return
        state = state.lower()
        content_type = (headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        self._events.append(NotifyReceived(subscription.node, content_type, request.body, state, request.cseq.number))
        if state != "terminated":
            left = read_seconds(params.get("expires"))
            if left is not None:
                subscription.limit(left, now)
            return
        reason = params.get("reason") or ""
        if subscription.phase is Phase.ENDING:
            self._end(subscription, 0, "unsubscribed", None, now)
        else:
            retry_after = read_seconds(params.get("retry-after"))
            wait = subscription.wait_after_termination(reason.lower(), retry_after, now)
            self._end(subscription, 0, reason, wait, now)

    def _refuse(self, request: SIPRequest, status: int, message: str, **headers: str) -> None:
        self._reply(request, status, **headers)
        self._fault(message)

    def _reply(self, request: SIPRequest, status: int, **headers: str) -> None:
        response = request.reply(status, to_tag=self._random(6).hex())
        for name, value in headers.items():
            response.headers.add(name, value)
        self._out.append(bytes(response))

    def _fault(self, message: str) -> None:
        self._events.append(ProtocolFault(message))
