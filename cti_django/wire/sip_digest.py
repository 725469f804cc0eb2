"""Digest authentication: reading and answering challenges, and, for servers, making and verifying them.

The text between the quotes of realm, nonce and opaque is kept exactly as it came, backslashes included: that is what
digest hashes, and it goes back unchanged.

Source: RFC 7616, RFC 8760, RFC 3261 22; RFC 2617 for servers that offer no qop.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace

from ..exceptions import DigestError
from .sip_grammar import WORD, quote_string, unquote_string
from .sip_message import SIPRequest, SIPResponse

__all__ = [
    "ALGORITHMS",
    "Challenge",
    "Credentials",
    "DigestClient",
    "choose",
    "make_challenge",
    "parse_challenge",
    "parse_credentials",
    "verify",
]

ALGORITHMS = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
"""Name on the wire -> name in hashlib, strongest first; each also exists as "<name>-sess"."""

_MAX_NONCES = 64
_MAX_STALE = 3
_ANSWERS = {"WWW-Authenticate": "Authorization", "Proxy-Authenticate": "Proxy-Authorization"}

_SCHEME_RE = re.compile(r"[ \t]*+[Dd][Ii][Gg][Ee][Ss][Tt][ \t]++")
_RAW = r'(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x1f\x7f])*+'
_RAW_RE = re.compile(_RAW)
_PARAM_RE = re.compile(rf'({WORD})[ \t]*+=[ \t]*+(?:"({_RAW})"|([^\x00-\x20\x7f",]++))[ \t]*+(?:,[ \t]*+|\Z)')
_NC_RE = re.compile(r"[0-9a-fA-F]{8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One Digest challenge of a server.

    Args:
        realm, nonce: as they stood between their quotes.
        opaque: the same; None if the server sent none.
        algorithm: as the server wrote it.
        qop: what the server offers, in lower case; () for the old form without quality of protection.
        stale: only the nonce was old; the password was right.
        domain: URIs that the server wants protected alike.

    Source: RFC 7616 3.3.
    """

    realm: str
    nonce: str
    opaque: str | None = None
    algorithm: str = "MD5"
    qop: tuple[str, ...] = ()
    stale: bool = False
    domain: tuple[str, ...] = ()

    @property
    def is_answerable(self) -> bool:
        """Whether we know the algorithm and one of the offered qop."""
        if _hash_name(self.algorithm) is None:
            return False
        return bool({"auth", "auth-int"} & set(self.qop)) if self.qop else not _is_session(self.algorithm)


def parse_challenge(header_value: str) -> Challenge:
    """Read the value of one WWW-Authenticate or Proxy-Authenticate header.

    Raises:
        DigestError: another scheme, malformed, a parameter twice, or no realm or nonce.
    """
    params = _read(header_value)
    if "realm" not in params or not params.get("nonce"):
        raise DigestError("The challenge has no realm or no nonce.")
    return Challenge(
        realm=params["realm"],
        nonce=params["nonce"],
        opaque=params.get("opaque"),
        algorithm=params.get("algorithm", "MD5"),
        qop=tuple(word.lower() for word in re.split(r"[ \t,]+", params.get("qop", "")) if word),
        stale=params.get("stale", "").lower() == "true",
        domain=tuple(params.get("domain", "").split()),
    )


def _read(header_value: str) -> dict[str, str]:
    scheme = _SCHEME_RE.match(header_value)
    if scheme is None:
        raise DigestError("The authentication is not Digest.")
    params: dict[str, str] = {}
    position = scheme.end()
    while position < len(header_value):
        match = _PARAM_RE.match(header_value, position)
        if match is None or match[1].lower() in params:
            raise DigestError("The authentication parameters are malformed.")
        params[match[1].lower()] = match[3] if match[2] is None else match[2]
        position = match.end()
    return params


def choose(challenges: Iterable[Challenge]) -> Challenge:
    """The challenge with the strongest algorithm that we can answer; of equals, the server's first.

    Raises:
        DigestError: we can answer none of them.

    Deviates: RFC 8760 2.4 would have us take the server's first, unless "a local policy dictates otherwise". It does:
        whoever can add a header in front must not talk us down to MD5.
    """
    answerable = [challenge for challenge in challenges if challenge.is_answerable]
    if not answerable:
        raise DigestError("The server asks for a kind of log-in that is not supported.")
    strengths = list(ALGORITHMS)
    return min(answerable, key=lambda challenge: strengths.index(_plain(challenge.algorithm)))


def _plain(algorithm: str) -> str:
    return algorithm.upper().removesuffix("-SESS")


