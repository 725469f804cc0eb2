"""The VoIPstudio connector's own settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..options import Reader, read_options, seconds, text, url

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
        return cls(**read_options("VoIPstudio", _READERS, given))

    def sip_url_for(self, sip_domain: str) -> str:
        """The WebSocket URL for `sip_domain`, which may bring a port of its own."""
        host, _, port = sip_domain.rpartition(":")
        if host and port.isdigit() and f"{_DOMAIN}:" in self.sip_url:
            return self.sip_url.replace(f"{_DOMAIN}:443", sip_domain).replace(_DOMAIN, host)
        return self.sip_url.replace(_DOMAIN, sip_domain)


def _api_url(name: str, value: Any) -> str:
    return str(url("https", "http")(name, value)).rstrip("/")


_READERS: dict[str, Reader] = {
    "api_url": _api_url,
    "sip_url": url("wss", "ws", placeholder=_DOMAIN),
    "ca_file": text,
    "request_seconds": seconds(0.05, 60),
    "dial_seconds": seconds(0.05, 300),
    "ping_seconds": seconds(0.05, 600),
    "expires_seconds": seconds(10, 3600),
}
