"""Where a SIP server's machines are: SRV records first, then addresses.

A port in the server's option, or an address in place of a name, leaves nothing to look up but the address. NAPTR is
not asked: the transport is configured.

Source: RFC 3263 4.2, RFC 2782.
Deviates: where SRV cannot be asked at all, the name itself has a try, because some companies' resolvers never answer
    such a question.
"""

import asyncio
import ipaddress
import random
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.rdatatype

from ...exceptions import ConnectionLost
from .options import Server

__all__ = ["DNS", "Resolver", "SRVRecord", "Target", "locate"]

LOOK_UP_SECONDS = 4.0
MAX_TARGETS = 6
_SERVICES = {"UDP": "_sip._udp", "TCP": "_sip._tcp", "TLS": "_sips._tcp"}
_PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061}


@dataclass(frozen=True, slots=True)
class SRVRecord:
    """One machine that offers a service. The lowest priority goes first; of equals, by weight."""

    priority: int
    weight: int
    port: int
    host: str


@dataclass(frozen=True, slots=True)
class Target:
    """One place where the server may be reached.

    Args:
        transport: "UDP", "TCP" or "TLS".
        address: an IP address, without brackets.
    """

    transport: str
    address: str
    port: int


class Resolver(Protocol):
    """Asks the DNS."""

    async def services(self, name: str) -> list[SRVRecord]:
        """The SRV records of `name`; none if there are none, or if nobody answers."""

    async def addresses(self, host: str) -> list[str]:
        """The IP addresses of `host`, the preferred first; none if there are none."""


class DNS:
    """The resolvers of the machine: its DNS for SRV, and for addresses its hosts file too."""

    async def services(self, name: str) -> list[SRVRecord]:
        """As Resolver says."""
        try:
            resolver = dns.asyncresolver.Resolver()
            answer = await resolver.resolve(name, dns.rdatatype.SRV, lifetime=LOOK_UP_SECONDS, search=False)
        except (dns.exception.DNSException, OSError, ValueError):
            return []
        return [SRVRecord(each.priority, each.weight, each.port, each.target.to_text()) for each in answer]

    async def addresses(self, host: str) -> list[str]:
        """As Resolver says."""
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        except (OSError, TimeoutError, UnicodeError):
            return []
        return [str(each[4][0]) for each in found]


async def locate(
    server: Server, resolver: Resolver, choose: Callable[[list[SRVRecord]], SRVRecord] | None = None
) -> list[Target]:
    """The places to try, in this order; at least one, and at most ``MAX_TARGETS``.

    Args:
        server: of a transport that is no WebSocket.
        resolver: asked at most once for services, and once for each of their hosts.
        choose: which of several records of one priority comes next; by their weights if None.

    Raises:
        ConnectionLost: there is no such server.
    """
    host = server.host.strip("[]")
    transport, default_port = server.transport, _PORTS[server.transport]
    if _is_address(host):
        return [Target(transport, host, server.port or default_port)]
    machines = [(host, server.port or default_port)]
    if server.port is None and "." in host:
        records = await resolver.services(f"{_SERVICES[transport]}.{host}")
        if [record.host for record in records] == ["."]:
            raise ConnectionLost(f"{host} says that it offers no SIP over {transport}.", code="no_service")
        machines = [(r.host.rstrip("."), r.port) for r in in_order(records, choose or by_weight)] or machines
    targets = []
    for name, port in machines[:MAX_TARGETS]:
        addresses = [name] if _is_address(name) else await resolver.addresses(name)
        targets += [Target(transport, address, port) for address in addresses]
    if not targets:
        raise ConnectionLost(f"The name {host} is not known.", code="unreachable")
    return list(dict.fromkeys(targets))[:MAX_TARGETS]


def in_order(records: Iterable[SRVRecord], choose: Callable[[list[SRVRecord]], SRVRecord]) -> list[SRVRecord]:
    """`records` in the order in which they are tried. Source: RFC 2782."""
    left = sorted((r for r in records if r.host != "." and 0 < r.port < 65_536), key=lambda r: (r.priority, r.weight))
    ordered: list[SRVRecord] = []
    while left and len(ordered) < MAX_TARGETS:
        chosen = choose([record for record in left if record.priority == left[0].priority])
        left.remove(chosen)
        ordered.append(chosen)
    return ordered


def by_weight(records: list[SRVRecord]) -> SRVRecord:
    """One of `records`, the heavier the likelier."""
    return random.choices(records, [record.weight or 0.1 for record in records])[0]  # noqa: S311 - not a secret


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
