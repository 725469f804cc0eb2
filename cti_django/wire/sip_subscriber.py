"""Many event subscriptions of one user agent.

    PENDING ──2xx──> ACTIVE ──SUBSCRIBE again, in the dialog, before it expires──> ACTIVE ...
       ^ │              │ └──unsubscribe──> ENDING ──the last NOTIFY──> (gone)
       │ └──failure──┬──┘
       └─────────WAITING                    a final refusal, or NOTIFY terminated for good──> (gone)

A ``Subscriber`` has no I/O and no clock: `now` is monotonic seconds and always passed in. It goes on by itself: it
refreshes, and subscribes again where the server invites it to. What comes of it is told in four kinds of events, by
its user agent. A lost flow is its end; a new flow gets a new Subscriber.

It remembers no NOTIFY: the dialog's CSeq tells one that was served before. So no peer can make it grow.

Source: RFC 6665 4.1.
"""

from typing import Any

from ..exceptions import SIPMessageError
from .sip_dialog import Arrival
from .sip_exchange import read_seconds
from .sip_grammar import Params, parse_params
from .sip_message import SIPRequest, SIPResponse
from .sip_subscription import (
    NotifyReceived,
    Phase,
    SubscriberEvent,
    Subscription,
    SubscriptionActive,
    SubscriptionEnded,
)
from .sip_transaction import T1
from .sip_uri import SIPURI
from .sip_usage import ProtocolFault
from .sip_user_agent import UserAgent

__all__ = [
    "NotifyReceived",
    "ProtocolFault",
    "Subscriber",
    "SubscriberEvent",
    "SubscriptionActive",
    "SubscriptionEnded",
]

_MAX_REASON = 200


class Subscriber:
    """The subscriptions of one user agent to one event package.

    Args:
        agent: says them, and tells what comes of it; may have other usages too.
        event: the event package.
        accept: the media type that its NOTIFYs may carry.
        expires: seconds to ask for.
    """

    __slots__ = ("_by_node", "accept", "agent", "event", "expires")

    def __init__(
        self,
        agent: UserAgent,
        *,
        event: str = "dialog",
        accept: str = "application/dialog-info+xml",
        expires: int = 300,
    ) -> None:
        self.agent = agent
        self.event = event
        self.accept = accept
        self.expires = float(expires)
        self._by_node: dict[str, _Node] = {}

    # What we want.

    def subscribe(self, node: str, now: float) -> None:
        """Follow `node`, the user part of an address in our domain. Nothing happens if that is so already."""
        subscription = self._by_node.get(node)
        if subscription is not None and subscription.phase is Phase.ENDING:
            subscription.leave()
            subscription = None
        if subscription is None:
            subscription = self._by_node[node] = _Node(self, node)
            subscription.ask(now)

    def unsubscribe(self, node: str, now: float) -> None:
        """Follow `node` no more. SubscriptionEnded (status 0) comes when the server has said its last word, or 32 s
        later; at once if it had accepted nothing yet."""
        subscription = self._by_node.get(node)
        if subscription is not None and subscription.phase is not Phase.ENDING:
            subscription.stop(now)

    def refresh(self, node: str, now: float) -> None:
        """Refresh `node` now: the server answers with a NOTIFY of its full state.

        Nothing happens while `node` is not active, or is being refreshed already.
        """
        subscription = self._by_node.get(node)
        if subscription is not None and subscription.phase is Phase.ACTIVE and not subscription.is_asking:
            subscription.ask(now)

    def forget(self, node: str) -> None:
        """There is no subscription to `node` any more."""
        del self._by_node[node]

    # The five verbs of a protocol machine are its user agent's.

    def receive_data(self, data: bytes | str, now: float) -> None:
        """See ``UserAgent.receive_data``."""
        self.agent.receive_data(data, now)

    def events_received(self) -> list[Any]:
        """See ``UserAgent.events_received``."""
        return self.agent.events_received()

    def data_to_send(self) -> list[bytes]:
        """See ``UserAgent.data_to_send``."""
        return self.agent.data_to_send()

    def next_deadline(self) -> float | None:
        """See ``UserAgent.next_deadline``."""
        return self.agent.next_deadline()

    def handle_timeout(self, now: float) -> None:
        """See ``UserAgent.handle_timeout``."""
        self.agent.handle_timeout(now)


