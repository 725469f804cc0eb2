"""The public network: callers and called parties, told by the test when to ring, answer and hang up.

It speaks just enough SIP over UDP for that, with no code of the project's own, and sends no sound.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.pbx.asterisk import Asterisk, agent_did

__all__ = ["Line", "Message", "PublicNetwork", "public_network", "tag_of", "written"]

SECONDS = 15.0
"""Within this happens what the test waits for."""

_REASONS = {
    404: "Not Found",
    480: "Temporarily Unavailable",
    486: "Busy Here",
    487: "Request Terminated",
    603: "Decline",
}


@dataclass
class Message:
    """A request or a response, taken apart."""

    first: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str = ""

    @classmethod
    def parse(cls, data: bytes) -> "Message":
        head, _, body = data.decode(errors="replace").partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        return cls(
            first, [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)], body
        )

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def method(self) -> str:
        return self.get("CSeq").split()[-1]

    @property
    def status(self) -> int:
        """0 for a request."""
        return int(self.first.split()[1]) if self.first.startswith("SIP/2.0") else 0


def tag_of(value: str) -> str:
    return value.partition(";tag=")[2].partition(";")[0]


def written(first: str, headers: list[tuple[str, str]], body: str = "") -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    if body:
        lines.append("Content-Type: application/sdp")
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode()


class Line:
    """One call on the public network, seen from there.

    Attributes:
        number: who is called from outside, or was dialled inside.
        shown: who seems to call.
        code: the status that refused the call, 0 if none did.
        keys: what the other side has pressed.
    """

    def __init__(self, network: "PublicNetwork", number: str, shown: str) -> None:
        self.number, self.shown = number, shown
        self.code, self.keys = 0, ""
        self._network = network
        self._call_id = f"{secrets.token_hex(8)}@public"
        self._mine, self._theirs, self._target = "", "", ""
        self._via: list[tuple[str, str]] = []
        self._invite: Message | None = None
        self._numbers = itertools.count(1)
        self._is_called = False
        self._heard: set[str] = set()
        self._ringing, self._answered, self._over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._acknowledged, self._replied, self._settled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    # -- what the test does and waits for ---------------------------------------------------------------------------

    async def answer(self) -> None:
        """Somebody outside takes the call."""
        self._answered.set()
        await self._network.repeat(self._response(200, self._network.description), self._acknowledged)

    def refuse(self, code: int) -> None:
        """486 busy, 603 declined, 404 no such number."""
        self.code = code
        self._network.send(self._response(code))

    async def hang_up(self) -> None:
        """End the call; a caller who has not been answered yet gives up, unless she is answered at that moment."""
        if not self._answered.is_set():
            await self._network.repeat(self._request("CANCEL"), self._replied)
            self._replied.clear()
            await self._wait(self._settled, "did not end")
        if not self._over.is_set():
            self._over.set()
            await self._network.repeat(self._request("BYE"), self._replied)

    async def rings(self) -> None:
        """Wait until the called party's phone rings."""
        await self._wait(self._ringing, "did not ring")

    async def answered(self) -> None:
        """Wait until somebody has taken the call."""
        await self._wait(self._answered, "was not answered")

    async def over(self) -> None:
        """Wait until it has ended, whoever ended it."""
        await self._wait(self._over, "did not end")

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    async def pressed(self, keys: str) -> None:
        """Wait until these keys have been heard."""
        async with asyncio.timeout(SECONDS):
            while self.keys != keys:
                await self._network.news()

    async def _wait(self, event: asyncio.Event, complaint: str) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                await event.wait()
        except TimeoutError:
            raise AssertionError(f"the call {self.shown} -> {self.number} {complaint} (code {self.code})") from None

    # -- a caller ---------------------------------------------------------------------------------------------------

    def call(self, name: str, *, anonymous: bool) -> bytes:
        """Its INVITE."""
        who = '"Anonymous" <sip:anonymous@anonymous.invalid>' if anonymous else f'"{name}" <sip:{self.shown}@127.0.0.1>'
        self._target = f"sip:{self.number}@127.0.0.1:{self._network.pbx.sip_port}"
        self._mine, self._theirs = f"{who};tag={secrets.token_hex(4)}", f"<{self._target}>"
        self._via = [("Via", self._network.via())]
        privacy = [("Privacy", "id")] if anonymous else []
        return self._request("INVITE", privacy, self._network.description)

    def _request(self, method: str, further: list[tuple[str, str]] | None = None, body: str = "") -> bytes:
        if method == "BYE":
            self._via = [("Via", self._network.via())]
        number = 1 if method in ("CANCEL", "ACK") else next(self._numbers)
        headers = [
            *self._via,
            ("From", self._mine),
            ("To", self._theirs if method != "CANCEL" else self._theirs.partition(";tag=")[0]),
            ("Call-ID", self._call_id),
            ("CSeq", f"{number} {method}"),
            ("Contact", self._network.contact),
            ("Max-Forwards", "70"),
            *(further or []),
        ]
        return written(f"{method} {self._target} SIP/2.0", headers, body)

    def receive_response(self, message: Message) -> None:
        if message.method in ("BYE", "CANCEL"):
            self._replied.set()
        if message.method != "INVITE":
            return
        self._acknowledged.set()  # it has arrived: no need to repeat it
        if message.status >= 180:
            self._theirs = message.get("To")
            if message.status < 200:
                self._ringing.set()
        if message.status >= 200:
            self._settle(message)

    def _settle(self, message: Message) -> None:
        if message.status < 300:
            self._target = message.get("Contact").partition("<")[2].partition(">")[0]
            self._via = [("Via", self._network.via())]
            self._answered.set()
        else:
            self.code = message.status
            self._over.set()
        self._settled.set()
        self._network.send(self._request("ACK"))

    # -- a called party ---------------------------------------------------------------------------------------------

    @classmethod
    def called(cls, network: "PublicNetwork", invite: Message) -> "Line":
        """A call from inside, to which nothing has been said yet."""
        number = invite.first.split()[1].partition(":")[2].partition("@")[0]
        line = cls(network, number, invite.get("From").partition("sip:")[2].partition("@")[0])
        line._is_called, line._invite, line._call_id = True, invite, invite.get("Call-ID")
        line._mine, line._theirs = f"{invite.get('To')};tag={secrets.token_hex(4)}", invite.get("From")
        line._target = invite.get("Contact").partition("<")[2].partition(">")[0]
        return line

    def ring(self) -> None:
        """The phone outside rings."""
        self._ringing.set()
        self._network.send(self._response(180))

    def _response(self, code: int, body: str = "", request: Message | None = None) -> bytes:
        request = request or self._invite
        assert request is not None
        reason = "OK" if code == 200 else "Ringing" if code == 180 else _REASONS[code]
        to = request.get("To") if tag_of(request.get("To")) else self._mine
        kept = [(name, value) for name, value in request.headers if name.lower() in ("via", "from", "call-id", "cseq")]
        return written(f"SIP/2.0 {code} {reason}", [*kept, ("To", to), ("Contact", self._network.contact)], body)

    def receive_request(self, message: Message) -> None:
        method = message.method
        if method == "ACK":
            self._acknowledged.set()
            if self.code:
                self._over.set()
            return
        body = self._network.description if method == "INVITE" else ""
        self._network.send(self._response(200, body, message))
        if method == "BYE":
            self._over.set()
        elif method == "CANCEL":
            self.refuse(487)
        elif method == "INFO" and message.body.startswith("Signal=") and message.get("CSeq") not in self._heard:
            self._heard.add(message.get("CSeq"))  # a request that is answered late comes again
            self.keys += message.body.splitlines()[0].partition("=")[2].strip()


