"""What is remembered of one subscription, what is said about it, and when a failed one tries again.

``sip_subscriber`` does the talking; here is what it goes by.

Source: RFC 6665 4.1.
Deviates: there is no Timer N (a 2xx that no NOTIFY follows for 32 s), because all we could do is subscribe again, and
    the refresh does that in due course.
"""

from dataclasses import dataclass
from enum import Enum

from ..exceptions import SIPMessageError
from .sip_dialog import Arrival, Dialog, record_route
from .sip_exchange import read_seconds
from .sip_message import SIPRequest, SIPResponse
from .sip_usage import ProtocolFault

__all__ = [
    "NotifyReceived",
    "Phase",
    "SubscriberEvent",
    "Subscription",
    "SubscriptionActive",
    "SubscriptionEnded",
]

_MAX_RETRY_AFTER = 300.0  # an agent who is deaf for longer is better served by one more attempt
_MAX_BACKOFF = 60.0
_DEFAULT_WAIT = 10.0
_STABLE_AFTER = 60.0  # a subscription that lived this long owes nothing to the failures before it

_REFRESH_AHEAD = 30.0
_MIN_REFRESH = 1.0
_NEVER_AGAIN = frozenset(("rejected", "noresource", "invariant"))
_SOME_TIME_LATER = frozenset(("probation", "giveup"))
_REFUSED = frozenset((401, 403, 407))
_PASSING = frozenset((408, 429, 480, 481, 486, 491, 500, 502, 503, 504, 580, 600))


@dataclass(frozen=True, slots=True)
class SubscriptionActive:
    """The server has accepted a SUBSCRIBE. Said once per subscription, not at each refresh.

    Args:
        expires: seconds that were granted. Refreshing is not the reader's business.
    """

    node: str
    expires: float


@dataclass(frozen=True, slots=True)
class NotifyReceived:
    """A NOTIFY was accepted; its 200 OK is in ``data_to_send`` already. At most once per CSeq.

    Args:
        content_type: the media type in lower case, without parameters; "" if there is none.
        body: nobody has looked at it yet.
        subscription_state: "active", "pending", or "terminated" (SubscriptionEnded follows), in lower case.
        seq: the NOTIFY's CSeq number, which rises within a subscription.
    """

    node: str
    content_type: str
    body: bytes
    subscription_state: str
    seq: int


@dataclass(frozen=True, slots=True)
class SubscriptionEnded:
    """A subscription is over, or could not be had.

    Args:
        status: of the response that ended it: 401, 403 and 407 mean that these credentials are refused; 408 also if
            there was no response; 0 if a NOTIFY or ``unsubscribe`` ended it.
        reason: the reason phrase of the response, or the reason of the Subscription-State ("rejected"). Hostile.
        retry_after: seconds until the next attempt (0.0: it is on its way), None if there will be none.
        will_retry: whether the Subscriber goes on by itself.
    """

    node: str
    status: int
    reason: str
    retry_after: float | None
    will_retry: bool


SubscriberEvent = SubscriptionActive | NotifyReceived | SubscriptionEnded | ProtocolFault


class Phase(Enum):
    """Where a subscription is; the drawing in ``sip_subscriber`` says what leads where."""

    PENDING = "pending"
    ACTIVE = "active"
    WAITING = "waiting"
    ENDING = "ending"


