"""The headers of a SIP message: their names, and the ordered multi-map that holds them."""

import re
from collections.abc import Iterable, Iterator
from typing import Self

from ..exceptions import SIPMessageError
from .sip_grammar import WORD, split_list

__all__ = ["Headers"]

_MAX_NUMBER = 2**32 - 1

# IANA registry "SIP Parameters", header fields with a compact form.
_COMPACT = {
    **{"a": "accept-contact", "b": "referred-by", "c": "content-type", "d": "request-disposition"},
    **{"e": "content-encoding", "f": "from", "i": "call-id", "j": "reject-contact", "k": "supported"},
    **{"l": "content-length", "m": "contact", "n": "identity-info", "o": "event", "r": "refer-to", "s": "subject"},
    **{"t": "to", "u": "allow-events", "v": "via", "x": "session-expires", "y": "identity"},
}

_KNOWN = """
    Accept Accept-Contact Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Authentication-Info
    Authorization Call-ID Call-Info Contact Content-Disposition Content-Encoding Content-Language Content-Length
    Content-Type CSeq Date Diversion Error-Info Event Expires From History-Info Identity Identity-Info In-Reply-To
    Join Max-Forwards MIME-Version Min-Expires Min-SE Organization P-Asserted-Identity P-Associated-URI
    P-Preferred-Identity Path Priority Proxy-Authenticate Proxy-Authorization Proxy-Require Reason Record-Route
    Refer-To Referred-By Reject-Contact Replaces Reply-To Request-Disposition Require Retry-After Route Server
    Service-Route Session-Expires SIP-ETag SIP-If-Match Subject Subscription-State Supported Timestamp To Unsupported
    User-Agent Via Warning WWW-Authenticate
"""
_SPLIT_AT_COMMAS = """
    Accept Accept-Contact Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Call-Info Contact
    Content-Encoding Content-Language Diversion Error-Info History-Info In-Reply-To P-Asserted-Identity
    P-Associated-URI P-Preferred-Identity Path Proxy-Require Reason Record-Route Reject-Contact Request-Disposition
    Require Route Service-Route Supported Unsupported Via Warning
"""
_ONCE = """
    Call-ID Content-Disposition Content-Length Content-Type CSeq Date Event Expires From Join Max-Forwards
    MIME-Version Min-Expires Min-SE Refer-To Referred-By Replaces Reply-To Retry-After Session-Expires SIP-ETag
    SIP-If-Match Subscription-State Timestamp To
"""
_SPELLINGS = {name.lower(): name for name in _KNOWN.split()}
_LISTS = frozenset(_SPLIT_AT_COMMAS.lower().split())
_SINGLE = frozenset(_ONCE.lower().split())
# The spellings that honest systems use: a look-up instead of a check of every character.
_KEYS = {spelling: key for key, spelling in _SPELLINGS.items()} | {key: key for key in _SPELLINGS} | _COMPACT

_NAME_RE = re.compile(WORD)
_NUMBER_RE = re.compile(r"[0-9]++")
# RFC 3261 25.1 lets a quoted-pair, and nothing else, carry a control character; CR and LF not even there.
_SAFE_VALUE_RE = re.compile(
    r"(?:[^\\\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]++|\\(?:[^\r\n\ud800-\udfff]|\Z))*+",
)


def _key(name: str) -> str:
    key = name.lower()
    return _COMPACT.get(key, key)


