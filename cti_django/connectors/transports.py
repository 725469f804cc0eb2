"""HTTP and WebSocket clients for connectors: the only place that touches the network.

Connectors speak to two small protocols, ``HTTPClient`` and ``WebSocketClient``; ``Network`` is both, on aiohttp.
Every failure of the line comes out as ConnectionLost with a sentence for people, which names the host and nothing
secret.
"""

import asyncio
import asyncio.sslproto
import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp
from yarl import URL

from ..exceptions import ConnectionLost, RESTError

__all__ = ["UNREACHABLE", "HTTPAnswer", "HTTPClient", "Network", "Socket", "WebSocketClient", "verifying_context"]

MAX_BODY = 1_048_576  # bytes of an HTTP answer
MAX_FRAME = 2_097_152  # bytes of a WebSocket message; SIP allows far less, and refuses it without losing the line
UNREACHABLE = "unreachable"
"""The code of a ConnectionLost whose request was surely not sent."""
HEARTBEAT_SECONDS = 15.0
"""A WebSocket ping after this long without a word; half as long again without one, and the line counts as lost.

aiohttp rounds both up to whole seconds of its clock, so a half-open line is found out within 24 s.
"""
AT_ONCE = 30
"""Log-ins at one system that may be under way at a time: a thousand agents whose lines were lost together would only
wait for each other's TLS handshakes, all of them too long."""
CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 2.0
TLS_RECORD = 16_384  # bytes; RFC 8446 section 5.1


@dataclass(frozen=True, slots=True)
class HTTPAnswer:
    """What an HTTP server answered."""

    status: int
    content_type: str
    body: bytes


class HTTPClient(Protocol):
    """Sends one request, gives one answer."""

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes, timeout_seconds: float
    ) -> HTTPAnswer:
        """Send the request and read the whole answer. Redirects are not followed: they would carry the token along.

        Raises:
            ConnectionLost: there was no answer within `timeout_seconds`.
            RESTError: the answer is larger than MAX_BODY.
        """


class Socket(Protocol):
    """One open way to the peer that carries whole messages: a WebSocket, a UDP socket, a TCP or TLS connection behind a
    ``wire.sip_stream.SIPStream``."""

    async def receive(self) -> bytes:
        """The next message or keep-alive.

        Raises:
            ConnectionLost: there is none, and will be none.
        """

    async def send(self, message: bytes) -> None:
        """Send one message; over a WebSocket as text where it is text.

        Raises:
            ConnectionLost: it cannot be sent.
        """

    async def close(self) -> None:
        """Close the line. Never raises; may be called twice."""


class WebSocketClient(Protocol):
    """Opens WebSockets."""

    async def connect(self, url: str, *, subprotocol: str) -> Socket:
        """Open a WebSocket that speaks `subprotocol`.

        Raises:
            ConnectionLost: it cannot be had.
        """