class _Node(Subscription):
    """One node's subscription as a usage of the user agent."""

    __slots__ = ("_subscriber", "_uri")

    def __init__(self, subscriber: Subscriber, node: str) -> None:
        self._subscriber = subscriber
        host = subscriber.agent.uri
        self._uri = str(SIPURI("sip", node, host.host, host.port))
        super().__init__(node, subscriber.agent.new_dialog(self._uri), subscriber.expires)

    # Out.

    def ask(self, now: float) -> None:
        """Send a SUBSCRIBE: the first one of a dialog, a refresh, or the last one."""
        subscriber = self._subscriber
        agent = subscriber.agent
        agent.attach(self.dialog.call_id, self)
        request = self.dialog.new_request("SUBSCRIBE")
        request.headers.add("Event", subscriber.event)
        request.headers.add("Accept", subscriber.accept)
        request.headers.add("Expires", str(int(self.asked)))
        self.is_asking = True
        if self.phase is not Phase.ENDING:
            self.deadline = None
        agent.send(request, self, now)
        self._plan()

    def stop(self, now: float) -> None:
        """Follow it no more."""
        if self.phase is not Phase.ACTIVE:
            self._end(0, "unsubscribed", None, now)
            return
        self._subscriber.agent.abandon(self.dialog.call_id)
        self.phase = Phase.ENDING
        self.asked = 0.0
        self.deadline = now + 64 * T1
        self.ask(now)

    def leave(self) -> None:
        """Hear nothing more of this attempt."""
        self._subscriber.agent.detach(self.dialog.call_id)
        self._subscriber.agent.wake(self, None)

    def handle_timeout(self, now: float) -> None:
        """Refresh, try again, or end, by phase."""
        match self.phase:
            case Phase.ENDING:
                self._end(0, "unsubscribed", None, now)
            case Phase.WAITING:
                self._start_again(now)
            case _:
                self.ask(now)

    def _start_again(self, now: float) -> None:
        self.restart(self._subscriber.agent.new_dialog(self._uri), self._subscriber.expires)
        self.ask(now)

    def _plan(self) -> None:
        self._subscriber.agent.wake(self, self.deadline)

    # In: responses.

    def receive_response(self, request: SIPRequest, response: SIPResponse, now: float) -> None:
        """What has become of our SUBSCRIBE."""
        if response.status < 200:
            return
        self.is_asking = False
        self.dialog.local_seq = request.cseq.number
        if response.status < 300:
            self._accept(request, response, now)
        else:
            retry_after = read_seconds(response.headers.get("Retry-After"))
            self._fail(response.status, response.reason, retry_after, now)

    def _accept(self, request: SIPRequest, response: SIPResponse, now: float) -> None:
        if self.phase is Phase.ENDING:
            return  # the last NOTIFY, or the deadline, ends it
        is_refresh = self.phase is Phase.ACTIVE
        self.asked = read_seconds(request.headers.get("Expires")) or self.asked  # a 423 may have raised it
        try:
            granted = self.receive_acceptance(request, response, now)
        except SIPMessageError:
            self._tell(ProtocolFault("The answer to a SUBSCRIBE has a malformed Contact or Record-Route."))
            wait = self.wait_after_response(500, None, now)
            self._end(response.status, "malformed answer", wait, now)
            return
        self._plan()
        if not is_refresh:
            self._tell(SubscriptionActive(self.node, granted))

    def _fail(self, status: int, reason: str, retry_after: float | None, now: float) -> None:
        if self.phase is Phase.ENDING:
            self._end(0, "unsubscribed", None, now)
            return
        wait = self.wait_after_response(status, retry_after, now)
        is_alive = self.phase is Phase.ACTIVE and status != 481
        if is_alive and wait is not None and now + wait < self.expires_at:
            # A refresh that failed for the moment takes nothing from what was granted (RFC 6665 4.1.2.2).
            self.deadline = now + wait
            self._plan()
            return
        self._end(status, reason, wait, now)

    def _end(self, status: int, reason: str, wait: float | None, now: float) -> None:
        self.leave()
        self._tell(SubscriptionEnded(self.node, status, reason[:_MAX_REASON], wait, wait is not None))
        if wait is None:
            self._subscriber.forget(self.node)
        elif wait == 0:
            self._start_again(now)
        else:
            self.phase = Phase.WAITING
            self.is_asking = False
            self.deadline = now + wait
            self._plan()

    def _tell(self, event: SubscriberEvent) -> None:
        self._subscriber.agent.tell(event)

    # In: requests.

    def receive_request(self, request: SIPRequest, now: float) -> None:
        """A NOTIFY, as a rule."""
        headers, event = request.headers, self._subscriber.event
        if request.method != "NOTIFY" or not self.expects(request):
            self._refuse(request, 481, "A request of an unknown subscription was answered 481.", now)
            return
        if parse_params(headers.get("Event") or "")[0].lower() != event:
            self._refuse(request, 489, "A NOTIFY of another event was answered 489.", now, ("Allow-Events", event))
            return
        state, params = parse_params(headers["Subscription-State"])
        arrival = self.receive_notify(request)
        if arrival is Arrival.LATE:
            self._refuse(request, 500, "A NOTIFY that came out of order was answered 500.", now)
            return
        self._subscriber.agent.respond(request, 200, now)
        if arrival is Arrival.NEXT:
            self._take(request, state.lower(), params, now)

    def _take(self, notify: SIPRequest, state: str, params: Params, now: float) -> None:
        content_type = (notify.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        self._tell(NotifyReceived(self.node, content_type, notify.body, state, notify.cseq.number))
        if state != "terminated":
            left = read_seconds(params.get("expires"))
            if left is not None:
                self.limit(left, now)
                self._plan()
            return
        reason = params.get("reason") or ""
        if self.phase is Phase.ENDING:
            self._end(0, "unsubscribed", None, now)
        else:
            retry_after = read_seconds(params.get("retry-after"))
            self._end(0, reason, self.wait_after_termination(reason.lower(), retry_after, now), now)

    def _refuse(self, request: SIPRequest, status: int, message: str, now: float, *headers: tuple[str, str]) -> None:
        self._subscriber.agent.respond(request, status, now, headers=headers)
        self._tell(ProtocolFault(message))