class Subscription:
    """One node's subscription, through all the attempts to have it.

    Args:
        node: the user part of the resource's URI.

    ``dialog`` is the current attempt's: half of one (no remote tag) until a 2xx or a NOTIFY completes it.
    ``asked`` is what Expires says (seconds). ``is_asking`` while a SUBSCRIBE is not answered. ``deadline`` is when to
    refresh, to try again or to end, by phase.
    """

    __slots__ = (
        "_active_at",
        "_established",
        "_failures",
        "_notified",
        "asked",
        "deadline",
        "dialog",
        "expires_at",
        "is_asking",
        "node",
        "phase",
    )

    def __init__(self, node: str, dialog: Dialog, asked: float) -> None:
        self.node = node
        self._failures = 0
        self.restart(dialog, asked)

    def restart(self, dialog: Dialog, asked: float) -> None:
        """Begin a fresh attempt, with a Call-ID and tag of its own."""
        self.phase = Phase.PENDING
        self.dialog = dialog
        self.asked = asked
        self.is_asking = False
        self.expires_at = float("inf")
        self.deadline: float | None = None
        self._active_at: float | None = None
        self._established = False
        self._notified = False

    def expects(self, notify: SIPRequest) -> bool:
        """Whether `notify`, whose Call-ID is ours, belongs here.

        The first NOTIFY decides which fork of the SUBSCRIBE we listen to. Source: RFC 6665 4.1.2.4 and 4.1.4.
        """
        if self._notified:
            return self.dialog.matches(notify)
        return notify.to.tag == self.dialog.local.tag

    def receive_notify(self, notify: SIPRequest) -> Arrival:
        """Take a NOTIFY that is expected; the first one may come before the 2xx, and then makes the dialog.

        Raises:
            SIPMessageError: its Contact or a Record-Route is malformed, or the Contact that a dialog needs is missing.

        Deviates: RFC 6665 4.4.1 takes the route set from the first NOTIFY. One without Record-Route leaves what the
            2xx said, because there are proxies that record the route of the SUBSCRIBE alone.
        """
        if not self._notified and not (self._established and self.dialog.matches(notify)):
            self.dialog = Dialog.from_request(notify, self.dialog.local, local_seq=self.dialog.local_seq)
            self._established = self._notified = True
            return Arrival.NEXT
        routes, seq = record_route(notify), self.dialog.remote_seq
        arrival = self.dialog.receive_request(notify)
        if arrival is Arrival.NEXT:
            try:
                self.dialog.refresh_target(notify)
            except SIPMessageError:
                self.dialog.remote_seq = seq  # it is refused, so it may come again
                raise
            if routes and not self._notified:
                self.dialog.route_set = routes
            self._notified = True
        return arrival

    def receive_acceptance(self, request: SIPRequest, response: SIPResponse, now: float) -> float:
        """Take the 2xx to our SUBSCRIBE `request`.

        Returns:
            The seconds it grants, at most what was asked.

        Raises:
            SIPMessageError: its Contact or a Record-Route is malformed.
        """
        if not self._established:
            self.dialog = Dialog.from_response(request, response)
            self._established = True
        elif response.to.tag == self.dialog.remote.tag:
            self.dialog.refresh_target(response)
            if not self.dialog.route_set and self.phase is Phase.PENDING:
                self.dialog.route_set = record_route(response)[::-1]
        if self.phase is Phase.ACTIVE:
            self.expires_at, self.deadline = float("inf"), None
        else:
            self.phase, self._active_at = Phase.ACTIVE, now
        granted = read_seconds(response.headers.get("Expires"))
        granted = self.asked if granted is None else min(granted, self.asked)
        self.limit(granted, now)
        return granted

    def limit(self, seconds: float, now: float) -> None:
        """It lives `seconds` more at most: plan the refresh accordingly, but not sooner than a second from now."""
        self.expires_at = min(self.expires_at, now + seconds)
        if self.phase is Phase.ACTIVE and not self.is_asking:
            left = self.expires_at - now
            refresh_at = now + max(left - _REFRESH_AHEAD, left / 2, _MIN_REFRESH)
            self.deadline = refresh_at if self.deadline is None else min(self.deadline, refresh_at)

    def wait_after_response(self, status: int, retry_after: float | None, now: float) -> float | None:
        """Seconds to wait before trying again after a failure (408: silence), None if that would be of no use."""
        if status == 481 and self.phase is Phase.ACTIVE:
            return self._backoff(now)
        if status in _REFUSED or (status not in _PASSING and retry_after is None):
            return None
        return max(self._backoff(now), _DEFAULT_WAIT if retry_after is None else min(retry_after, _MAX_RETRY_AFTER))

    def wait_after_termination(self, reason: str, retry_after: float | None, now: float) -> float | None:
        """The same after a NOTIFY that said "terminated" for `reason`. Source: RFC 6665 4.1.3."""
        if reason in _NEVER_AGAIN:
            return None
        if retry_after is None:
            retry_after = _DEFAULT_WAIT if reason in _SOME_TIME_LATER else 0.0
        return max(self._backoff(now), min(retry_after, _MAX_RETRY_AFTER))

    def _backoff(self, now: float) -> float:
        """Nothing for the first failure in a row, then 2, 4, 8 ... 60 seconds."""
        if self._active_at is not None and now - self._active_at >= _STABLE_AFTER:
            self._failures, self._active_at = 0, now
        self._failures += 1
        return min(2.0 ** min(self._failures - 1, 10), _MAX_BACKOFF) if self._failures > 1 else 0.0