class Headers:
    """The headers of one message: an ordered multi-map from case-insensitive names to texts.

    A compact name is its full name: ``headers["From"]`` finds ``f``. No value can break out of its line, and the
    headers that RFC 3261 allows once are there at most once; whoever tries gets SIPMessageError.

    Args:
        items: (name, value) pairs, in order.
    """

    __slots__ = ("_fields",)

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: dict[str, tuple[str, list[str]]] = {}
        for name, value in items:
            self.add(name, value)

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> Self:
        """Read ``name: value`` lines that are unfolded and free of bare control characters.

        Raises:
            SIPMessageError: no colon, a name that is no token, or a header twice that may stand there only once.
        """
        headers = cls()
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise SIPMessageError("A header has no colon.")
            key = _KEYS.get(name)
            if key is None:
                name = name.rstrip(" \t")
                if not _NAME_RE.fullmatch(name):
                    raise SIPMessageError("The name of a header is malformed.")
                key = _key(name)
            headers._append(key, name, value)
        return headers

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of a single-valued header; of one that stands there several times, the first line."""
        field = self._fields.get(_key(name))
        return field[1][0] if field else default

    def __getitem__(self, name: str) -> str:
        """Like get(), but raises SIPMessageError if the header is missing."""
        value = self.get(name)
        if value is None:
            raise SIPMessageError(f"The message has no {_SPELLINGS.get(_key(name), 'such')} header.")
        return value

    def get_all(self, name: str) -> list[str]:
        """All values, in order. List headers (Via, Route, Contact, Allow, ...) are split at their commas;
        the authentication headers, whose commas mean something else, never are."""
        key = _key(name)
        field = self._fields.get(key)
        if field is None:
            return []
        if key not in _LISTS:
            return list(field[1])
        return [item for line in field[1] for item in split_list(line)]

    def get_number(self, name: str) -> int | None:
        """The value of a header that is one number (Expires, Min-Expires, Max-Forwards), None if it is missing.

        More than 2**32 - 1 counts as 2**32 - 1 (RFC 4475 3.1.2.4).

        Raises:
            SIPMessageError: there is something else than digits.
        """
        value = self.get(name)
        if value is None:
            return None
        if not _NUMBER_RE.fullmatch(value):
            raise SIPMessageError(f"The {_SPELLINGS.get(_key(name), 'number')} header is no number.")
        digits = value.lstrip("0")
        return min(int(digits or "0"), _MAX_NUMBER) if len(digits) <= 10 else _MAX_NUMBER

    def add(self, name: str, value: str) -> None:
        """Append one line.

        Raises:
            SIPMessageError: the name is no token, the value holds CR, LF or another control character, or the header
                is there already and may stand there only once.
        """
        if not _NAME_RE.fullmatch(name):
            raise SIPMessageError("The name of a header is malformed.")
        if not _SAFE_VALUE_RE.fullmatch(value):
            raise SIPMessageError("The value of a header holds a line break or a control character.")
        self._append(_key(name), name, value)

    def _append(self, key: str, name: str, value: str) -> None:
        field = self._fields.get(key)
        if field is None:
            self._fields[key] = (_SPELLINGS.get(key, name), [value.strip(" \t")])
        elif key in _SINGLE:
            raise SIPMessageError(f"The message has more than one {_SPELLINGS.get(key, name)} header.")
        else:
            field[1].append(value.strip(" \t"))

    def set(self, name: str, value: str) -> None:
        """Replace all values of a header by one. Raises like add()."""
        self._fields.update(Headers([(name, value)])._fields)

    def prepend(self, name: str, value: str) -> None:
        """Put one line in front of all others, of its own name too: a Via. Raises like add()."""
        first = Headers([(name, value)])._fields
        for key, field in self._fields.items():
            if key not in first:
                first[key] = field
            elif key in _SINGLE:
                raise SIPMessageError(f"The message has more than one {field[0]} header.")
            else:
                first[key][1].extend(field[1])
        self._fields = first

    def remove(self, name: str) -> None:
        """Take a header out; nothing happens if it is not there."""
        self._fields.pop(_key(name), None)

    def items(self) -> Iterator[tuple[str, str]]:
        """(name, value) of each line; names in their full, canonical spelling, lines of one name together."""
        for name, values in self._fields.values():
            for value in values:
                yield name, value

    def copy(self) -> "Headers":
        """An independent copy."""
        twin = Headers()
        twin._fields = {key: (name, list(values)) for key, (name, values) in self._fields.items()}
        return twin

    def __contains__(self, name: str) -> bool:
        return _key(name) in self._fields

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        ours = {key: values for key, (_, values) in self._fields.items()}
        return ours == {key: values for key, (_, values) in other._fields.items()}

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Headers: {', '.join(name for name, _ in self._fields.values())}>"
