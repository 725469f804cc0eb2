"""The webhook connector's own settings, and those of its endpoints."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..options import Reader, choice, read_options, seconds, text, url
from .outgoing import Outgoing, read_outgoing
from .shapes import SHAPES, name_of

__all__ = ["MIN_SECRET", "Endpoint", "Options"]

MIN_SECRET = 16
"""The fewest characters of a secret."""
MAX_SECRETS = 4  # of one endpoint: each is tried
AUTHS = ("hmac", "basic", "token")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_TOKEN_LETTERS = re.compile(r"[A-Za-z0-9._~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One place that a system posts to.

    Args:
        name: as it stands in the URL.
        shape: what the system speaks: sipgate, zammad or generic.
        auth: how it proves itself: hmac, basic or token.
        secrets: the keys, passwords or tokens that are taken; several while they are changed. None: nobody is let in.
        username: with basic.
        base_url: where the site is for the system, "https://crm.example.com"; "" if the system need not know.
        decide: dotted path of the project's function that may reject or redirect a new call, "" for none.
    """

    name: str
    shape: str
    auth: str = "hmac"
    secrets: tuple[str, ...] = field(default=(), repr=False)
    username: str = ""
    base_url: str = ""
    decide: str = ""

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """Why nobody is let in, or should not be: plain sentences, none if all is well."""
        found = []
        if not self.secrets:
            found.append("it has no secret")
        elif any(len(secret) < MIN_SECRET for secret in self.secrets):
            found.append(f"one of its secrets has fewer than {MIN_SECRET} characters")
        if self.auth == "basic" and not self.username:
            found.append("it has no username")
        if self.auth == "token" and not all(_TOKEN_LETTERS.fullmatch(secret) for secret in self.secrets):
            found.append("its token has characters that cannot stand in a URL")
        return tuple(found)

    def secret_bytes(self) -> tuple[bytes, ...]:
        """The secrets that are taken; none while there are weaknesses."""
        return () if self.weaknesses else tuple(secret.encode() for secret in self.secrets)

    def basic_pairs(self) -> tuple[bytes, ...]:
        """ "user:password" for each secret that is taken."""
        return tuple(f"{self.username}:".encode() + secret for secret in self.secret_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The connector's settings, checked.

    Args:
        endpoints: {name: {"shape", "auth", "secret", "username", "base_url", "decide"}}, for the whole project.
        endpoint: whose deliveries this account gets; may be left out where there is one.
        user_ids: what the system calls the agent besides her user name: names, ids, numbers.
        extension: the agent's own, for outgoing requests.
        ca_file: PEM file of the authorities that are trusted, "" for the system's own.
        request_seconds: how long an outgoing request may take.
        dial: the request that places a call: dial_url, dial_method, dial_headers, dial_json or dial_form.
        hang_up: the request that ends one: hangup_url, and so on.
    """

    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    endpoint: str = ""
    user_ids: frozenset[str] = field(default_factory=frozenset)
    extension: str = ""
    ca_file: str = ""
    request_seconds: float = 8.0
    dial: Outgoing | None = None
    hang_up: Outgoing | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Options":
        """Options from settings and an account.

        Raises:
            ValueError: an unknown option, or a value that cannot be used; the sentence names it, and no secret.
        """
        read = read_options("webhook", _READERS, given)
        read["dial"] = read_outgoing("dial", _taken(read, "dial"))
        read["hang_up"] = read_outgoing("hangup", _taken(read, "hangup"))
        endpoints = read.setdefault("endpoints", {})
        if not read.get("endpoint") and len(endpoints) == 1:
            read["endpoint"] = next(iter(endpoints))
        if read.get("endpoint") and read["endpoint"] not in endpoints:
            raise ValueError(f"There is no endpoint {read['endpoint']!r} among endpoints.")
        return cls(**read)


def _taken(read: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(f"{prefix}_"): read.pop(name) for name in list(read) if name.startswith(f"{prefix}_")}


def _endpoints(name: str, value: Any) -> dict[str, Endpoint]:
    if not isinstance(value, Mapping):
        raise ValueError(f"The option {name} must be a dict, {{name: settings}}.")
    return {each: _endpoint(each, settings) for each, settings in value.items()}


def _endpoint(name: Any, settings: Any) -> Endpoint:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("An endpoint's name must be 1 to 40 of a-z, 0-9, - and _.")
    if not isinstance(settings, Mapping):
        raise ValueError(f"The endpoint {name} must be a dict.")
    if "shape" not in settings:
        raise ValueError(f"The endpoint {name} must have a shape: {', '.join(SHAPES)}.")
    try:
        read = read_options("webhook endpoint's", _ENDPOINT_READERS, settings)
    except ValueError as error:
        raise ValueError(f"The endpoint {name}: {error}") from None
    return Endpoint(name=name, secrets=read.pop("secret", ()), **read)


def _secrets(name: str, value: Any) -> tuple[str, ...]:
    several = (value,) if isinstance(value, str) else value
    good = isinstance(several, list | tuple) and all(isinstance(each, str) for each in several)
    if not good or len(several) > MAX_SECRETS:
        raise ValueError(
            f"The option {name} must be a text, or a list of at most {MAX_SECRETS} while keys are changed."
        )
    return tuple(each for each in several if each)


def _base_url(name: str, value: Any) -> str:
    if not value:
        return ""
    address: str = url("https", "http")(name, value)
    parts = urlsplit(address)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"The option {name} must be a host alone, such as https://crm.example.com.")
    return address.rstrip("/")


def _username(name: str, value: Any) -> str:
    if not isinstance(value, str) or ":" in value:
        raise ValueError(f"The option {name} must be a text without a colon.")
    return value


def _user_ids(name: str, value: Any) -> frozenset[str]:
    several = value.split(",") if isinstance(value, str) else value
    if not isinstance(several, list | tuple) or not all(isinstance(each, str | int) for each in several):
        raise ValueError(f"The option {name} must be a list of texts.")
    return frozenset(spelt for each in several if (spelt := name_of(str(each))))


def _anything(name: str, value: Any) -> Any:
    return value


_ENDPOINT_READERS: dict[str, Reader] = {
    "shape": choice(*SHAPES),
    "auth": choice(*AUTHS),
    "secret": _secrets,
    "username": _username,
    "base_url": _base_url,
    "decide": text,
}
_READERS: dict[str, Reader] = {
    "endpoints": _endpoints,
    "endpoint": text,
    "user_ids": _user_ids,
    "extension": text,
    "ca_file": text,
    "request_seconds": seconds(0.05, 60),
    **{
        f"{kind}_{part}": _anything  # ``read_outgoing`` looks at all of them together
        for kind in ("dial", "hangup")
        for part in ("url", "method", "headers", "json", "form")
    },
}
