"""SIP messages: bytes <-> requests and responses.

The codec reads what honest systems write (compact names, folded lines, several headers in one or many lines, any
body) and refuses what lets two readers see two different messages (bare CR or LF, lengths that lie, a second From).
Whatever comes in, nothing but ``SIPMessageError`` comes out, in time linear in the length of the input.

A message that parses has one From, To, Call-ID and CSeq, at least one Via, all of them well-formed; its other
headers are text that nobody has looked at yet, but that cannot break out of its line.
"""

import re
from dataclasses import dataclass, field

from ..exceptions import SIPMessageError
from .sip_grammar import WORD
from .sip_headers import Headers
from .sip_uri import CSeq, NameAddr, Via, parse_cseq, parse_name_addr, parse_uri, parse_via

__all__ = ["REASONS", "Headers", "SIPMessage", "SIPRequest", "SIPResponse", "parse_message"]

MAX_BYTES = 64 * 1024
MAX_LINE = 8 * 1024  # characters of one header, unfolded
MAX_HEADERS = 256

REASONS = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    423: "Interval Too Brief",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    600: "Busy Everywhere",
    603: "Decline",
}

_URI = r"[A-Za-z][A-Za-z0-9+.\-]*+:[!#-;=?-~]++"
_WORD_RE = re.compile(WORD)
_URI_RE = re.compile(_URI)
_REQUEST_LINE_RE = re.compile(rf"({WORD}) ({_URI}) SIP/2\.0", re.IGNORECASE)
_STATUS_LINE_RE = re.compile(r"SIP/2\.0 ([1-6][0-9][0-9])(?: ([^\x00-\x08\x0a-\x1f\x7f]*+))?+", re.IGNORECASE)
_REASON_RE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*+")
_CALL_ID_RE = re.compile(r"[!-~]++")
_FOLD_RE = re.compile(r"\r\n[ \t]++")
_CONTROLS = bytes(sorted({*range(0x20), 0x7F} - {0x09, 0x0A, 0x0D}))
_QUOTED_PAIR_RE = re.compile(rb"\\[^\r\n]")


def _encode(start_line: str, headers: Headers, body: bytes) -> bytes:
    lines = [start_line]
    lines.extend(f"{name}: {value}" for name, value in headers.items() if name != "Content-Length")
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    return "\r\n".join(lines).encode() + body


class _Message:
    """What requests and responses have in common: the headers that both must have, read anew at each access."""

    __slots__ = ()

    headers: Headers

    @property
    def vias(self) -> list[Via]:
        """The hops, nearest first."""
        return [parse_via(value) for value in self.headers.get_all("Via")]

    @property
    def from_(self) -> NameAddr:
        """Whoever sent the request."""
        return parse_name_addr(self.headers["From"])

    @property
    def to(self) -> NameAddr:
        """Whomever the request was for."""
        return parse_name_addr(self.headers["To"])

    @property
    def call_id(self) -> str:
        """The Call-ID."""
        return self.headers["Call-ID"]

    @property
    def cseq(self) -> CSeq:
        """The CSeq."""
        return parse_cseq(self.headers["CSeq"])


@dataclass(slots=True)
class SIPRequest(_Message):
    """A SIP request. ``bytes(request)`` is what goes on the wire, with a Content-Length that is right.

    Args:
        method: case-sensitive, "SUBSCRIBE".
        uri: the Request-URI as it is written, of any scheme.
        headers: see Headers.
        body: any bytes.

    The repr shows neither numbers nor names: it has the names of the headers, but no values.

    Source: RFC 3261 7.1.
    """

    method: str
    uri: str = field(repr=False)
    headers: Headers = field(default_factory=Headers)
    body: bytes = field(default=b"", repr=False)

    def __bytes__(self) -> bytes:
        if not _WORD_RE.fullmatch(self.method) or not _URI_RE.fullmatch(self.uri):
            raise SIPMessageError("The method or the Request-URI is malformed.")
        return _encode(f"{self.method} {self.uri} SIP/2.0", self.headers, self.body)

    def reply(self, status: int, reason: str = "", *, to_tag: str = "") -> "SIPResponse":
        """The response that a user agent server gives to this request.

        Args:
            status: 100-699.
            reason: "" for the usual phrase.
            to_tag: put on To if it has no tag yet (8.2.6.2: all responses but 100 have one).

        Raises:
            SIPMessageError: this request lacks a header that the response needs.

        Source: RFC 3261 8.2.6.
        """
        headers = Headers()
        for via in self.headers.get_all("Via"):
            headers.add("Via", via)
        headers.add("From", self.headers["From"])
        to = self.to
        if to_tag and not to.tag:
            to = NameAddr(to.uri, to.display, {**to.params, "tag": to_tag})
            headers.add("To", str(to))
        else:
            headers.add("To", self.headers["To"])
        headers.add("Call-ID", self.headers["Call-ID"])
        headers.add("CSeq", self.headers["CSeq"])
        timestamp = self.headers.get("Timestamp")
        if status == 100 and timestamp is not None:
            headers.add("Timestamp", timestamp)
        return SIPResponse(status, reason or REASONS.get(status, ""), headers)


