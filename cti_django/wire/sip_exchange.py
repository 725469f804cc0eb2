"""One request of ours until its user hears what became of it: logged in, asked for longer, or sent elsewhere.

An exchange is a chain of transactions. A response that only wants the request in another shape makes the next link;
whatever else comes is its user's.

Source: RFC 3261 8.1.3.4 (3xx), 8.1.3.5, 22 (401, 407), 10.3 and RFC 6665 4.2.1.1 (423).
"""

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from ..exceptions import DigestError, SIPMessageError
from .sip_invite import InviteClientTransaction
from .sip_login import CREDENTIALS, Login
from .sip_message import SIPRequest, SIPResponse
from .sip_transaction import NonInviteClientTransaction
from .sip_uri import CSeq, parse_name_addr, parse_uri

if TYPE_CHECKING:
    from .sip_user_agent import Usage

__all__ = ["MAX_EXPIRES", "Exchange", "read_seconds"]

MAX_EXPIRES = 24 * 3600.0
"""Nothing is asked for longer, whatever Min-Expires says (seconds)."""
_MAX_ROUNDS = 5  # challenges and 423s in one exchange: two hops may each ask once, and each nonce may be stale once
_MAX_REDIRECTS = 5
_MAX_TARGETS = 10  # of one 3xx
_SECONDS_RE = re.compile(r"[ \t]*+([0-9]{1,10})(?![0-9])")
_QUALITY_RE = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_REDIRECTS = frozenset((300, 301, 302))


class Exchange:
    """One request on its way.

    Args:
        usage: who hears of it; None if nobody cares.

    ``accepted`` is the To tag of the 2xx that its user was told, ``acks`` what was sent for each tag that said 2xx;
    ``is_cancelled`` means that its user wants it no more. They matter for an INVITE only.
    """

    __slots__ = ("_rounds", "_tried", "accepted", "acks", "is_cancelled", "transaction", "usage")

    transaction: InviteClientTransaction | NonInviteClientTransaction

    def __init__(self, usage: "Usage | None") -> None:
        self.usage = usage
        self.accepted: str | None = None
        self.acks: dict[str, bytes] | None = None
        self.is_cancelled = False
        self._rounds = 0
        self._tried: set[str] | None = None

    @property
    def request(self) -> SIPRequest:
        """What was sent last."""
        return self.transaction.request

    def again(self, response: SIPResponse, login: Login) -> SIPRequest | None:
        """The request as `response` wants it: without a Via, numbered one higher. None if asking again is no use."""
        status = response.status
        if self.is_cancelled or self.request.method == "CANCEL":
            return None
        try:
            if status in (401, 407):
                return self._logged_in(response, login)
            if status == 423:
                return self._for_longer(response)
            if status in _REDIRECTS and not self.request.to.tag and self.request.method != "REGISTER":
                return self._elsewhere(response)
        except (DigestError, SIPMessageError):
            return None
        return None

    def _logged_in(self, response: SIPResponse, login: Login) -> SIPRequest | None:
        self._rounds += 1
        if self._rounds > _MAX_ROUNDS:
            return None
        request = self._copy(self.request.uri)
        login.answer(self.request, response, request)
        return request

    def _for_longer(self, response: SIPResponse) -> SIPRequest | None:
        self._rounds += 1
        asked = read_seconds(self.request.headers.get("Expires"))
        shortest = read_seconds(response.headers.get("Min-Expires"))
        if self._rounds > _MAX_ROUNDS or asked is None or shortest is None or not 0 < asked < shortest <= MAX_EXPIRES:
            return None
        request = self._copy(self.request.uri)
        request.headers.set("Expires", str(int(shortest)))
        return request

    def _elsewhere(self, response: SIPResponse) -> SIPRequest | None:
        self._tried = (self._tried or set()) | {self.request.uri}
        if len(self._tried) > _MAX_REDIRECTS:
            return None
        for uri in _targets(response):
            if uri not in self._tried:
                request = self._copy(uri)
                for name in CREDENTIALS:  # a proof is for one Request-URI
                    request.headers.remove(name)
                return request
        return None

    def _copy(self, uri: str) -> SIPRequest:
        headers = self.request.headers.copy()
        headers.remove("Via")
        headers.set("CSeq", str(CSeq(self.request.cseq.number + 1, self.request.method)))
        return SIPRequest(self.request.method, uri, headers, self.request.body)


def read_seconds(text: str | None) -> float | None:
    """The number that `text` begins with ("120;duration=60", "60 (in a meeting)"), None if there is none."""
    match = _SECONDS_RE.match(text) if text else None
    return float(match[1]) if match else None


def _targets(response: SIPResponse) -> list[str]:
    """The SIP URIs of a 3xx's Contacts, the one it likes best first."""
    ranked = []
    for value in response.headers.get_all("Contact")[:_MAX_TARGETS]:
        with suppress(SIPMessageError):
            contact = parse_name_addr(value)
            uri = parse_uri(contact.uri)
            quality = contact.params.get("q") or "1"
            if uri.scheme in ("sip", "sips") and not uri.headers and "method" not in uri.params:
                ranked.append((float(quality) if _QUALITY_RE.fullmatch(quality) else 0.0, contact.uri))
    return [uri for _, uri in sorted(ranked, key=lambda one: -one[0])]
