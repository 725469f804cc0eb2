"""A running sandbox, a REST client and a SIP client that speak to it over loopback."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from cti_django.sandbox.server import Sandbox, run_sandbox
from cti_django.wire.dialog_info import DialogInfo, parse_dialog_info
from cti_django.wire.sip_digest import DigestClient
from cti_django.wire.sip_message import Headers, SIPMessage, SIPRequest, SIPResponse, parse_message

DOMAIN = "127.0.0.1"
PATIENCE = 5.0


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with run_sandbox(first_call_id=7310025) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as session:
        yield session


class API:
    """The REST API as one user uses it. Gives (status, JSON or None)."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str = "") -> None:
        self._http, self._url, self.token = http, url, token

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"X-Auth-Token": self.token} if self.token else {}
        async with self._http.request(method, self._url + path, json=body, headers=headers) as response:
            text = await response.text()
            return response.status, await response.json() if text else None


@pytest.fixture
def api(sandbox: Sandbox, http: aiohttp.ClientSession) -> Callable[[str], API]:
    """The API for the user with that extension."""
    return lambda user_id: API(http, sandbox.api_url, f"key-{user_id}")


class Watcher:
    """A SIP user agent on one WebSocket that subscribes, answers every NOTIFY with 200 and keeps it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, user_id: str, password: str = "") -> None:
        self.socket, self.user_id = socket, user_id
        self.call_id = secrets.token_hex(8)
        self.tag = secrets.token_hex(4)
        self.to = ""
        self.cseq = 0
        self.notifies: asyncio.Queue[SIPRequest] = asyncio.Queue()
        self._digest = DigestClient(user_id, password or f"sip-{user_id}")
        self._responses: asyncio.Queue[SIPResponse] = asyncio.Queue()
        self._task = asyncio.create_task(self._read())
        self.reply_with = 200

    async def _read(self) -> None:
        async for frame in self.socket:
            data = frame.data.encode() if isinstance(frame.data, str) else frame.data
            if not data.strip():
                continue
            message: SIPMessage = parse_message(data, max_bytes=2_000_000)
            if isinstance(message, SIPResponse):
                self._responses.put_nowait(message)
            else:
                await self.socket.send_str(bytes(message.reply(self.reply_with)).decode())
                self.notifies.put_nowait(message)

    def request(self, method: str = "SUBSCRIBE", node: str = "", **headers: str) -> SIPRequest:
        self.cseq += 1
        fields = {
            "Via": f"SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK{secrets.token_hex(4)}",
            "From": f"<sip:{self.user_id}@{DOMAIN}>;tag={self.tag}",
            "To": self.to or f"<sip:{node or self.user_id}@{DOMAIN}>",
            "Call-ID": self.call_id,
            "CSeq": f"{self.cseq} {method}",
            "Contact": "<sip:4qrg81ef@df7jal23ls0d.invalid;transport=ws>",
            "Event": "dialog",
            "Expires": "300",
            "Accept": "application/dialog-info+xml",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        uri = f"sip:{node or self.user_id}@{DOMAIN}"
        return SIPRequest(method, uri, Headers((name, value) for name, value in fields.items() if value))

    async def ask(self, request: SIPRequest) -> SIPResponse:
        await self.socket.send_str(bytes(request).decode())
        return await asyncio.wait_for(self._responses.get(), PATIENCE)

    async def subscribe(self, node: str = "", **headers: str) -> SIPResponse:
        """SUBSCRIBE, with credentials as soon as they are asked for."""
        request = self.request(node=node, **headers)
        response = await self.ask(request)
        if response.status == 401:
            self.cseq += 1
            for name, value in self._digest.answer(request, response):
                request.headers.set(name, value)
            request.headers.set("CSeq", f"{self.cseq} SUBSCRIBE")
            response = await self.ask(request)
        if response.status == 200:
            self.to = response.headers["To"]
        return response

    async def notify(self) -> SIPRequest:
        return await asyncio.wait_for(self.notifies.get(), PATIENCE)

    async def info(self) -> DialogInfo:
        return parse_dialog_info((await self.notify()).body)

    async def state(self) -> tuple[int, str]:
        """(version, state of the only dialog) of the next NOTIFY."""
        info = await self.info()
        (dialog,) = info.dialogs
        return info.version, dialog.state

    async def closed(self) -> None:
        """Until the server has closed the line."""
        await asyncio.wait_for(self._task, PATIENCE)

    async def close(self) -> None:
        self._task.cancel()
        await self.socket.close()


@pytest.fixture
async def watcher(sandbox: Sandbox, http: aiohttp.ClientSession) -> AsyncIterator[Callable[..., Any]]:
    """A connected watcher: ``await watcher("10031")``."""
    opened: list[Watcher] = []

    async def connect(user_id: str, password: str = "", path: str = "") -> Watcher:
        socket = await http.ws_connect(sandbox.sip_url + path, protocols=["sip"], max_msg_size=0)
        opened.append(Watcher(socket, user_id, password))
        return opened[-1]

    yield connect
    for one in opened:
        await one.close()
