"""A SIP server in a few lines: it takes an agent's registration and subscription, and plays phones that obey a test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from cti_django.wire.sip_message import SIPRequest, SIPResponse, parse_message
from cti_django.wire.sip_uri import NameAddr, parse_name_addr

__all__ = ["DESCRIPTION", "FakePhone", "FakeServer", "document", "running_server"]

DESCRIPTION = (
    "v=0\r\no=phone 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n"
)
DIALOG_INFO = "application/dialog-info+xml"


def document(version: int, *dialogs: str, state: str = "full") -> bytes:
    """A dialog-info document."""
    return (
        f'<?xml version="1.0"?><dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="{version}" '
        f'state="{state}" entity="sip:1006@pbx.example">{"".join(dialogs)}</dialog-info>'
    ).encode()


class FakePhone:
    """What rings for one user part.

    Args:
        answers: the final status of an INVITE; 0 for none until the test says so.
        refers: the status of a REFER.
        progress: the statuses that its NOTIFYs tell.
    """

    def __init__(self, answers: int = 200, refers: int = 405, progress: tuple[int, ...] = (100, 180, 200)) -> None:
        self.answers = answers
        self.refers = refers
        self.progress = progress
        self.port = 0
        self.reinvites = 200
        self.offers: list[bytes] = []
        self.heard: list[SIPRequest] = []
        self.invite: SIPRequest | None = None
        self.address: Any = None

    def methods(self) -> list[str]:
        """What it was told, in order."""
        return [request.method for request in self.heard]


class FakeServer(asyncio.DatagramProtocol):
    """One agent's server. ``requests`` has all that came, ``phones`` what rings by user part."""

    def __init__(self) -> None:
        self.requests: list[SIPRequest] = []
        self.responses: list[SIPResponse] = []
        self.phones: dict[str, FakePhone] = {}
        self.statuses: dict[str, list[int]] = {}  # method: what the next requests are answered instead
        self.headers: dict[int, tuple[tuple[str, str], ...]] = {}
        self.first_document: bytes | None = document(0)
        self.port = 0
        self.is_proxy = True  # else it calls its phones in calls of its own
        self._transport: Any = None
        self._agent: Any = None  # where the agent's requests come from
        self._subscription: SIPRequest | None = None
        self._by_call: dict[str, FakePhone] = {}
        self._number = 100
        self._changed = asyncio.Event()

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._agent = addr
        if not data.strip():
            return
        message = parse_message(data)
        if isinstance(message, SIPResponse):
            self.responses.append(message)
        else:
            known = [(each.call_id, str(each.cseq)) for each in self.requests]
            if (message.call_id, str(message.cseq)) not in known:
                self.requests.append(message)
            self._serve(message)
        self._changed.set()

    # for tests

    async def until(self, is_so: Callable[[], Any], seconds: float = 5) -> None:
        """Wait until something is so; it is looked at whenever a message has come."""
        async with asyncio.timeout(seconds):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    def notify(self, body: bytes, *, event: str = "dialog", state: str = "active;expires=60") -> None:
        """Tell the subscriber."""
        assert self._subscription is not None
        self._send_within(self._subscription, "NOTIFY", body, DIALOG_INFO, event, state)

    def send_raw(self, data: bytes) -> None:
        """Send the agent whatever it is."""
        self._transport.sendto(data, self._agent)

    def ring_shadow(
        self, call_id: str, caller: str, *headers: tuple[str, str], to: str = "sip:1006@pbx.example"
    ) -> None:
        """Fork a call to the agent's registered contact."""
        contact = next(r for r in reversed(self.requests) if r.method == "REGISTER").headers.get_all("Contact")[0]
        self._send_outside("INVITE", parse_name_addr(contact).uri, call_id, caller, to, headers)

    def cancel_shadow(self, call_id: str, caller: str, *headers: tuple[str, str]) -> None:
        """End that call before it was answered."""
        contact = next(r for r in reversed(self.requests) if r.method == "REGISTER").headers.get_all("Contact")[0]
        target = parse_name_addr(contact).uri
        self._send_outside("CANCEL", target, call_id, caller, "sip:1006@pbx.example", headers)

    def answer(self, phone: FakePhone, status: int = 200) -> None:
        """Somebody picks up, or refuses."""
        assert phone.invite is not None
        self._answer_invite(phone.invite, phone, status)

    def hang_up(self, phone: FakePhone) -> None:
        """The phone says BYE."""
        assert phone.invite is not None
        self._send_within(phone.invite, "BYE")

    def offer(self, phone: FakePhone, direction: str) -> None:
        """The phone's hold key."""
        assert phone.invite is not None
        body = DESCRIPTION.format(port=phone.port).replace("sendrecv", direction).encode()
        self._send_within(phone.invite, "INVITE", body, "application/sdp")

    # what it does

    def _serve(self, request: SIPRequest) -> None:
        planned = self.statuses.get(request.method)
        if planned:
            self._reply(request, planned.pop(0))
            return
        match request.method:
            case "SUBSCRIBE":
                self._subscription = request
                self._reply(request, 200, ("Expires", "60"))
                if self.first_document is not None and request.headers.get("Expires") != "0":
                    self.notify(self.first_document)
            case "REGISTER":
                self._reply(request, 200, *[("Contact", each) for each in request.headers.get_all("Contact")])
            case "INVITE":
                self._serve_invite(request)
            case "CANCEL":
                self._reply(request, 200)
                phone = self._by_call[request.call_id]
                assert phone.invite is not None
                self._reply(phone.invite, 487)
            case "REFER":
                self._serve_refer(request)
            case "ACK":
                self._heard(request)
            case _:
                self._heard(request)
                self._reply(request, 200)

    def _heard(self, request: SIPRequest) -> FakePhone | None:
        phone = self._by_call.get(request.call_id)
        if phone is not None:
            phone.heard.append(request)
        return phone

    def _serve_invite(self, request: SIPRequest) -> None:
        phone = self._by_call.get(request.call_id)
        if phone is not None:  # a re-INVITE
            if request.cseq.number not in [each.cseq.number for each in phone.heard if each.method == "INVITE"]:
                phone.heard.append(request)
                phone.offers.append(request.body)
            self._answer_invite(request, phone, phone.reinvites)
            return
        user = request.uri.partition(":")[2].partition("@")[0]
        phone = self.phones.get(user)
        if phone is None:
            self._reply(request, 404)
            return
        self._by_call[request.call_id] = phone
        phone.invite = request
        phone.port = phone.port or 40_000 + 2 * len(self._by_call)
        phone.heard.append(request)
        phone.offers.append(request.body)
        self._reply(request, 100)
        self._reply(request, 180, ("Contact", f"<sip:{user}@127.0.0.1:{self.port}>"))
        if phone.answers:
            self._answer_invite(request, phone, phone.answers)

    def _answer_invite(self, request: SIPRequest, phone: FakePhone, status: int) -> None:
        body = DESCRIPTION.format(port=phone.port).encode() if status == 200 else b""
        if b"a=inactive" in request.body:
            body = body.replace(b"sendrecv", b"inactive")
        route = (("Record-Route", f"<sip:127.0.0.1:{self.port};lr>"),) if self.is_proxy else ()
        self._reply(request, status, ("Contact", f"<sip:phone@127.0.0.1:{self.port}>"), *route, body=body)

    def _serve_refer(self, request: SIPRequest) -> None:
        phone = self._heard(request)
        assert phone is not None
        self._reply(request, phone.refers)
        if phone.refers >= 300:
            return
        for status in phone.progress:
            state = "terminated;reason=noresource" if status >= 200 else "active;expires=60"
            body = f"SIP/2.0 {status} So\r\n".encode()
            assert phone.invite is not None
            self._send_within(phone.invite, "NOTIFY", body, "message/sipfrag", "refer", state)

    def _reply(self, request: SIPRequest, status: int, *headers: tuple[str, str], body: bytes = b"") -> None:
        response = request.reply(status, to_tag="" if status == 100 else "server")
        for name, value in (*headers, *self.headers.get(status, ())):
            response.headers.add(name, value)
        if body:
            response.headers.add("Content-Type", "application/sdp")
            response.body = body
        self._transport.sendto(bytes(response), self._agent)

    def _send_within(
        self, theirs: SIPRequest, method: str, body: bytes = b"", kind: str = "", event: str = "", state: str = ""
    ) -> None:
        """A request in the dialog that `theirs` began."""
        self._number += 1
        target = parse_name_addr(theirs.headers.get_all("Contact")[0]).uri
        own = NameAddr(theirs.to.uri, params={"tag": "server"})
        request = SIPRequest(method, target)
        add = request.headers.add
        add("Via", f"SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{self._number}")
        add("From", str(own))
        add("To", theirs.headers["From"])
        add("Call-ID", theirs.call_id)
        add("CSeq", f"{self._number} {method}")
        add("Contact", f"<sip:phone@127.0.0.1:{self.port}>")
        add("Max-Forwards", "70")
        if event:
            add("Event", event)
            add("Subscription-State", state)
        if body:
            add("Content-Type", kind)
            request.body = body
        self._transport.sendto(bytes(request), self._agent)

    def _send_outside(
        self, method: str, uri: str, call_id: str, caller: str, to: str, headers: tuple[tuple[str, str], ...]
    ) -> None:
        request = SIPRequest(method, uri)
        add = request.headers.add
        add("Via", f"SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{call_id}")
        add("From", f"{caller};tag=caller")
        add("To", f"<{to}>")
        add("Call-ID", call_id)
        add("CSeq", f"1 {method}")
        add("Max-Forwards", "70")
        if method == "INVITE":
            add("Contact", f"<sip:caller@127.0.0.1:{self.port}>")
        for name, value in headers:
            add(name, value)
        self._transport.sendto(bytes(request), self._agent)


@asynccontextmanager
async def running_server() -> AsyncIterator[FakeServer]:
    """A server on a free port of 127.0.0.1."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        FakeServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
