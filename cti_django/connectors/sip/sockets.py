"""UDP, TCP, TLS and WebSocket behind one protocol: whole messages in and out.

Source: RFC 3261 18, RFC 7118, RFC 5922 7.3 (whose certificate it has to be).
Deviates: of a certificate the DNS names count, not the sip: URIs beside them; it has to be that of the host that the
    option names, wherever SRV led.
"""

import asyncio
import contextlib
import errno
import secrets
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from typing import cast

from ...exceptions import ConnectionLost, SIPMessageError
from ...wire.sip_stream import SIPStream
from ..transports import UNREACHABLE, Network, Socket, verifying_context
from .locate import Target
from .options import Server

__all__ = ["Flow", "connect", "connect_websocket"]

CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 2.0
MAX_WAITING = 256  # datagrams that nobody has read yet; the peer sends again what is dropped
CHUNK = 16_384
SUBPROTOCOL = "sip"


@dataclass(frozen=True, slots=True)
class Flow:
    """An open socket, and what a user agent on it is called.

    Args:
        sent_by: our end, for Via and Contact: "192.0.2.1:5062"; over a WebSocket a name that never resolves.
    """

    socket: Socket
    transport: str
    sent_by: str


async def connect(target: Target, server: Server, ca_file: str) -> Flow:
    """Open a socket to `target`.

    Raises:
        ConnectionLost: it cannot be had; the sentence says why.
    """
    if target.transport == "UDP":
        return await _connect_datagrams(target)
    context = verifying_context(ca_file) if target.transport == "TLS" else None
    name = server.host.strip("[]") if context else None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                target.address, target.port, ssl=context, server_hostname=name
            )
    except ssl.SSLCertVerificationError as error:
        raise ConnectionLost(
            f"The certificate of {name} is not trusted: {error.verify_message}.", code="certificate"
        ) from None
    except ssl.SSLError:
        raise ConnectionLost(f"{server.host} does not speak TLS as it should.", code="certificate") from None
    except (OSError, TimeoutError):
        raise ConnectionLost(f"{server.host} cannot be reached over {target.transport}.", code=UNREACHABLE) from None
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return Flow(
        _StreamSocket(reader, writer, server.host), target.transport, _written(writer.get_extra_info("sockname"))
    )


async def connect_websocket(server: Server, network: Network) -> Flow:
    """Open the WebSocket of `server`.

    Raises:
        ConnectionLost: it cannot be had.
    """
    opened = await network.connect(server.url, subprotocol=SUBPROTOCOL)
    return Flow(opened, server.transport, f"{secrets.token_hex(6)}.invalid")


async def _connect_datagrams(target: Target) -> Flow:
    loop = asyncio.get_running_loop()
    try:
        transport, protocol = await loop.create_datagram_endpoint(_Datagrams, remote_addr=(target.address, target.port))
    except OSError:
        raise ConnectionLost(f"{target.address} cannot be reached over UDP.", code=UNREACHABLE) from None
    protocol.host = target.address
    return Flow(protocol, "UDP", _written(transport.get_extra_info("sockname")))


def _written(name: tuple[str, int]) -> str:
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Datagrams(asyncio.DatagramProtocol):
    """A connected UDP socket: the kernel turns away what others send."""

    __slots__ = ("_error", "_is_closed", "_reader", "_transport", "_waiting", "host")

    def __init__(self) -> None:
        self.host = ""
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: deque[bytes] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._is_closed = False
        self._error = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The event loop's own class does not say that it is one.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(data)
            self._wake()

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError) and exc.errno == errno.EMSGSIZE:
            return  # one message of ours was too large: its transaction will hear nothing, and say so
        self._error = True  # nobody listens there any more
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def receive(self) -> bytes:
        while not self._waiting:
            if self._is_closed or self._error:
                raise ConnectionLost(f"Nobody answers at {self.host} over UDP.")
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._waiting.popleft()

    async def send(self, message: bytes) -> None:
        if self._transport is None or self._is_closed:
            raise ConnectionLost(f"The line to {self.host} was lost.")
        self._transport.sendto(message)

    async def close(self) -> None:
        self._is_closed = True
        if self._transport is not None:
            self._transport.close()
        self._wake()


class _StreamSocket:
    """TCP or TLS, cut into messages."""

    __slots__ = ("_host", "_reader", "_stream", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._stream = SIPStream()
        self._host = host

    async def receive(self) -> bytes:
        try:
            while (message := self._stream.next_message()) is None:
                chunk = await self._reader.read(CHUNK)
                if not chunk:
                    raise ConnectionLost(f"The line to {self._host} was lost.")
                self._stream.receive_data(chunk)
        except SIPMessageError:
            await self.close()
            raise ConnectionLost(f"{self._host} sent what is no SIP.") from None
        except (OSError, ssl.SSLError):
            raise ConnectionLost(f"The line to {self._host} was lost.") from None
        return message

    async def send(self, message: bytes) -> None:
        try:
            self._writer.write(message)
            await self._writer.drain()
        except (OSError, RuntimeError, ssl.SSLError):
            raise ConnectionLost(f"The line to {self._host} was lost.") from None

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError, ssl.SSLError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._writer.wait_closed()
