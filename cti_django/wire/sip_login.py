"""The log-in of one user agent: credentials for what was challenged, and for what surely would be.

Source: RFC 3261 22.2 and 22.3.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress

from ..exceptions import DigestError
from .sip_digest import Challenge, DigestClient, choose, parse_challenge, parse_credentials
from .sip_message import SIPRequest, SIPResponse

__all__ = ["CREDENTIALS", "Login"]

CREDENTIALS = ("Authorization", "Proxy-Authorization")
"""The headers that hold credentials."""

_ASKED_IN = {"Authorization": "WWW-Authenticate", "Proxy-Authorization": "Proxy-Authenticate"}
_MAX_SHOWN = 128
_MAX_REALMS = 4  # a server and the proxies in front of it


class Login:
    """One user's name and password, and the realms that have asked for them.

    Args:
        username, password: plain text; not in the repr.
        is_forward: also answer a challenge of the past in every further request, which spares it one of its own.
        random: gives as many random bytes as asked for.
    """

    __slots__ = ("_digest", "_is_forward", "_realms", "realm")

    def __init__(
        self,
        username: str,
        password: str,
        *,
        is_forward: bool = True,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._digest = DigestClient(username, password, random=random)
        self._is_forward = is_forward
        self._realms: dict[tuple[str, str], Challenge] = {}
        self.realm = ""
        """The realm that asked last, capped; "" while none has."""

    def introduce(self, request: SIPRequest) -> None:
        """Put into `request` the credentials that it will surely be asked for."""
        for (name, _), challenge in self._realms.items():
            value = self._digest.authorization(challenge, request.method, request.uri, request.body)
            request.headers.add(name, value)

    def answer(self, refused: SIPRequest, response: SIPResponse, request: SIPRequest) -> None:
        """Put into `request`, which is to be sent in place of `refused`, the credentials that `response` asks for.

        Those of other realms stay as they were.

        Raises:
            DigestError: that is no use; see ``DigestClient.answer``. Nothing is remembered of those realms.
        """
        for name in _ASKED_IN.values():
            with suppress(DigestError):
                self.realm = parse_challenge(response.headers.get(name) or "").realm[:_MAX_SHOWN]
        try:
            answers = self._digest.answer(refused, response)
        except DigestError:
            self._realms.clear()
            raise
        fresh = {(name, parse_credentials(value).realm) for name, value in answers}
        for name in CREDENTIALS:
            kept = [(name, value) for value in request.headers.get_all(name)]
            answers += [pair for pair in kept if (name, parse_credentials(pair[1]).realm) not in fresh]
            request.headers.remove(name)
        for name, value in answers:
            request.headers.add(name, value)
        if self._is_forward:
            self._remember(response)

    def _remember(self, response: SIPResponse) -> None:
        for name, asked_in in _ASKED_IN.items():
            by_realm: dict[str, list[Challenge]] = {}
            for value in response.headers.get_all(asked_in):
                with suppress(DigestError):
                    challenge = parse_challenge(value)
                    by_realm.setdefault(challenge.realm, []).append(challenge)
            for realm, challenges in by_realm.items():
                with suppress(DigestError):
                    self._realms[name, realm] = choose(challenges)
        while len(self._realms) > _MAX_REALMS:
            del self._realms[next(iter(self._realms))]
