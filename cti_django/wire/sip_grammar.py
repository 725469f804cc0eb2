"""The small grammar that all SIP headers share: tokens, quoted texts, comma lists, ``;name=value`` parameters.

Everything read here is text from strangers until it has matched a pattern. The patterns, here and in the modules
that build on them, use possessive quantifiers, so each runs in linear time on any text.

Source: RFC 3261 25.1.
"""

import re
from collections.abc import Mapping

from ..exceptions import SIPMessageError

__all__ = [
    "HOST",
    "PARAMS",
    "QUOTED",
    "SPACE",
    "WORD",
    "Params",
    "is_encodable",
    "parse_params",
    "quote_string",
    "read_params",
    "split_list",
    "unquote_string",
    "write_params",
]

Params = Mapping[str, str | None]
"""Parameters: names in lower case; values unquoted and unescaped; None for a parameter without a value."""

WORD = r"[A-Za-z0-9\-.!%*_+`'~]++"  # RFC 3261 calls it token
QUOTED = r'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\r\n])*+"'
HOST = r"(?:[A-Za-z0-9_.\-]++|\[[0-9A-Fa-f:.]++\])"  # "_" is no letter of RFC 3261, but of real host names
SPACE = r"[ \t]*+"
_VALUE = r'[^\x00-\x20\x7f;,"<>]++'
PARAMS = rf"(?:{SPACE};{SPACE}{WORD}(?:{SPACE}={SPACE}(?:{_VALUE}|{QUOTED}))?+)*+{SPACE}"

_WORD_RE = re.compile(WORD)
_VALUE_RE = re.compile(_VALUE)
_PARAM_RE = re.compile(rf"{SPACE};{SPACE}({WORD})(?:{SPACE}={SPACE}({_VALUE}|{QUOTED}))?+")
_VALUE_AND_PARAMS_RE = re.compile(rf'([^;,"<>\x00-\x08\x0a-\x1f\x7f]*+)({PARAMS})')
_LIST_ITEM_RE = re.compile(r'((?:[^,"<]++|"(?:[^"\\]++|\\(?:.|\Z))*+(?:"|\Z)|<[^>]*+(?:>|\Z))*+)(?:,|\Z)', re.DOTALL)
_QUOTED_PAIR_RE = re.compile(r"\\(.)", re.DOTALL)
_TO_ESCAPE_RE = re.compile(r'([\\"\x00-\x08\x0b\x0c\x0e-\x1f\x7f])')


def quote_string(text: str) -> str:
    r"""Write a text as a quoted-string: ``say "hi"`` becomes ``"say \"hi\""``.

    Raises:
        SIPMessageError: the text holds CR, LF or a lone surrogate, which no quoted-string can hold.

    Source: RFC 3261 25.1, quoted-string and quoted-pair.
    """
    if "\r" in text or "\n" in text or not is_encodable(text):
        raise SIPMessageError("A quoted text cannot hold a line break.")
    return '"' + _TO_ESCAPE_RE.sub(r"\\\1", text) + '"'


def unquote_string(text: str) -> str:
    """Read what :func:`quote_string` writes; a text that is not quoted is returned as it is."""
    if not text.startswith('"'):
        return text
    inner = text[1:-1]
    return _QUOTED_PAIR_RE.sub(r"\1", inner) if "\\" in inner else inner


def split_list(text: str) -> list[str]:
    """Split at the commas that stand neither in quotes nor in ``<>``; empty elements are left out.

    Never raises: what follows an unclosed quote or bracket is one element, which its own parser then refuses.

    Source: RFC 3261 7.3.1.
    """
    if "," not in text:
        item = text.strip(" \t")
        return [item] if item else []
    return [item for item in (raw.strip(" \t") for raw in _LIST_ITEM_RE.findall(text)) if item]


def parse_params(text: str) -> tuple[str, Params]:
    """Read a value with parameters: ``active;expires=60`` gives ``("active", {"expires": "60"})``.

    A parameter without a value has None.

    Raises:
        SIPMessageError: not of that form, or a parameter stands there twice.

    Source: RFC 3261 7.3.1 and 25.1, generic-param.
    """
    match = _VALUE_AND_PARAMS_RE.fullmatch(text)
    if match is None:
        raise SIPMessageError("A header's parameters are malformed.")
    return match[1].strip(" \t"), read_params(match[2])


def read_params(text: str) -> Params:
    """The parameters in `text`, ";name=value;flag" by ``PARAMS``, by names in lower case; a flag's value is None.

    Raises:
        SIPMessageError: one stands there twice.
    """
    params: dict[str, str | None] = {}
    if not text:
        return params
    found = _PARAM_RE.findall(text)
    for name, value in found:
        params[name.lower()] = unquote_string(value) if value else None
    if len(params) != len(found):
        raise SIPMessageError("A header has the same parameter twice.")
    return params


def write_params(params: Params) -> str:
    """``;name=value;flag``, quoted where a value needs it.

    Raises:
        SIPMessageError: a name or a value that no message can hold.
    """
    parts = []
    for name, value in params.items():
        if not _WORD_RE.fullmatch(name):
            raise SIPMessageError("The name of a header's parameter is malformed.")
        if value is None:
            parts.append(f";{name}")
        elif _VALUE_RE.fullmatch(value) and is_encodable(value):
            parts.append(f";{name}={value}")
        else:
            parts.append(f";{name}={quote_string(value)}")
    return "".join(parts)


def is_encodable(text: str) -> bool:
    """Whether `text` is UTF-8 without lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
