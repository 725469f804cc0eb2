"""Who and where in SIP: URIs, the addresses around them, Via hops, and CSeq.

A ``SIPURI`` and a ``NameAddr`` hold their parts unescaped; ``str()`` escapes them again, so a part that holds an
``@``, a quote or a ``>`` stays that part.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from ..exceptions import SIPMessageError
from .sip_grammar import (
    HOST,
    PARAMS,
    QUOTED,
    SPACE,
    WORD,
    Params,
    is_encodable,
    quote_string,
    read_params,
    unquote_string,
    write_params,
)

__all__ = ["SIPURI", "CSeq", "NameAddr", "Via", "parse_cseq", "parse_name_addr", "parse_uri", "parse_via"]

_MAX_CSEQ = 2**31 - 1
_MAX_PORT = 65535

_ESCAPED = r"%[0-9A-Fa-f]{2}"
_USER = rf"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/#]|{_ESCAPED})++"  # "#" should be escaped, and often is not
_PASSWORD = rf"(?:[A-Za-z0-9\-_.!~*'()&=+$,]|{_ESCAPED})*+"
_CHARS = rf"(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]|{_ESCAPED})++"
_URI_PARAMS = rf"(?:;{_CHARS}(?:={_CHARS})?+)*+"
_URI_HEADERS = rf"(?:[A-Za-z0-9\-_.!~*'()\[\]/?:+$&=]|{_ESCAPED})++"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*+:"
_ANY_URI = rf'{_SCHEME}[^\x00-\x20\x7f<>"]++'

_WORD_RE = re.compile(WORD)
_HOST_RE = re.compile(HOST)
_ANY_URI_RE = re.compile(_ANY_URI)
_URI_PARAM_RE = re.compile(rf";({_CHARS})(?:=({_CHARS}))?+")
_SIP_URI_RE = re.compile(
    rf"([Ss][Ii][Pp][Ss]?+):(?:({_USER})(?::({_PASSWORD}))?+@)?({HOST})(?::([0-9]{{1,5}}+))?+"
    rf"({_URI_PARAMS})(?:\?({_URI_HEADERS}))?+"
)
_TEL_URI_RE = re.compile(rf"[Tt][Ee][Ll]:([0-9A-Fa-f*#+().\-]++)({_URI_PARAMS})")
_NAME_ADDR_RE = re.compile(rf'{SPACE}({QUOTED}|[^"<>,;:@\\\x00-\x08\x0a-\x1f\x7f]*+){SPACE}<({_ANY_URI})>({PARAMS})')
_ADDR_SPEC_RE = re.compile(rf'{SPACE}({_SCHEME}[^\x00-\x20\x7f<>";,?]++)({PARAMS})')
_VIA_RE = re.compile(
    rf"{SPACE}({WORD}){SPACE}/{SPACE}({WORD}){SPACE}/{SPACE}({WORD})[ \t]++"
    rf"({HOST})(?:{SPACE}:{SPACE}([0-9]{{1,5}}+))?+({PARAMS})"
)
_CSEQ_RE = re.compile(rf"{SPACE}([0-9]{{1,20}}+)[ \t]++({WORD}){SPACE}")


@dataclass(frozen=True, slots=True, eq=False)
class SIPURI:
    """A sip:, sips: or tel: URI, unescaped.

    Two of them are equal by RFC 3261 19.1.4, which is no equivalence relation: parameters that only one of the two
    has are mostly ignored. The hash is of those parts that always count.

    Args:
        scheme: "sip", "sips" or "tel".
        user: the user part, or the number of a tel: URI; "" if there is none.
        host: name or address, an IPv6 address in brackets; "" for tel:.
        port: 0-65535, None if the URI says none (which is not the same as the default port).
        password: "" if there is none. Not in the repr.
        params: the URI's own parameters, names in lower case.
        headers: (name, value) of the headers that a request to this URI shall carry.

    Raises:
        SIPMessageError: a part that no URI can hold.

    Source: RFC 3261 19.1, RFC 3966.
    """

    scheme: str
    user: str = ""
    host: str = ""
    port: int | None = None
    password: str = field(default="", repr=False)
    params: Params = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.scheme not in ("sip", "sips", "tel"):
            raise SIPMessageError("The URI's scheme is not sip, sips or tel.")
        if self.scheme == "tel":
            if self.host or self.port is not None or self.headers or not self.user:
                raise SIPMessageError("A tel URI has a number, and no host.")
        elif not _HOST_RE.fullmatch(self.host):
            raise SIPMessageError("The URI's host is malformed.")
        if self.port is not None and not 0 <= self.port <= _MAX_PORT:
            raise SIPMessageError("The URI's port is out of range.")

    def __str__(self) -> str:
        try:
            return self._written()
        except UnicodeEncodeError:
            raise SIPMessageError("The URI holds what is no text.") from None

    def _written(self) -> str:
        if self.scheme == "tel":
            text = "tel:" + quote(self.user, safe="*#+().-")
        else:
            text = self.scheme + ":"
            if self.user:
                text += quote(self.user, safe="-_.!~*'()&=+$,;?/")
                if self.password:
                    text += ":" + quote(self.password, safe="-_.!~*'()&=+$,")
                text += "@"
            text += self.host
            if self.port is not None:
                text += f":{self.port}"
        for name, value in self.params.items():
            text += ";" + quote(name, safe="-_.!~*'()[]/:&+$")
            if value is not None:
                text += "=" + quote(value, safe="-_.!~*'()[]/:&+$")
        if self.headers:
            pairs = (
                quote(name, safe="-_.!~*'()") + "=" + quote(v, safe="-_.!~*'()[]/?:+$") for name, v in self.headers
            )
            text += "?" + "&".join(pairs)
        return text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SIPURI):
            return NotImplemented
        if self._always_compared() != other._always_compared():
            return False
        ours, theirs = self.params, other.params
        for name in ours.keys() | theirs.keys():
            if name in ours and name in theirs:
                if (ours[name] or "").lower() != (theirs[name] or "").lower():
                    return False
            elif name in ("user", "ttl", "method", "maddr"):
                return False
        return _comparable(self.headers) == _comparable(other.headers)

    def __hash__(self) -> int:
        return hash(self._always_compared())

    def _always_compared(self) -> tuple[object, ...]:
        return self.scheme, self.user, self.password, self.host.lower(), self.port


def _comparable(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted((name.lower(), value) for name, value in headers)


def parse_uri(text: str) -> SIPURI:
    """Read a sip:, sips: or tel: URI.

    Raises:
        SIPMessageError: another scheme, malformed, a parameter twice, or escapes that are not UTF-8.

    Source: RFC 3261 19.1.1, RFC 3966 3.
    """
    if match := _SIP_URI_RE.fullmatch(text):
        scheme, user, password, host, port, params, headers = match.groups()
        return SIPURI(
            scheme=scheme.lower(),
            user=_unescape(user or ""),
            host=host,
            port=int(port) if port else None,
            password=_unescape(password or ""),
            params=_read_uri_params(params),
            headers=_read_headers(headers) if headers else (),
        )
    if match := _TEL_URI_RE.fullmatch(text):
        return SIPURI(scheme="tel", user=match[1], params=_read_uri_params(match[2]))
    raise SIPMessageError("Not a sip, sips or tel URI.")


def _unescape(text: str) -> str:
    if "%" not in text:
        return text
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise SIPMessageError("The URI's escapes are not UTF-8.") from None


def _read_uri_params(text: str) -> Params:
    params: dict[str, str | None] = {}
    if not text:
        return params
    found = _URI_PARAM_RE.findall(text)
    for name, value in found:
        params[_unescape(name).lower()] = _unescape(value) if value else None
    if len(params) != len(found):
        raise SIPMessageError("The URI has the same parameter twice.")
    return params


def _read_headers(text: str) -> tuple[tuple[str, str], ...]:
    headers = []
    for pair in text.split("&"):
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise SIPMessageError("The URI's headers are malformed.")
        headers.append((_unescape(name), _unescape(value)))
    return tuple(headers)


@dataclass(frozen=True, slots=True)
class NameAddr:
    """The value of From, To, Contact, Route, Refer-To, ...: whom it names, where they are, and parameters.

    Args:
        uri: as it was written, of any scheme; :func:`parse_uri` reads it. Only what stood in ``<>`` (or, without
            brackets, in front of the parameters) ever gets here, whatever the display name looks like.
        display: unquoted display name, "" if there is none. Hostile: it may hold control characters.
        params: parameters of the header, names in lower case.

    Source: RFC 3261 20.10 and 25.1, name-addr and addr-spec.
    """

    uri: str
    display: str = ""
    params: Params = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """The tag parameter, "" if there is none."""
        return self.params.get("tag") or ""

    def __str__(self) -> str:
        if not _ANY_URI_RE.fullmatch(self.uri) or not is_encodable(self.uri):
            raise SIPMessageError("The address's URI is malformed.")
        display = quote_string(self.display) + " " if self.display else ""
        return f"{display}<{self.uri}>{write_params(self.params)}"


def parse_name_addr(text: str) -> NameAddr:
    """Read ``"Alice" <sip:alice@example.com>;tag=1`` or ``sip:alice@example.com;tag=1``.

    Without brackets every parameter belongs to the header, and the URI can hold no comma and no question mark.

    Raises:
        SIPMessageError: neither of the two, or a parameter stands there twice.

    Deviates: an unquoted display name may hold more than tokens (names in any script), but none of ``" < > , ; : @``,
        because systems that write names unquoted exist, and so do callers that are called like a URI.
    Source: RFC 3261 20.10.
    """
    if match := _NAME_ADDR_RE.fullmatch(text):
        return NameAddr(match[2], unquote_string(match[1].rstrip(" \t")), read_params(match[3]))
    if match := _ADDR_SPEC_RE.fullmatch(text):
        return NameAddr(match[1], "", read_params(match[2]))
    raise SIPMessageError("Not a SIP address.")


@dataclass(frozen=True, slots=True)
class Via:
    """One hop that a request took and its response will take.

    Args:
        transport: "UDP", "TCP", "TLS", "WS", "WSS", ..., in upper case.
        host: name or address, an IPv6 address in brackets.
        port: 0-65535, None if not said.
        params: branch, received, rport, maddr, ttl, ...; names in lower case; ``rport`` without a value is None.
        protocol: "SIP/2.0".

    Source: RFC 3261 20.42, RFC 3581.
    """

    transport: str
    host: str
    port: int | None = None
    params: Params = field(default_factory=dict)
    protocol: str = "SIP/2.0"

    @property
    def branch(self) -> str:
        """The branch parameter, "" if there is none."""
        return self.params.get("branch") or ""

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        text = f"{self.protocol}/{self.transport} {self.host}{port}{write_params(self.params)}"
        if not _VIA_RE.fullmatch(text):
            raise SIPMessageError("The Via is malformed.")
        return text


def parse_via(text: str) -> Via:
    """Read one element of a Via header.

    Raises:
        SIPMessageError: malformed, a port out of range, or a parameter twice.
    """
    match = _VIA_RE.fullmatch(text)
    if match is None:
        raise SIPMessageError("A Via is malformed.")
    name, version, transport, host, port, params = match.groups()
    number = int(port) if port else None
    if number is not None and number > _MAX_PORT:
        raise SIPMessageError("A Via's port is out of range.")
    return Via(transport.upper(), host, number, read_params(params), f"{name.upper()}/{version}")


@dataclass(frozen=True, slots=True)
class CSeq:
    """The number of a request within its dialog, and its method. Source: RFC 3261 20.16."""

    number: int
    method: str

    def __str__(self) -> str:
        if not 0 <= self.number <= _MAX_CSEQ or not _WORD_RE.fullmatch(self.method):
            raise SIPMessageError("The CSeq is malformed.")
        return f"{self.number} {self.method}"


def parse_cseq(text: str) -> CSeq:
    """Read a CSeq header.

    Raises:
        SIPMessageError: malformed, or the number is 2**31 or more (RFC 3261 8.1.1.5).
    """
    match = _CSEQ_RE.fullmatch(text)
    if match is None or (number := int(match[1])) > _MAX_CSEQ:
        raise SIPMessageError("The CSeq is malformed.")
    return CSeq(number, match[2])