@dataclass(slots=True)
class SIPResponse(_Message):
    """A SIP response. ``bytes(response)`` is what goes on the wire, with a Content-Length that is right.

    Args:
        status: 100-699.
        reason: a phrase for people, may be "".
        headers, body: like those of SIPRequest.

    Source: RFC 3261 7.2.
    """

    status: int
    reason: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = field(default=b"", repr=False)

    def __bytes__(self) -> bytes:
        if not 100 <= self.status <= 699 or not _REASON_RE.fullmatch(self.reason):
            raise SIPMessageError("The status or the reason phrase is malformed.")
        return _encode(f"SIP/2.0 {self.status} {self.reason}", self.headers, self.body)


SIPMessage = SIPRequest | SIPResponse


def parse_message(data: bytes, *, max_bytes: int = MAX_BYTES) -> SIPMessage:
    """Read one whole message: a WebSocket frame (RFC 7118 5) or a datagram.

    Line breaks in front of the message are skipped. A body longer than its Content-Length is cut there; afterwards
    Content-Length says what the body has.

    Args:
        data: the frame.
        max_bytes: more than this is refused unread.

    Raises:
        SIPMessageError: and nothing else, whatever the data.

    Source: RFC 3261 7, 18.3, 20; RFC 4475.
    Deviates: Max-Forwards may be missing, because old and small systems leave it out.
    """
    if len(data) > max_bytes:
        raise SIPMessageError("The message is too large.")
    start = 0
    while data.startswith(b"\r\n", start):
        start += 2
    end = data.find(b"\r\n\r\n", start)
    if end < 0:
        raise SIPMessageError("The message has no end of headers.")
    start_line, lines = _read_lines(data[start:end])
    headers = Headers.from_lines(lines)
    message: SIPMessage
    if match := _STATUS_LINE_RE.fullmatch(start_line):
        message = SIPResponse(int(match[1]), match[2] or "", headers)
    elif match := _REQUEST_LINE_RE.fullmatch(start_line):
        message = SIPRequest(match[1], match[2], headers)
    else:
        raise SIPMessageError("The first line is that of no SIP message.")
    _check_mandatory(message)
    message.body = _cut_body(headers, data[end + 4 :])
    return message


def _has_controls(data: bytes) -> bool:
    return len(data.translate(None, _CONTROLS)) != len(data)


def _read_lines(head: bytes) -> tuple[str, list[str]]:
    try:
        text = head.decode()
    except UnicodeDecodeError:
        raise SIPMessageError("The headers are not UTF-8.") from None
    breaks = text.count("\r\n")
    if breaks != text.count("\r") or breaks != text.count("\n"):
        raise SIPMessageError("The headers hold a CR or LF that ends no line.")
    if _has_controls(head) and _has_controls(_QUOTED_PAIR_RE.sub(b"", head)):
        raise SIPMessageError("The headers hold a control character.")
    start_line, _, rest = text.partition("\r\n")
    if rest.startswith((" ", "\t")):
        raise SIPMessageError("The first line is folded.")
    if "\r\n " in rest or "\r\n\t" in rest:
        rest = _FOLD_RE.sub(" ", rest)
    lines = rest.split("\r\n")
    if len(lines) > MAX_HEADERS:
        raise SIPMessageError("The message has too many headers.")
    if len(text) > MAX_LINE and max(map(len, [start_line, *lines])) > MAX_LINE:
        raise SIPMessageError("A header is too long.")
    return start_line, lines


def _check_mandatory(message: SIPMessage) -> None:
    headers = message.headers
    if not message.vias:
        raise SIPMessageError("The message has no Via header.")
    _ = message.from_, message.to
    if not _CALL_ID_RE.fullmatch(message.call_id):
        raise SIPMessageError("The Call-ID is malformed.")
    if (headers.get_number("Max-Forwards") or 0) > 255:
        raise SIPMessageError("Max-Forwards is more than 255.")
    cseq = message.cseq
    if isinstance(message, SIPRequest):
        if message.method != cseq.method:
            raise SIPMessageError("The CSeq is of another method than the request.")
        if message.uri.partition(":")[0].lower() in ("sip", "sips") and parse_uri(message.uri).headers:
            raise SIPMessageError("The Request-URI carries headers.")


def _cut_body(headers: Headers, body: bytes) -> bytes:
    length = headers.get_number("Content-Length")
    if length is not None:
        if length > len(body):
            raise SIPMessageError("The body is shorter than its Content-Length.")
        body = body[:length]
    headers.set("Content-Length", str(len(body)))
    return body
