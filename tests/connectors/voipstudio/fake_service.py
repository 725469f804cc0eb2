"""A telephone service that does what a test says: REST answers from a table, SIP over WebSocket by hand."""

import asyncio
import json
from collections.abc import Callable

from aiohttp import WSMsgType, web

from cti_django.wire.sip_message import SIPRequest, SIPResponse, parse_message

TOKEN = "token-1"
ME = {"id": 482910, "sip_password": "sip-secret", "sip_domain": "sip.example", "extension": "10031"}
HTML = (200, "<html><title>Maintenance</title></html>")

Canned = tuple[int, object]


def dialog(
    dialog_id="7310025-1", state="early", direction="receiver", remote="442079460018", name="Dana", rendering="yes"
) -> str:
    return f"""
      <dialog id="{dialog_id}" direction="{direction}"><state>{state}</state>
        <local><identity display="Alice Agent">sip:10031@sip.example</identity>
          <target uri="sip:10031@sip.example"><param pname="+sip.rendering" pval="{rendering}"/>
            <param pname="timestamp.start" pval="1700000000"/></target></local>
        <remote><identity display="{name}">sip:{remote}@sip.example</identity>
          <target uri="sip:{remote}@sip.example"/></remote></dialog>"""


def document(*dialogs: str, version: int, state: str = "partial") -> str:
    return (
        f'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="{version}" state="{state}" '
        f'entity="sip:482910@sip.example">{"".join(dialogs)}</dialog-info>'
    )


class Line:
    """One SIP socket, seen from the service."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.subscribes: dict[str, SIPRequest] = {}  # the first of each node's dialog
        self.cseq: dict[str, int] = {}

    async def notify(self, node: str, body: str = "", *, state="active;expires=300", binary=False, **headers) -> None:
        subscribe = self.subscribes[node]
        self.cseq[node] += 1
        lines = [
            "NOTIFY sip:agent@client.invalid;transport=ws SIP/2.0",
            f"Via: SIP/2.0/WS service.example;branch=z9hG4bK{node}{self.cseq[node]}",
            f"From: <sip:{node}@sip.example>;tag=service-{node}",
            f"To: {subscribe.headers['From']}",
            f"Call-ID: {subscribe.call_id}",
            f"CSeq: {self.cseq[node]} NOTIFY",
            "Contact: <sip:service.example;transport=ws>",
            "Max-Forwards: 70",
            "Event: dialog",
            f"Subscription-State: {state}",
        ]
        if body:
            lines.append(f"Content-Type: {headers.get('content_type', 'application/dialog-info+xml')}")
        data = body.encode()
        lines.append(f"Content-Length: {len(data)}\r\n\r\n")
        frame = "\r\n".join(lines).encode() + data
        await self.send(frame, binary=binary)

    async def send(self, frame: bytes, *, binary=False) -> None:
        await (self.socket.send_bytes(frame) if binary else self.socket.send_str(frame.decode()))


class FakeService:
    def __init__(self) -> None:
        self.requests: list[tuple[str, str, object, str]] = []  # method, path, body, token
        self.answers: dict[tuple[str, str], object] = {
            ("POST", "/login"): (200, {"user_id": 482910, "user_token": TOKEN}),
            ("POST", "/login2fa"): (200, {"user_id": 482910, "user_token": TOKEN}),
            ("GET", "/me"): (200, {"data": ME}),
            ("GET", "/ping"): (200, {"message": "pong"}),
            ("POST", "/logout"): (200, {}),
            ("GET", "/users"): (200, {"data": [{**ME, "name": "Alice"}, {"id": 482911, "name": "Bob"}]}),
        }
        self.subscribe_statuses: dict[str, int] = {}
        self.subscribe_headers: dict[str, str] = {}
        self.first_documents: dict[str, str] = {}  # "" for an empty NOTIFY; a missing node gets an empty full state
        self.notify_first = False
        self.silent_nodes: set[str] = set()
        self.subscribed: list[tuple[str, bool]] = []  # node, whether it was a refresh
        self.lines: list[Line] = []
        self._changed = asyncio.Event()

    async def __aenter__(self) -> "FakeService":
        app = web.Application()
        app.router.add_get("/sip", self._sip)
        app.router.add_route("*", "/api/{path:.*}", self._rest)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.options = {
            "api_url": f"http://127.0.0.1:{port}/api",
            "sip_url": f"ws://127.0.0.1:{port}/sip",
            "request_seconds": 2,
            "dial_seconds": 2,
        }
        return self

    async def __aexit__(self, *_exc) -> None:
        for line in self.lines:
            await line.socket.close()
        await self._runner.cleanup()

    @property
    def line(self) -> Line:
        return self.lines[-1]

    def paths(self) -> list[str]:
        return [f"{method} {path}" for method, path, _body, _token in self.requests]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/api")
        text = await request.text()
        body = json.loads(text) if text else None
        self.requests.append((request.method, path, body, request.headers.get("X-Auth-Token", "")))
        self._changed.set()
        answer = self.answers.get((request.method, path), (404, {"message": "Not found"}))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = await answer()
        if answer == "drop":
            request.transport.abort()
            return web.Response()
        status, content = answer
        if isinstance(content, str):
            return web.Response(status=status, text=content, content_type="text/html")
        return web.json_response(content, status=status)

    async def _sip(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("sip",))
        await socket.prepare(request)
        line = Line(socket)
        self.lines.append(line)
        self._changed.set()
        async for frame in socket:
            if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            data = frame.data.encode() if isinstance(frame.data, str) else frame.data
            message = parse_message(data)
            if isinstance(message, SIPRequest) and message.method == "SUBSCRIBE":
                await self._accept(line, message)
            elif isinstance(message, SIPResponse):
                line.last_status = message.status
            self._changed.set()
        self._changed.set()
        return socket

    async def _accept(self, line: Line, request: SIPRequest) -> None:
        to = request.to
        is_refresh = bool(to.tag)
        node = to.uri.user if hasattr(to.uri, "user") else str(to.uri).removeprefix("sip:").partition("@")[0]
        if is_refresh:
            node = to.tag.removeprefix("service-")
        self.subscribed.append((node, is_refresh))
        if node in self.silent_nodes:
            return
        status = self.subscribe_statuses.get(node, 200)
        reply = request.reply(status, to_tag=f"service-{node}")
        if status == 200:
            reply.headers.add("Contact", "<sip:service.example;transport=ws>")
            reply.headers.add("Expires", request.headers["Expires"])
        for name, value in self.subscribe_headers.items():
            reply.headers.add(name, value)
        if status != 200:
            await line.send(bytes(reply))
            return
        if not is_refresh:
            line.subscribes[node] = request
            line.cseq.setdefault(node, 0)
        first = self.first_documents.get(node, document(version=0, state="full"))
        if self.notify_first:
            await line.notify(node, first)
        await line.send(bytes(reply))
        if not self.notify_first:
            await line.notify(node, first)
