"""5,000 SIP subscriptions over UDP in one process, each on a user agent and a socket of its own: what one weighs.

The floor is as many bare asyncio datagram endpoints, which send one datagram each. Between the two stands the state
alone: user agents and subscriptions whose messages go nowhere. Each is measured in a fresh process, with the notifier,
which challenges, accepts and notifies, in another one.
"""

import asyncio
import gc
import multiprocessing
import os
import resource
import secrets
import socket
import sys
import time
from typing import Any

import psutil

from cti_django.connectors.sip.locate import Target
from cti_django.connectors.sip.options import Server
from cti_django.connectors.sip.sockets import connect
from cti_django.connectors.sip_line import SIPLine, Subscriptions
from cti_django.wire.sip_digest import make_challenge
from cti_django.wire.sip_message import Headers, SIPRequest, parse_message
from cti_django.wire.sip_subscriber import NotifyReceived, Subscriber
from cti_django.wire.sip_user_agent import UserAgent

from .report import line

COUNT = 5_000
WARM = 20  # set up before: imports are not a subscription's
AT_ONCE = 50
GOAL = "<= 25 kB"
SECONDS = 240.0
BODY = b'<?xml version="1.0"?><dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="0" state="full"/>'
KINDS = ("endpoints", "state", "lines")


def _notifier(pipe: Any) -> None:
    """Challenges each SUBSCRIBE, accepts it the second time, and says one NOTIFY; until it is killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        pipe.send(server.getsockname()[1])
        while True:
            data, peer = server.recvfrom(65_536)
            for answer in _answers(data):
                server.sendto(answer, peer)


def _answers(data: bytes) -> list[bytes]:
    if not data.startswith(b"SUBSCRIBE"):
        return [] if data.startswith(b"SIP/2.0") else [data]
    request = parse_message(data)
    assert isinstance(request, SIPRequest)
    if "Authorization" not in request.headers:
        response = request.reply(401, to_tag=secrets.token_hex(4))
        response.headers.add("WWW-Authenticate", make_challenge("bench", secrets.token_hex(16)))
        return [bytes(response)]
    response = request.reply(200, to_tag="server")
    response.headers.add("Contact", "<sip:127.0.0.1>")
    response.headers.add("Expires", "3600")
    headers = Headers([("Via", f"SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{secrets.token_hex(8)}"), ("Max-Forwards", "70")])
    for name, value in (
        ("From", response.headers["To"]),
        ("To", response.headers["From"]),
        ("Call-ID", response.call_id),
        ("CSeq", "1 NOTIFY"),
        ("Contact", "<sip:127.0.0.1>"),
        ("Event", "dialog"),
        ("Subscription-State", "active;expires=3600"),
        ("Content-Type", "application/dialog-info+xml"),
    ):
        headers.add(name, value)
    return [bytes(response), bytes(SIPRequest("NOTIFY", "sip:127.0.0.1", headers, BODY))]


def _an_agent(number: int, sent_by: str) -> UserAgent:
    return UserAgent(
        address=f"sip:{number}@127.0.0.1", username=str(number), password="pw", transport="UDP", sent_by=sent_by
    )


class Endpoint(asyncio.DatagramProtocol):
    """As little as an endpoint can be."""

    def __init__(self) -> None:
        self.answered = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """The echo of what was sent."""
        if not self.answered.done():
            self.answered.set_result(None)


async def _endpoint(number: int, port: int, kept: list[Any]) -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Endpoint, remote_addr=("127.0.0.1", port))
    transport.sendto(b"hello")
    await protocol.answered
    protocol.answered = None  # type: ignore[assignment]
    kept.append(transport)


async def _state(number: int, port: int, kept: list[Any]) -> None:
    agent = _an_agent(number, "192.0.2.1:5062")
    subscriber = Subscriber(agent, expires=3600)
    subscriber.subscribe("1", 0.0)
    for _ in range(3):  # the SUBSCRIBE, the log-in, the answer to the NOTIFY
        for data in subscriber.data_to_send():
            for answer in _answers(data):
                subscriber.receive_data(answer, 0.0)
    assert any(isinstance(event, NotifyReceived) for event in subscriber.events_received())
    subscriber.handle_timeout(40.0)
    kept.append(subscriber)


async def _line(number: int, port: int, kept: list[Any]) -> None:
    notified = asyncio.get_running_loop().create_future()

    def hear(event: Any) -> None:
        if isinstance(event, NotifyReceived) and not notified.done():
            notified.set_result(None)

    flow = await connect(Target("UDP", "127.0.0.1", port), Server("UDP", "127.0.0.1", port), "")
    subscriber = Subscriber(_an_agent(number, flow.sent_by), expires=3600)
    opened = SIPLine(flow.socket, subscriber, on_event=hear, on_lost=print, room=_room)
    Subscriptions(opened, subscriber).subscribe("1")
    await notified
    kept.append(opened)


async def _room() -> None:
    return None


def _set_up(pipe: Any, kind: str, port: int) -> None:
    """In a process of its own: set up so many of a kind, tell what one weighs, and be gone."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    make = {"endpoints": _endpoint, "state": _state, "lines": _line}[kind]

    async def measure() -> None:
        kept: list[Any] = []
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with turn:
                await make(number, port, kept)

        await asyncio.gather(*map(one, range(WARM)))
        gc.collect()
        me = psutil.Process()
        memory, began = me.memory_info().rss, time.perf_counter()
        await asyncio.gather(*map(one, range(WARM, WARM + COUNT)))
        seconds = time.perf_counter() - began
        if kind == "lines":
            await asyncio.sleep(35.0)  # until the transactions of the log-in and of the NOTIFY are forgotten
        gc.collect()
        pipe.send(((me.memory_info().rss - memory) / COUNT / 1000, seconds))
        os._exit(0)

    asyncio.run(measure())


def _measure(kind: str) -> tuple[float, float]:
    context = multiprocessing.get_context("spawn")
    ports, told_port = context.Pipe()
    notifier = context.Process(target=_notifier, args=(told_port,), daemon=True)
    notifier.start()
    try:
        ours, theirs = context.Pipe()
        process = context.Process(target=_set_up, args=(theirs, kind, ports.recv()), daemon=True)
        process.start()
        theirs.close()
        try:
            if not ours.poll(SECONDS):
                raise TimeoutError(f"{COUNT} {kind} were not set up in {SECONDS} s")
            kilobytes, seconds = ours.recv()
            return kilobytes, seconds
        finally:
            process.kill()
            process.join(20)
    finally:
        notifier.kill()
        notifier.join(20)


def main() -> None:
    """Measure, and print one line."""
    measured = {kind: _measure(kind) for kind in KINDS}
    line(
        "udp_subscription_memory",
        measured["lines"][0],
        "kB",
        floor=measured["endpoints"][0],
        goal=GOAL,
        floor_is="a bare asyncio datagram endpoint",
        subscriptions=COUNT,
        state_alone_kilobytes=round(measured["state"][0], 2),
        set_up_seconds=round(measured["lines"][1], 2),
    )


if __name__ == "__main__":
    sys.exit(main())