class PublicNetwork(asyncio.DatagramProtocol):
    """All its calls with one Asterisk.

    Attributes:
        engaged: numbers that are refused at once, and with which status (486 busy, 404 no such number).
    """

    def __init__(self, pbx: Asterisk, port: int = 0, user: str = "public") -> None:
        self.pbx = pbx
        self.port = port or pbx.public_port
        self.contact = f"<sip:{user}@127.0.0.1:{self.port}>"
        self.engaged: dict[str, int] = {}
        self.description = (
            "v=0\r\no=public 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            "m=audio 9 RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
        )
        self._transport: asyncio.DatagramTransport | None = None
        self._lines: dict[str, Line] = {}
        self._called: dict[str, asyncio.Queue[Line]] = {}
        self._repeating: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    async def ring(
        self, to: str, shown: str = "+33123456789", name: str = "Marie Curie", *, anonymous: bool = False
    ) -> Line:
        """Somebody outside calls an agent, a queue ("700") or a number; returns when the PBX has taken notice."""
        line = Line(self, to if to.startswith("+") else agent_did(to), shown)
        self._lines[line._call_id] = line
        await self.repeat(line.call(name, anonymous=anonymous), line._acknowledged)
        line._acknowledged.clear()
        return line

    async def called(self, number: str) -> Line:
        """Wait until this number is called from inside. It rings until it is answered, unless it is engaged."""
        try:
            async with asyncio.timeout(SECONDS):
                return await self._called.setdefault(number, asyncio.Queue()).get()
        except TimeoutError:
            raise AssertionError(f"nobody called {number}") from None

    async def news(self) -> None:
        """Wait until anything arrives."""
        self._news.clear()
        await self._news.wait()

    # -- datagrams --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def via(self) -> str:
        return f"SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{secrets.token_hex(8)}"

    def send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.sendto(data, ("127.0.0.1", self.pbx.sip_port))

    async def repeat(self, data: bytes, until: asyncio.Event) -> None:
        """Say it again until it was heard; an Asterisk that starts anew may miss it."""
        for pause in (0.5, 1, 2, 4, 4, 4):
            self.send(data)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await until.wait()
                    return

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not data.strip():
            return
        message = Message.parse(data)
        line = self._lines.get(message.get("Call-ID"))
        if message.status:
            if not self.receive_response(message) and line is not None:
                line.receive_response(message)
        elif line is not None and not (message.method == "INVITE" and not tag_of(message.get("To"))):
            line.receive_request(message)
            self.hear(line, message)
        elif line is None and message.method == "INVITE":
            self._take(message)
        elif line is None and message.method != "ACK":
            kept = [each for each in message.headers if each[0].lower() in ("via", "from", "to", "call-id", "cseq")]
            self.send(written("SIP/2.0 200 OK" if message.method == "OPTIONS" else "SIP/2.0 481 Gone", kept))
        self._news.set()

    def receive_response(self, message: Message) -> bool:
        """Whether this response belongs to no call."""
        return False

    def hear(self, line: Line, message: Message) -> None:
        """A request has come within a call, and has its answer."""

    def _take(self, invite: Message) -> None:
        line = Line.called(self, invite)
        self._lines[invite.get("Call-ID")] = line
        if line.number in self.engaged:
            line.refuse(self.engaged[line.number])
        else:
            line.ring()
        self._called.setdefault(line.number, asyncio.Queue()).put_nowait(line)

    async def close(self) -> None:
        """Everybody outside hangs up."""
        async with asyncio.TaskGroup() as leaving:
            for line in self._lines.values():
                if not line.is_over and (line._answered.is_set() or not line._is_called):
                    leaving.create_task(_leave(line))
        assert self._transport is not None
        self._transport.close()


async def _leave(line: Line) -> None:
    with contextlib.suppress(TimeoutError, AssertionError):
        async with asyncio.timeout(0.5):  # the PBX may be gone
            await line.hang_up()


@asynccontextmanager
async def public_network(pbx: Asterisk) -> AsyncIterator[PublicNetwork]:
    """What is outside of this Asterisk."""
    network = PublicNetwork(pbx)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: network, ("127.0.0.1", pbx.public_port))
    try:
        yield network
    finally:
        await network.close()