def _is_session(algorithm: str) -> bool:
    return algorithm.upper().endswith("-SESS")


def _hash_name(algorithm: str) -> str | None:
    name = ALGORITHMS.get(_plain(algorithm))
    return name if name in hashlib.algorithms_available else None


def _proof(credentials: "Credentials", password: str, method: str, body: bytes) -> str:
    name = _hash_name(credentials.algorithm)
    if name is None:
        raise DigestError("The digest algorithm is not supported.")

    def hashed(data: bytes) -> str:
        return hashlib.new(name, data, usedforsecurity=False).hexdigest()

    def hashed_words(*words: str) -> str:
        return hashed(":".join(words).encode("utf-8", "surrogatepass"))

    ha1 = hashed_words(credentials.username, credentials.realm, password)
    if _is_session(credentials.algorithm):
        ha1 = hashed_words(ha1, credentials.nonce, credentials.cnonce)
    a2 = [method, credentials.uri]
    if credentials.qop == "auth-int":
        a2.append(hashed(body))
    middle = [credentials.nc, credentials.cnonce, credentials.qop] if credentials.qop else []
    return hashed_words(ha1, credentials.nonce, *middle, hashed_words(*a2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a client says in Authorization or Proxy-Authorization.

    Args:
        username: plain text.
        realm, nonce, uri, cnonce, opaque: as they stand between their quotes.
        response: the proof, in hexadecimal digits. Not in the repr.
        algorithm, qop: as written; qop is "" in the old form.
        nc: how often this nonce was used, eight hexadecimal digits; "" in the old form.

    Source: RFC 7616 3.4.
    """

    username: str
    realm: str
    nonce: str
    uri: str
    response: str = field(default="", repr=False)
    algorithm: str = "MD5"
    qop: str = ""
    nc: str = ""
    cnonce: str = ""
    opaque: str | None = None

    def __str__(self) -> str:
        parts = [
            f'Digest username={quote_string(self.username)}, realm="{self.realm}", nonce="{self.nonce}"',
            f'uri="{self.uri}", response="{self.response}", algorithm={self.algorithm}',
        ]
        if self.qop:
            parts.append(f'qop={self.qop}, nc={self.nc}, cnonce="{self.cnonce}"')
        if self.opaque is not None:
            parts.append(f'opaque="{self.opaque}"')
        return ", ".join(parts)


def parse_credentials(header_value: str) -> Credentials:
    """Read the value of one Authorization or Proxy-Authorization header.

    Raises:
        DigestError: another scheme, malformed, a parameter twice, or an incomplete proof.
    """
    params = _read(header_value)
    if "username" in params:
        params["username"] = unquote_string(f'"{params["username"]}"')
    known = {field.name for field in fields(Credentials)}
    try:
        credentials = Credentials(**{name: value for name, value in params.items() if name in known})
    except TypeError:
        raise DigestError("The credentials are incomplete.") from None
    if credentials.qop and not (_NC_RE.fullmatch(credentials.nc) and credentials.cnonce):
        raise DigestError("The credentials are incomplete.")
    return credentials


def make_challenge(
    realm: str,
    nonce: str,
    *,
    algorithm: str = "MD5",
    qop: tuple[str, ...] = ("auth",),
    opaque: str | None = None,
    stale: bool = False,
) -> str:
    """The value of a WWW-Authenticate or Proxy-Authenticate header.

    Args:
        nonce: unguessable, and made by the caller, who remembers how long it is good for.
        qop: () for the old form, without quality of protection.
        stale: tells the client that only its nonce was old.
    """
    parts = [f"Digest realm={quote_string(realm)}, nonce={quote_string(nonce)}, algorithm={algorithm}"]
    if qop:
        parts.append(f'qop="{",".join(qop)}"')
    if opaque is not None:
        parts.append(f"opaque={quote_string(opaque)}")
    if stale:
        parts.append("stale=true")
    return ", ".join(parts)


def verify(
    header_value: str,
    method: str,
    password: str,
    nonce: str,
    *,
    realm: str,
    uri: str | None = None,
    algorithm: str = "MD5",
    body: bytes = b"",
) -> bool:
    """Whether these credentials prove that the client knows `password` (of the username that they name).

    Compares in constant time; malformed credentials are simply wrong. A nonce that is good only once, or a nonce
    count that must rise, is the caller's to keep.

    Args:
        nonce, realm, algorithm: what the challenge said.
        uri: the Request-URI, if the proof must be for it; None for any, because proxies rewrite Request-URIs.
    """
    try:
        credentials = parse_credentials(header_value)
        expected = _proof(credentials, password, method, body)
    except DigestError:
        return False
    if credentials.qop not in ("", "auth", "auth-int") or (uri is not None and credentials.uri != uri):
        return False
    if (credentials.nonce, credentials.realm, credentials.algorithm.upper()) != (nonce, realm, algorithm.upper()):
        return False
    return hmac.compare_digest(expected.encode(), credentials.response.lower().encode("utf-8", "surrogatepass"))


class DigestClient:
    """Answers the challenges of servers with one username and password.

    It counts how often it has used each nonce, and gives up where answering again could only go round in circles.

    Args:
        username: plain text.
        password: plain text; it never leaves this object and is not in the repr.
        random: gives as many random bytes as asked for.
    """

    __slots__ = ("_password", "_random", "_stale", "_uses", "username")

    def __init__(self, username: str, password: str, *, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self.username = username
        self._password = password
        self._random = random
        self._uses: dict[str, int] = {}
        self._stale: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"DigestClient({self.username!r})"

    def answer(self, request: SIPRequest, response: SIPResponse) -> list[tuple[str, str]]:
        """The headers with which to send `request` again after a 401 or 407.

        One for each realm that `response` asks for: the strongest challenge of it that we can answer.

        Args:
            request: as it was sent, with the credentials that it had.
            response: what came back.

        Returns:
            (name, value) of Authorization and Proxy-Authorization headers.

        Raises:
            DigestError: nothing that we can answer; or, with the code "refused", the server has seen our answer, and
                says neither that the nonce was stale nor anything else that would make another try worthwhile.

        Source: RFC 3261 22.2, 22.3; RFC 8760 2.4.
        """
        answers = []
        for asked_in, answered_in in _ANSWERS.items():
            by_realm: dict[str, list[Challenge]] = {}
            for value in response.headers.get_all(asked_in):
                with suppress(DigestError):
                    challenge = parse_challenge(value)
                    by_realm.setdefault(challenge.realm, []).append(challenge)
            for challenges in by_realm.values():
                if not any(challenge.is_answerable for challenge in challenges):
                    continue
                challenge = choose(challenges)
                self._refuse_circles(challenge, request.headers.get_all(answered_in))
                answers.append((answered_in, self.authorization(challenge, request.method, request.uri, request.body)))
        if not answers:
            raise DigestError("The server asks for a kind of log-in that is not supported.")
        return answers

    def _refuse_circles(self, challenge: Challenge, sent: list[str]) -> None:
        nonce = next((c.nonce for c in map(parse_credentials, sent) if c.realm == challenge.realm), None)
        if nonce is None:
            self._stale.pop(challenge.realm, None)
            return
        worked_before = self._uses.get(nonce, 0) > 1
        rounds = 0 if worked_before else self._stale.get(challenge.realm, 0) + 1
        self._stale[challenge.realm] = rounds
        same_nonce = nonce == challenge.nonce
        if rounds > _MAX_STALE or (not challenge.stale and (same_nonce or not worked_before)):
            raise DigestError("The server refuses the user name or the password.", code="refused")

    def authorization(
        self, challenge: Challenge, method: str, uri: str, body: bytes = b"", *, cnonce: str | None = None
    ) -> str:
        """The value of the header that answers `challenge`; each call counts as one more use of its nonce.

        Args:
            method: of the request that will carry it.
            uri: its Request-URI.
            body: its body; matters if the server offers "auth-int" alone.
            cnonce: None for a fresh random one.

        Raises:
            DigestError: an algorithm or qop that we do not know.

        Source: RFC 7616 3.4, RFC 3261 22.4.
        """
        if not challenge.is_answerable:
            raise DigestError("The server asks for a kind of log-in that is not supported.")
        if not _RAW_RE.fullmatch(uri):
            raise DigestError("The URI cannot stand in a header.")
        qop = "" if not challenge.qop else "auth" if "auth" in challenge.qop else "auth-int"
        uses = self._uses.pop(challenge.nonce, 0) + 1
        self._uses[challenge.nonce] = uses
        if len(self._uses) > _MAX_NONCES:
            del self._uses[next(iter(self._uses))]
        credentials = Credentials(
            username=self.username,
            realm=challenge.realm,
            nonce=challenge.nonce,
            uri=uri,
            algorithm=challenge.algorithm,
            qop=qop,
            nc=f"{uses:08x}" if qop else "",
            cnonce=(self._random(16).hex() if cnonce is None else cnonce) if qop else "",
            opaque=challenge.opaque,
        )
        proof = _proof(credentials, self._password, method, body)
        return str(replace(credentials, response=proof))
