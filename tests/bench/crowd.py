"""Many clients of the telephone system in one process: our sessions, bare sockets, and a bare speaker of the protocol.

All three have ``add(index, user)``, which returns when that one is ready.
"""

import asyncio
import asyncio.sslproto
import hashlib
import re
import ssl
from typing import Any

import aiohttp

from cti_django.connectors.transports import TLS_RECORD
from cti_django.sandbox.users import PASSWORD, User

from .exchange import Exchange

__all__ = ["BareSockets", "BareSpeakers", "Sessions", "gather_paced"]

AT_ONCE = 30  # log-ins under way at the same time
READY_SECONDS = 120.0
_NONCE = re.compile(r'nonce="([^"]+)"')


class Sessions:
    """AgentSessions with the VoIPstudio connector and no host: no database, no browsers."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._ca_file = str(exchange.tls[0]) if exchange.tls else ""
        self._states: dict[int, str] = {}
        self._stories: list[asyncio.Task[None]] = []
        self._collecting: asyncio.Task[None] | None = None
        self.all_ready = asyncio.Event()
        self.ready = 0
        self.connecting = 0
        self.most_connecting = 0

    async def add(self, index: int, user: User) -> None:
        from cti_django.calls.numbers import NumberPlan
        from cti_django.connectors.base import Credentials
        from cti_django.connectors.voipstudio.connector import VoIPstudioConnector
        from cti_django.sessions.session import AgentSession, SessionState

        ready = asyncio.Event()

        async def tell(said: Any) -> None:
            if isinstance(said, SessionState):
                self._follow(index, said.state.value)
                if said.state.value == "ready":
                    ready.set()

        if self._collecting is None:
            self._collecting = asyncio.create_task(self._collect())
        address = self._exchange.address_of(index)
        options = {"api_url": address.api_url, "sip_url": address.sip_url, "ca_file": self._ca_file}
        credentials = Credentials(username=user.email, password=PASSWORD)
        connector = VoIPstudioConnector(credentials, options, number_plan=NumberPlan(region="GB"))
        self._stories.append(asyncio.create_task(AgentSession(connector, tell).run()))
        await asyncio.wait_for(ready.wait(), READY_SECONDS)

    async def _collect(self) -> None:
        """What the host does at each renewal of its leases: set aside from the collector what lives now."""
        from cti_django.conf import Settings
        from cti_django.sessions.collector import Collector

        collector = Collector()
        while True:
            await asyncio.sleep(Settings.lease_seconds / 3)
            collector.follow(len(self._stories))

    def _follow(self, index: int, state: str) -> None:
        before = self._states.get(index)
        self.ready += (state == "ready") - (before == "ready")
        self.connecting += (state == "connecting") - (before == "connecting")
        self.most_connecting = max(self.most_connecting, self.connecting)
        self._states[index] = state
        if self.ready == len(self._states):
            self.all_ready.set()
        else:
            self.all_ready.clear()

    async def close(self) -> None:
        """End them all."""
        if self._collecting is not None:
            self._collecting.cancel()
        for story in self._stories:
            story.cancel()
        await asyncio.wait(self._stories)


class BareSockets:
    """aiohttp WebSockets that are opened and read, and say nothing."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=_context(exchange)), cookie_jar=aiohttp.DummyCookieJar()
        )
        self._kept: list[Any] = []

    async def add(self, index: int, user: User) -> None:
        socket = await self.open(index)
        self._kept.append((socket, asyncio.create_task(socket.receive())))

    async def open(self, index: int) -> aiohttp.ClientWebSocketResponse:
        """A socket to the process that serves agent number `index`."""
        url = self._exchange.address_of(index).sip_url
        return await self.client.ws_connect(url, protocols=("sip",), compress=0)

    async def close(self) -> None:
        """End them all."""
        for _socket, reading in self._kept:
            reading.cancel()
        await self.client.close()


class BareSpeakers(BareSockets):
    """What the protocol itself costs: the requests and frames of a log-in by hand, read no further than needed."""

    async def add(self, index: int, user: User) -> None:
        api_url = self._exchange.address_of(index).api_url
        body = {"email": user.email, "password": PASSWORD}
        async with self.client.post(f"{api_url}/login", json=body) as answer:
            token = (await answer.json())["user_token"]
        async with self.client.get(f"{api_url}/me", headers={"X-Auth-Token": token}) as answer:
            me = (await answer.json())["data"]
        socket = await self.open(index)
        await socket.send_str(_subscribe(me, 1))
        nonce = _found(_NONCE, await socket.receive_str(timeout=READY_SECONDS))
        await socket.send_str(_subscribe(me, 2, nonce))
        assert (await socket.receive_str(timeout=READY_SECONDS)).startswith("SIP/2.0 200 ")
        notify = await socket.receive_str(timeout=READY_SECONDS)
        await socket.send_str(_ok(notify))
        self._kept.append((socket, asyncio.create_task(socket.receive())))


def _subscribe(me: dict[str, str], cseq: int, nonce: str = "") -> str:
    user, domain = me["id"], me["sip_domain"]
    uri = f"sip:{user}@{domain}"
    proof = ""
    if nonce:
        secret = _md5(f"{user}:{domain}:{me['sip_password']}")
        response = _md5(f"{secret}:{nonce}:00000001:bare:auth:{_md5(f'SUBSCRIBE:{uri}')}")
        proof = (
            f'Authorization: Digest username="{user}", realm="{domain}", nonce="{nonce}", uri="{uri}", '
            f'response="{response}", algorithm=MD5, qop=auth, nc=00000001, cnonce="bare"\r\n'
        )
    return (
        f"SUBSCRIBE {uri} SIP/2.0\r\nVia: SIP/2.0/WS bare.invalid;branch=z9hG4bK{user}{cseq}\r\nMax-Forwards: 70\r\n"
        f"From: <{uri}>;tag=bare{user}\r\nTo: <{uri}>\r\nCall-ID: bare-{user}\r\nCSeq: {cseq} SUBSCRIBE\r\n"
        f"Contact: <sip:{user}@bare.invalid;transport=ws>\r\nEvent: dialog\r\nAccept: application/dialog-info+xml\r\n"
        f"Expires: 300\r\n{proof}Content-Length: 0\r\n\r\n"
    )


def _ok(notify: str) -> str:
    echoed = ("via:", "from:", "to:", "call-id:", "cseq:")
    head = [line for line in notify.split("\r\n") if line.lower().startswith(echoed)]
    return "\r\n".join(["SIP/2.0 200 OK", *head, "Content-Length: 0", "", ""])


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    assert match, text
    return match.group(1)


def _context(exchange: Exchange) -> ssl.SSLContext | bool:
    if exchange.tls is None:
        return True
    # asyncio's own buffers are 256 KiB for each connection. Ours has smaller ones; a floor with large ones flatters.
    asyncio.sslproto.SSLProtocol.max_size = TLS_RECORD
    return ssl.create_default_context(cafile=exchange.tls[0])


async def gather_paced(crowd: Any, users: list[tuple[int, User]]) -> None:
    """Add all of `users`, AT_ONCE at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(index: int, user: User) -> None:
        async with gate:
            await crowd.add(index, user)

    await asyncio.gather(*(one(index, user) for index, user in users))
