"""The SIP connector's own settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ...exceptions import SIPMessageError
from ...wire.sip_uri import SIPURI, parse_uri
from ..options import Reader, choice, flag, read_options, seconds, text
from ..options import url as url_of

__all__ = ["Options", "Server"]

_TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
_USER = re.compile(r"[A-Za-z0-9._+\-]{1,64}")
_PREFIX = re.compile(r"\+?[0-9*#]{0,16}")
MAX_COLLEAGUES = 1_000


@dataclass(frozen=True, slots=True)
class Server:
    """Where a SIP server is.

    Args:
        transport: "UDP", "TCP", "TLS", "WS" or "WSS", as a Via spells it.
        host: name or address, an IPv6 address in brackets.
        port: None if nobody said: then the DNS is asked.
        url: of the WebSocket, "" for the other transports.
    """

    transport: str
    host: str
    port: int | None = None
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The connector's settings, checked.

    Args:
        server: "pbx.example.com", "sip:pbx.example.com:5060;transport=tcp", "sips:pbx.example.com" (TLS), or the URL of
            a WebSocket. Without a port the DNS's SRV records are asked.
        domain: of the agents' addresses; "" for the server's host.
        outbound_proxy: the same as `server`, for what everything goes through first; "" for none.
        auth_username: the name in the digest; "" for the agent's user name.
        ca_file: PEM file of the authorities that are trusted, "" for the system's own.
        register: whether the connector registers as a further phone of the agent's, one that never answers: so it
            learns who calls where the server's dialog documents do not say.
        register_seconds: how long a registration is asked for.
        expires_seconds: how long a subscription is asked for; both are refreshed before.
        keep_alive_seconds: how often a sign of life goes over the line.
        watch: the node whose dialogs are the agent's own; "" for her user name; "-" for a server without such events.
        phone: the URI or user that rings the agent's own phone; "" for her own address.
        click_to_call: "refer" (the phone is asked to dial), "3pcc" (the connector stays in the signalling path, and
            can control the call), or "auto": the first where the phone itself answers and takes a REFER.
        auto_answer: whether the agent's own phone is asked to answer a click-to-call by itself.
        dial_prefix: what stands before the country code of a number that is dialled: "+", "00", "900" ...
        dial_seconds: how long the agent's own phone may ring before a click-to-call is given up.
        directory: the colleagues: {"1007": "Grace Hopper"}.
    """

    server: Server
    domain: str = ""
    outbound_proxy: Server | None = None
    auth_username: str = ""
    ca_file: str = ""
    register: bool = False
    register_seconds: float = 300.0
    expires_seconds: float = 600.0
    keep_alive_seconds: float = 25.0
    watch: str = ""
    phone: str = ""
    click_to_call: str = "auto"
    auto_answer: bool = False
    dial_prefix: str = "+"
    dial_seconds: float = 60.0
    directory: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Options":
        """Options from settings, an account or a command line; numbers may be texts.

        Raises:
            ValueError: an unknown option, no server, or a value that cannot be used; the sentence names it.
        """
        values = read_options("SIP", _READERS, given)
        if "server" not in values:
            raise ValueError("The SIP connector needs the option server: sip:pbx.example.com, say.")
        return cls(**values)

    @property
    def reached(self) -> Server:
        """Where the line goes."""
        return self.outbound_proxy or self.server

    @property
    def route(self) -> tuple[str, ...]:
        """What every request that begins something is routed through. Source: RFC 3261 8.1.2."""
        proxy = self.outbound_proxy
        if proxy is None:
            return ()
        params: dict[str, str | None] = {"lr": None, "transport": _parameter(proxy.transport)}
        return (f"<{SIPURI('sip', '', proxy.host, proxy.port, params=params)}>",)

    def address(self, username: str) -> SIPURI:
        """The address of `username`, who may bring a domain of her own ("1001@example.com").

        Raises:
            SIPMessageError: there is no such address.
        """
        user, _, domain = username.partition("@")
        return parse_uri(str(SIPURI("sip", user, domain or self.domain or self.server.host)))


def _parameter(transport: str) -> str:
    """A Via's transport as a URI's parameter. Source: RFC 3261 26.2.2, RFC 7118 5.4."""
    return {"TLS": "tcp", "WSS": "ws"}.get(transport, transport.lower())


def _server(name: str, value: Any) -> Server:
    written = str(value).strip()
    if written.startswith(("ws:", "wss:")):
        checked = url_of("ws", "wss")(name, written)
        parts = urlsplit(checked)
        host = parts.hostname or ""
        return Server(parts.scheme.upper(), f"[{host}]" if ":" in host else host, parts.port, checked)
    try:
        uri = parse_uri(written if written.startswith(("sip:", "sips:")) else f"sip:{written}")
    except SIPMessageError:
        raise ValueError(f"The option {name} must be like sip:pbx.example.com;transport=tcp.") from None
    transport = (uri.params.get("transport") or ("tls" if uri.scheme == "sips" else "udp")).lower()
    if uri.scheme == "sips" and transport == "tcp":
        transport = "tls"
    if uri.user or uri.port == 0 or transport not in _TRANSPORTS:
        raise ValueError(f"The option {name} must be like sip:pbx.example.com;transport=tcp.")
    if transport in ("ws", "wss"):
        raise ValueError(f"The option {name} must be the WebSocket's URL: wss://{uri.host}/ws, say.")
    return Server(transport.upper(), uri.host, uri.port)


def _domain(name: str, value: Any) -> str:
    try:
        domain = str(SIPURI("sip", "", text(name, value).strip() or "none.invalid"))
    except SIPMessageError:
        raise ValueError(f"The option {name} must be a domain.") from None
    return domain.removeprefix("sip:").replace("none.invalid", "")


def _watch(name: str, value: Any) -> str:
    node = text(name, value).strip()
    if node not in ("", "-") and not _USER.fullmatch(node):
        raise ValueError(f"The option {name} must be the user part of an address.")
    return node


def _phone(name: str, value: Any) -> str:
    phone = text(name, value).strip()
    try:
        usable = not phone or _USER.fullmatch(phone) is not None or bool(parse_uri(phone).user)
    except SIPMessageError:
        usable = False
    if not usable:
        raise ValueError(f"The option {name} must be a SIP URI, or the user part of one.")
    return phone


def _prefix(name: str, value: Any) -> str:
    prefix = text(name, value).strip()
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"The option {name} must be what is dialled before a country code.")
    return prefix


def _directory(name: str, value: Any) -> Mapping[str, str]:
    sound = isinstance(value, Mapping) and len(value) <= MAX_COLLEAGUES
    if not sound or not all(isinstance(n, str) and _USER.fullmatch(n) and isinstance(v, str) for n, v in value.items()):
        raise ValueError(f'The option {name} must be like {{"1007": "Grace Hopper"}}.')
    return dict(value)


_READERS: dict[str, Reader] = {
    "server": _server,
    "domain": _domain,
    "outbound_proxy": lambda name, value: _server(name, value) if value else None,
    "auth_username": text,
    "ca_file": text,
    "register": flag,
    "register_seconds": seconds(5, 86_400),
    "expires_seconds": seconds(5, 86_400),
    "keep_alive_seconds": seconds(0.05, 600),
    "watch": _watch,
    "phone": _phone,
    "click_to_call": choice("auto", "refer", "3pcc"),
    "auto_answer": flag,
    "dial_prefix": _prefix,
    "dial_seconds": seconds(0.05, 300),
    "directory": _directory,
}
