"""The VoIPstudio connector's own settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Options"]

_DOMAIN = "{sip_domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The connector's settings, checked.

    Args:
        api_url: where the REST API is.
        sip_url: where SIP over WebSocket is; "{sip_domain}" stands for the domain that the API names.
        ca_file: PEM file of the authorities that are trusted, "" for the system's own.
        request_seconds: how long one REST request may take.
        dial_seconds: how long the agent's own phone may ring before a click-to-call is given up.
        ping_seconds: how often the REST session is kept alive.
        expires_seconds: how long a subscription is asked for; it is refreshed before.
    """

    api_url: str = "https://l7api.com/v1.2/voipstudio"
    sip_url: str = f"wss://{_DOMAIN}:443"
    ca_file: str = ""
    request_seconds: float = 8.0
    dial_seconds: float = 90.0
    ping_seconds: float = 25.0
    expires_seconds: float = 300.0

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Options":
        """Options from settings, an account or a command line; numbers may be texts.

        Raises:
            ValueError: an unknown option, or a value that cannot be used; the sentence names it.
        """
        unknown = sorted(set(given) - set(_READERS))
        if unknown:
            known = ", ".join(sorted(_READERS))
            raise ValueError(f"The VoIPstudio connector has no option {', '.join(unknown)}; it has {known}.")
        return cls(**{key: _READERS[key](key, value) for key, value in given.items()})

    def sip_url_for(self, sip_domain: str) -> str:
        """The WebSocket URL for `sip_domain`, which may bring a port of its own."""
        host, _, port = sip_domain.rpartition(":")
        if host and port.isdigit() and f"{_DOMAIN}:" in self.sip_url:
            return self.sip_url.replace(f"{_DOMAIN}:443", sip_domain).replace(_DOMAIN, host)
        return self.sip_url.replace(_DOMAIN, sip_domain)


def _url(*schemes: str) -> Callable[[str, Any], str]:
    def read(key: str, value: Any) -> str:
        text = str(value).strip()
        try:
            parts = urlsplit(text.replace(_DOMAIN, "sip.example"))
            usable = parts.scheme in schemes and bool(parts.hostname) and parts.username is None and parts.port != 0
        except ValueError:
            usable = False
        if not usable or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(
                f"The option {key} must be a URL that begins with {' or '.join(f'{s}://' for s in schemes)}."
            )
        return text

    return read


def _api_url(key: str, value: Any) -> str:
    return _url("https", "http")(key, value).rstrip("/")


def _seconds(low: float, high: float) -> Callable[[str, Any], float]:
    def read(key: str, value: Any) -> float:
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            seconds = -1.0
        if not low <= seconds <= high:  # also turns "nan" away
            raise ValueError(f"The option {key} must be a number of seconds from {low:g} to {high:g}.")
        return seconds

    return read


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"The option {key} must be a text.")
    return value


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "api_url": _api_url,
    "sip_url": _url("wss", "ws"),
    "ca_file": _text,
    "request_seconds": _seconds(0.05, 60),
    "dial_seconds": _seconds(0.05, 300),
    "ping_seconds": _seconds(0.05, 600),
    "expires_seconds": _seconds(10, 3600),
}
