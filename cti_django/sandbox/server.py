"""The sandbox as one server: REST, SIP over WebSocket and the console on one port.

async with run_sandbox() as sandbox:
    call = sandbox.switch.ring("10031", "+442079460018", "Dana")
    await sandbox.wait_for(lambda: call.state == "CONNECTED")
"""

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from aiohttp import WSMsgType, web

from .accounts import Accounts
from .console import Console
from .faults import AT_ONCE, Fault, Faults
from .journal import Journal
from .pbx import DEFAULT_TIMINGS, Switch, Timings
from .rest import PREFIX, RESTServer, peer_port
from .sip_server import SIPServer
from .users import User, demo_users

__all__ = ["NODES", "Sandbox", "run_sandbox"]

NODES = {"ivr-12": "Welcome menu", "queue-17": "Sales queue", "conf-31": "Monday meeting", "conf-99": "The board"}
PRIVATE_NODES = ("conf-99",)
MAX_FRAME = 256 * 1024
MAX_QUEUED = 5000  # frames that a slow reader may leave waiting before its line is dropped

T = TypeVar("T")


class Sandbox:
    """A PBX for tests and demos; ``start`` and ``stop`` it, or use ``run_sandbox``.

    Args:
        users: who works here; None: ``demo_users()``.
        host, port: where to listen; port 0 takes a free one. Keep to loopback: the console asks nobody for a password.
        sip_domain: told to the users; VoIPstudio's browser connector opens ``wss://<sip_domain>:443``.
        tls_cert, tls_key: paths of PEM files; with them everything is https and wss.
        timings: how long phones ring.
        max_expires: the longest SIP subscription in seconds.
        nodes: what can be watched besides users; those in `private_nodes` answer 403.
        quiet_body: give the first NOTIFY about a quiet node a body; the service gives none.
        heartbeat_seconds: a WebSocket ping to every watcher this often; who does not answer within half of that again
            is dropped. 0 for none.
        journal: path of a file that all that happens is appended to (``journal.py``), "" for none.
        first_call_id: call ids rise from here; None: from the clock, so that none comes back after a restart.
    """

    def __init__(
        self,
        users: Iterable[User] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 9000,
        sip_domain: str = "127.0.0.1",
        tls_cert: str = "",
        tls_key: str = "",
        timings: Timings = DEFAULT_TIMINGS,
        max_expires: int = 3600,
        nodes: Mapping[str, str] = NODES,
        private_nodes: Collection[str] = PRIVATE_NODES,
        quiet_body: bool = False,
        heartbeat_seconds: float = 20.0,
        journal: str = "",
        first_call_id: int | None = None,
    ) -> None:
        users = list(demo_users() if users is None else users)
        self.host, self.port, self.sip_domain = host, port, sip_domain
        self.switch = Switch(
            users,
            schedule=self._schedule,
            now=time.time,
            timings=timings,
            nodes=nodes,
            first_call_id=int(time.time() * 1000) if first_call_id is None else first_call_id,
        )
        self.journal = Journal(journal)
        self.journal.follow(self.switch)
        self.faults = Faults()
        self.accounts = Accounts(users)
        self.sip = SIPServer(
            self.switch,
            self.faults,
            sip_domain,
            schedule=self._schedule,
            now=time.monotonic,
            max_expires=max_expires,
            private_nodes=private_nodes,
            quiet_body=quiet_body,
            journal=self.journal,
        )
        self.revision = 0
        self._heartbeat_seconds = heartbeat_seconds
        self._tls = (tls_cert, tls_key or tls_cert) if tls_cert else None
        self._waiters: dict[asyncio.Future[Any], Callable[[], Any]] = {}
        self._runner: web.AppRunner | None = None
        self._check_due = False
        self.sip.on_change = self.touch
        self.switch.call_listeners.append(lambda _call: self.touch())

    # -- where it is --------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """ "http://127.0.0.1:9000"; the console is at ``/console/`` below it."""
        return f"http{'s' if self._tls else ''}://{self._address}"

    @property
    def api_url(self) -> str:
        """The REST API, as a connector wants it."""
        return self.base_url + PREFIX

    @property
    def sip_url(self) -> str:
        """SIP over WebSocket, as a connector wants it."""
        return f"ws{'s' if self._tls else ''}://{self._address}/"

    @property
    def _address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    # -- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen. Raises OSError if the port is taken, or a TLS file or the journal cannot be used."""
        context = None
        if self._tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            try:
                context.load_cert_chain(*self._tls)
            except OSError as error:
                raise OSError(f"the certificate or its key cannot be used ({error})") from None
        self.journal.open()
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port, ssl_context=context, backlog=2048).start()
        except BaseException:
            await runner.cleanup()
            self.journal.close()
            raise
        self.port = runner.addresses[0][1]
        self._runner = runner
        self.journal.note("start", pid=os.getpid(), port=self.port)

    async def stop(self) -> None:
        """End all calls and close all sockets."""
        self.switch.hang_up_all()
        self.sip.strike(Fault.DROP_LINE)
        for waiter in list(self._waiters):
            waiter.cancel()
        if self._runner:
            await self._runner.cleanup()
            self._runner = None
        self.journal.note("stop", pid=os.getpid(), port=self.port)
        self.journal.close()

    async def wait_for(self, predicate: Callable[[], T], timeout: float = 10.0) -> T:
        """What `predicate` gives, as soon as that is true; it is asked at every change. Raises TimeoutError."""
        if value := predicate():
            return value
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = predicate
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        finally:
            self._waiters.pop(waiter, None)

    def misbehave(self, fault: Fault, user_id: str = "", *, count: int | None = None, seconds: float = 1.0) -> None:
        """Let something go wrong for a user, or for all ("").

        Args:
            count: how often, for faults that wait for an occasion; None: once, or for SLOW and REFUSE_SOCKETS until
                cleared.
            seconds: of SLOW and DELAY.
        """
        if fault is Fault.CLEAR:
            self.faults.clear()
            self.accounts.restore()
        elif fault is Fault.EXPIRE_TOKEN:
            self.accounts.expire(user_id)
        elif fault in AT_ONCE:
            self.sip.strike(fault, user_id)
        else:
            self.faults.arm(fault, user_id, count=count, seconds=seconds)
        self.touch()

    def touch(self) -> None:
        """Something has changed: ask the waiters, once for all changes of this turn of the loop."""
        self.revision += 1
        if self._waiters and not self._check_due:
            self._check_due = True
            asyncio.get_running_loop().call_soon(self._check)

    def _check(self) -> None:
        self._check_due = False
        for waiter, predicate in list(self._waiters.items()):
            try:
                value = predicate()
            except Exception as error:
                if not waiter.done():
                    waiter.set_exception(error)
            else:
                if value and not waiter.done():
                    waiter.set_result(value)

    def _schedule(self, delay: float, act: Callable[[], None]) -> asyncio.TimerHandle:
        """The one place where time passes."""
        return asyncio.get_running_loop().call_later(delay, act)

    # -- HTTP ---------------------------------------------------------------------------------------------------

    def _app(self) -> web.Application:
        app = web.Application()
        app.add_subapp(PREFIX, self._rest().app())
        app.router.add_get("/console", self._root)
        app.add_subapp("/console", Console(self).app())
        app.router.add_get("/", self._root)
        app.router.add_get("/sip", self._root)
        return app

    def _rest(self) -> RESTServer:
        return RESTServer(self.switch, self.accounts, self.faults, self.sip_domain, self.journal)

    async def _root(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise web.HTTPFound("/console/")
        offered = [one.strip().lower() for one in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if "sip" not in offered:
            return web.Response(status=400, text="The WebSocket subprotocol here is sip (RFC 7118).")
        if self.faults.take(Fault.REFUSE_SOCKETS):
            return web.Response(status=503)
        return await self._sip_socket(request)

    async def _sip_socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            protocols=("sip",), max_msg_size=MAX_FRAME, compress=False, heartbeat=self._heartbeat_seconds or None
        )
        await socket.prepare(request)
        frames: asyncio.Queue[bytes | None] = asyncio.Queue()

        def send(frame: bytes) -> None:
            if frames.qsize() < MAX_QUEUED:
                frames.put_nowait(frame)
            else:
                close()

        def close() -> None:
            if request.transport:
                request.transport.abort()

        connection = self.sip.connect(send, close, peer_port(request))
        writer = asyncio.create_task(_write(socket, frames))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    connection.receive(message.data.encode())
                elif message.type is WSMsgType.BINARY:
                    connection.receive(message.data)
        finally:
            was_deaf = isinstance(socket.exception(), TimeoutError)
            connection.lost("heartbeat" if was_deaf else "socket closed")
            writer.cancel()
            if was_deaf:  # what still waits to be sent must not keep the connection
                close()
        return socket


async def _write(socket: web.WebSocketResponse, frames: asyncio.Queue[bytes | None]) -> None:
    """Send what is queued, as text where it is text: SIP.js reads binary frames only in its newer versions."""
    with contextlib.suppress(ConnectionError, RuntimeError):
        while frame := await frames.get():
            try:
                await socket.send_str(frame.decode())
            except UnicodeDecodeError:
                await socket.send_bytes(frame)


@contextlib.asynccontextmanager
async def run_sandbox(users: Iterable[User] | None = None, *, port: int = 0, **options: Any) -> AsyncIterator[Sandbox]:
    """A running sandbox on a free port; the options are those of ``Sandbox``."""
    sandbox = Sandbox(users, port=port, **options)
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.stop()