class Network:
    """HTTP and WebSockets on aiohttp: one per event loop and CA file, shared by all its connectors.

    A user of it says ``hold()`` before and ``release()`` after; with the last release its idle connections are closed.
    """

    _shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, "Network"]] = WeakKeyDictionary()

    def __init__(self, ca_file: str = "") -> None:
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None
        self._holders = 0
        self._turns: dict[str, asyncio.Semaphore] = {}  # by host: one system that hangs must not hold up another's

    @classmethod
    def shared(cls, ca_file: str = "") -> "Network":
        """The one of the running loop for `ca_file` ("": the system's own certificates)."""
        networks = cls._shared.setdefault(asyncio.get_running_loop(), {})
        return networks.setdefault(ca_file, cls(ca_file))

    def hold(self) -> None:
        """One more user."""
        self._holders += 1

    async def release(self) -> None:
        """One user less."""
        self._holders -= 1
        if self._holders <= 0 and self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def turn(self, url: str) -> AbstractAsyncContextManager[None]:
        """To be entered before logging in at `url`, and left when the line is there: so many may at once.

        Waiting for one's turn costs nothing of the time that a request or a connection may take: those begin after it.

        Raises:
            ConnectionLost: `url` is none.
        """
        return self._turns.setdefault(_host(url), asyncio.Semaphore(AT_ONCE))

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes, timeout_seconds: float
    ) -> HTTPAnswer:
        """As HTTPClient says."""
        host = _host(url)
        timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=CONNECT_SECONDS)
        with _told_plainly(host):
            async with self._client().request(
                method,
                URL(url, encoded=True),
                # Not compressed, so that a small answer cannot unfold into a huge one.
                headers={**headers, "Accept-Encoding": "identity"},
                data=body or None,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                received = bytearray()
                async for chunk in answer.content.iter_any():
                    received += chunk
                    if len(received) > MAX_BODY:
                        raise RESTError(f"{host} sent an answer that is too large.")
                return HTTPAnswer(answer.status, answer.headers.get("Content-Type", ""), bytes(received))

    async def connect(self, url: str, *, subprotocol: str) -> Socket:
        """As WebSocketClient says."""
        host = _host(url)
        with _told_plainly(host):
            async with asyncio.timeout(2 * CONNECT_SECONDS):
                socket = await self._client().ws_connect(
                    url,
                    protocols=(subprotocol,),
                    compress=0,
                    max_msg_size=MAX_FRAME,
                    heartbeat=HEARTBEAT_SECONDS,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                )
        if socket.protocol != subprotocol:
            await socket.close()
            raise ConnectionLost(f"{host} does not speak “{subprotocol}” over its WebSocket.")
        return _AiohttpWebSocket(socket, host)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            # No cookies: the session is shared by agents, and one's must never reach the service as another's.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=verifying_context(self._ca_file)),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


class _AiohttpWebSocket:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse, host: str) -> None:
        self._socket = socket
        self._host = host

    async def receive(self) -> bytes:
        while True:
            message = await self._socket.receive()
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    return str(message.data).encode()
                case aiohttp.WSMsgType.BINARY:
                    return bytes(message.data)
                case aiohttp.WSMsgType.PING | aiohttp.WSMsgType.PONG:
                    continue
                case aiohttp.WSMsgType.ERROR if isinstance(message.data, aiohttp.WebSocketError):
                    await self.close()
                    raise ConnectionLost(f"{self._host} sent what is no WebSocket message, or one that is too large.")
                case _:
                    raise ConnectionLost(f"The line to {self._host} was lost.")

    async def send(self, message: bytes) -> None:
        try:
            text = message.decode()
        except UnicodeDecodeError:
            text = None
        try:
            if text is None:
                await self._socket.send_bytes(message)
            else:
                await self._socket.send_str(text)
        except (aiohttp.ClientError, OSError, RuntimeError):
            raise ConnectionLost(f"The line to {self._host} was lost.") from None

    async def close(self) -> None:
        try:
            await self._socket.close()
        except (aiohttp.ClientError, OSError, RuntimeError, TimeoutError):
            return


def verifying_context(ca_file: str) -> ssl.SSLContext:
    """How TLS is spoken: certificates are verified against `ca_file`, "" for the system's own authorities.

    Raises:
        ConnectionLost: the file cannot be read.
    """
    # asyncio sets 256 KiB aside for every TLS connection; one record is all that can come at once, and a thousand
    # agents' lines are a thousand such buffers. There is no way to say so for a single connection.
    asyncio.sslproto.SSLProtocol.max_size = TLS_RECORD
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError):
        raise ConnectionLost(f"The certificate file {ca_file} cannot be read.", code="certificate") from None


def _host(url: str) -> str:
    """Host and port of `url`: what an error may name. User, path and query may hold secrets."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConnectionLost("The address of the telephone service is not a URL.", code="configuration") from None
    if not parts.hostname:
        raise ConnectionLost("The address of the telephone service is not a URL.", code="configuration")
    return f"{parts.hostname}:{port}" if port else parts.hostname


@contextmanager
def _told_plainly(host: str) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as error:
        reason = getattr(error, "certificate_error", error)
        detail = getattr(reason, "verify_message", "") or "it cannot be verified"
        raise ConnectionLost(f"The certificate of {host} is not trusted: {detail}.", code="certificate") from None
    except (aiohttp.ClientSSLError, ssl.SSLError):
        raise ConnectionLost(f"{host} does not speak TLS as it should.", code="certificate") from None
    except aiohttp.WSServerHandshakeError as error:
        raise ConnectionLost(f"{host} did not open the telephone line (HTTP status {error.status}).") from None
    except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError):
        raise ConnectionLost(f"{host} cannot be reached.", code=UNREACHABLE) from None
    except TimeoutError:
        raise ConnectionLost(f"{host} did not answer in time.", code="timed_out") from None
    except (aiohttp.ClientError, aiohttp.InvalidURL, OSError):
        raise ConnectionLost(f"The line to {host} was lost.") from None
    except ValueError as error:
        if isinstance(error, RESTError):
            raise
        raise ConnectionLost("The address of the telephone service is not a URL.", code="configuration") from None
