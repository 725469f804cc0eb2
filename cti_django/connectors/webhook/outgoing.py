"""A request of the project's own making, whose placeholders are filled in.

A placeholder stands for a value, never for syntax. In the URL it is percent-encoded, only path and query may hold one,
and none may lead to another place ("..": a call's id may be the caller's choice). In JSON and forms it is put into the
parsed texts before they are written. Headers hold none.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ...exceptions import CommandRefused
from ..options import choice, url

__all__ = ["PLACEHOLDERS", "Outgoing", "Prepared", "read_outgoing"]

PLACEHOLDERS = ("number", "digits", "extension", "user", "command_id", "call_id")
MAX_DEPTH = 8  # of the JSON that is sent

_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_OURS = frozenset({"content-type", "content-length", "host", "transfer-encoding", "accept-encoding", "connection"})


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that can be sent as it is. May hold secrets: it has no repr of its own."""

    method: str
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request with placeholders, checked."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    json: Any = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)

    def prepare(self, values: Mapping[str, str]) -> Prepared:
        """The request for `values`, {placeholder: text}; one that is missing is an empty text.

        Raises:
            CommandRefused: a value would make a step to another place of the URL's path.
        """
        headers, body = dict(self.headers), b""
        if self.json is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(_filled(self.json, values)).encode()
        elif self.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode({name: _filled(value, values) for name, value in self.form.items()}).encode()
        address = _PLACEHOLDER.sub(lambda found: quote(values.get(found[1], ""), safe=""), self.url)
        if _steps(address) != _steps(_PLACEHOLDER.sub("x", self.url)):
            raise CommandRefused("The telephone system's name for that cannot be sent to it.", code="unsendable")
        return Prepared(self.method, address, headers, body)


def read_outgoing(kind: str, given: Mapping[str, Any]) -> Outgoing | None:
    """The request that the options `kind`_url, _method, _headers, _json and _form describe; None without a URL.

    Raises:
        ValueError: a value that cannot be used; the sentence names the option, and no secret.
    """
    if not given.get("url"):
        return None
    json_body, form = given.get("json"), given.get("form")
    if json_body is not None and form is not None:
        raise ValueError(f"Only one of {kind}_json and {kind}_form can be sent.")
    if json_body is not None:
        _check_json(kind, json_body)
    return Outgoing(
        method=choice("POST", "GET", "PUT", "DELETE")(f"{kind}_method", given.get("method", "POST")),
        url=_url(f"{kind}_url", given["url"]),
        headers=_headers(f"{kind}_headers", given.get("headers") or {}),
        json=json_body,
        form=_texts(f"{kind}_form", form) if form is not None else None,
    )


def _steps(address: str) -> int:
    return sum(segment in (".", "..") for segment in urlsplit(address).path.split("/"))


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda found: values.get(found[1], ""), value)
    if isinstance(value, Mapping):
        return {name: _filled(each, values) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(each, values) for each in value]
    return value


def _url(name: str, value: Any) -> str:
    address: str = url("https", "http")(name, _PLACEHOLDER.sub("x", str(value)))
    whole = str(value).strip()
    head = whole[: whole.index("://") + 3 + len(urlsplit(address).netloc)]
    if "{" in head or "{" in _PLACEHOLDER.sub("", whole):
        known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
        raise ValueError(f"The option {name} may hold {known} in its path and query, and no other braces.")
    return whole


def _headers(name: str, value: Any) -> dict[str, str]:
    headers = _texts(name, value)
    for header, content in headers.items():
        if not _HEADER_NAME.fullmatch(header) or not _HEADER_VALUE.fullmatch(content) or header.lower() in _OURS:
            raise ValueError(f"The option {name} has a header that cannot be sent.")
        if _PLACEHOLDER.search(content):
            raise ValueError(f"The option {name} cannot hold placeholders.")
    return headers


def _texts(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for pair in value.items() for each in pair):
        raise ValueError(f"The option {name} must be a dict of texts.")
    return dict(value)


def _check_json(kind: str, value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        nested = [each.values() if isinstance(each, Mapping) else each for each in level]
        level = [inner for each in nested if not isinstance(each, str | int | float | None) for inner in each]
        if depth > MAX_DEPTH:
            raise ValueError(f"The option {kind}_json is nested too deeply.")
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        raise ValueError(f"The option {kind}_json must be what JSON can say.") from None
