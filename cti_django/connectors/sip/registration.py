"""Registering as a further phone of the agent's, and staying so.

Source: RFC 3261 10, RFC 3608 (Service-Route).
"""

from collections.abc import Callable

from ...exceptions import SIPMessageError
from ...wire.sip_exchange import read_seconds
from ...wire.sip_message import SIPRequest, SIPResponse
from ...wire.sip_uri import SIPURI, parse_name_addr, parse_uri
from ...wire.sip_user_agent import UserAgent

__all__ = ["Registration"]

AHEAD_SECONDS = 30.0
RETRY_SECONDS = 30.0
MAX_RETRY_SECONDS = 300.0
_FOR_GOOD = frozenset((400, 401, 403, 404, 405, 407, 416, 420, 501, 505, 604))


class Registration:
    """One binding of our Contact to the agent's address.

    Args:
        agent: of the line; whoever has it sends what it has to send.
        seconds: asked for; a 423 raises it.
        on_failed: hears the status of a refusal, and when it is tried again (None: never).
    """

    def __init__(
        self,
        agent: UserAgent,
        seconds: float,
        on_failed: Callable[[int, float | None], None],
    ) -> None:
        self._agent = agent
        self._seconds = seconds
        self._on_failed = on_failed
        self._call_id = agent.new_tag()
        self._is_bound = False
        agent.attach(self._call_id, self)

    def begin(self, now: float) -> None:
        """Register; the binding is refreshed from then on."""
        self._is_bound = True  # as soon as the server reads this, long before we hear so
        self._agent.send(self._request(self._seconds), self, now)

    def end(self, now: float) -> None:
        """Take the binding back."""
        self._agent.wake(self, None)
        if self._is_bound:
            self._is_bound = False
            self._agent.abandon(self._call_id)
            self._agent.send(self._request(0), None, now)

    def handle_timeout(self, now: float) -> None:
        """It is time to refresh, or to try again."""
        self.begin(now)

    def receive_response(self, request: SIPRequest, response: SIPResponse, now: float) -> None:
        """See ``Usage``."""
        if response.status < 200:
            return
        self._seconds = read_seconds(request.headers.get("Expires")) or self._seconds
        if response.status < 300:
            granted = self._granted(response)
            routes = tuple(response.headers.get_all("Service-Route"))
            if routes:
                self._agent.route = routes
            wait = max(granted - AHEAD_SECONDS, granted / 2, 1.0) if granted else RETRY_SECONDS
            self._agent.wake(self, now + wait)
            return
        retry = read_seconds(response.headers.get("Retry-After"))
        if 300 <= response.status < 400 or (response.status in _FOR_GOOD and retry is None):
            self._is_bound = False
            self._on_failed(response.status, None)
            return
        wait = min(RETRY_SECONDS if retry is None else max(retry, 1.0), MAX_RETRY_SECONDS)
        self._agent.wake(self, now + wait)
        self._on_failed(response.status, wait)

    def receive_request(self, request: SIPRequest, now: float) -> None:
        """See ``Usage``: nobody has any business in a registration."""
        self._agent.respond(request, 481, now)

    def _request(self, seconds: float) -> SIPRequest:
        own = self._agent.uri
        registrar = str(SIPURI(own.scheme, "", own.host, own.port))
        headers = (("Contact", str(self._agent.contact)), ("Expires", str(int(seconds))))
        return self._agent.new_request(
            "REGISTER", registrar, to=self._agent.address, call_id=self._call_id, headers=headers
        )

    def _granted(self, response: SIPResponse) -> float:
        ours = parse_uri(self._agent.contact.uri)
        for value in response.headers.get_all("Contact"):
            try:
                contact = parse_name_addr(value)
                is_ours = parse_uri(contact.uri) == ours
            except SIPMessageError:
                continue  # somebody else's phone
            seconds = read_seconds(contact.params.get("expires"))
            if is_ours and seconds is not None:
                return min(seconds, self._seconds)
        seconds = read_seconds(response.headers.get("Expires"))
        return self._seconds if seconds is None else min(seconds, self._seconds)
