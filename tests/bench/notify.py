"""NOTIFY bytes to call events, on one core: SIP, XML, translation and the board; all but the socket."""

import asyncio
import itertools
import time
from datetime import UTC, datetime
from typing import Any

from cti_django.calls.board import CallBoard
from cti_django.calls.numbers import NumberPlan
from cti_django.connectors.complaints import Complaints
from cti_django.connectors.voipstudio.subscriber import new_subscriber
from cti_django.connectors.voipstudio.watch import new_watch
from cti_django.wire.sip_message import SIPRequest, parse_message
from cti_django.wire.sip_subscriber import Subscriber
from cti_django.wire.voipstudio_rest import Me

from .report import line

CALLS = 2_000
FULL = b"""<?xml version="1.0"?>
<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="0" state="full" entity="sip:10031@sip.example"/>"""
STATES = ("early", "confirmed", "terminated")
BODY = """<?xml version="1.0"?>
<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info"
 version="{version}" state="partial" entity="sip:10031@sip.example">
<dialog id="{call}-1" direction="receiver"><state>{state}</state>
<local><identity display="Alice Agent">sip:10031@sip.example</identity><target uri="sip:10031@sip.example">
<param pname="+sip.rendering" pval="yes"/><param pname="timestamp.start" pval="1700000000"/>
<param pname="context" pval="LOCAL"/></target></local>
<remote><identity display="Caller {call}">sip:4420794{call:05}@sip.example</identity>
<target uri="sip:4420794{call:05}@sip.example"/></remote></dialog></dialog-info>"""


def _frames(subscribe: SIPRequest) -> list[bytes]:
    """A NOTIFY for each state of each call, as the service would write it in the dialog of `subscribe`."""
    bodies = [FULL]
    for call, state in itertools.product(range(CALLS), STATES):
        bodies.append(BODY.format(version=len(bodies), call=call, state=state).encode())
    frames = []
    for number, body in enumerate(bodies):
        head = (
            f"NOTIFY {subscribe.headers.get_all('Contact')[0].split('<')[1].split('>')[0]} SIP/2.0\r\n"
            f"Via: SIP/2.0/WSS sip.example;branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n"
            f"From: {subscribe.headers.get('To')};tag=server\r\nTo: {subscribe.headers.get('From')}\r\n"
            f"Call-ID: {subscribe.headers.get('Call-ID')}\r\nCSeq: {number + 1} NOTIFY\r\n"
            "Contact: <sip:sip.example;transport=ws>\r\nEvent: dialog\r\nSubscription-State: active;expires=300\r\n"
            f"Content-Type: application/dialog-info+xml\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        frames.append(head.encode() + body)
    return frames


async def _measure() -> None:
    me = Me(user_id="10031", sip_password="secret", sip_domain="sip.example")
    subscriber = new_subscriber(me, "wss://sip.example/", 300)
    said: list[Any] = []
    watch = new_watch("10031", [], NumberPlan(region="GB"), Complaints(said.append), said.append, said.append)
    ids = itertools.count()
    board = CallBoard(new_id=lambda _: str(next(ids)))
    # Without a line the watch does not subscribe by itself: the subscriber is asked here.
    watch.begin(_NoLine(subscriber))  # type: ignore[arg-type]
    request = parse_message(subscriber.data_to_send()[0])
    assert isinstance(request, SIPRequest)
    frames = _frames(request)
    now = datetime.now(UTC)
    events = 0
    began = time.perf_counter()
    for frame in frames:
        subscriber.receive_data(frame, 1.0)
        for event in subscriber.events_received():
            watch.hear(event)
        subscriber.data_to_send()
        for notification in said:
            events += len([e for e in board.fold(notification, now) if getattr(e, "call", None)])
        said.clear()
    seconds = time.perf_counter() - began
    line("notify_to_event", events / seconds, "events/s", goal=">= 5000", events=events, frames=len(frames))


class _NoLine:
    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    def subscribe(self, node: str) -> None:
        self._subscriber.subscribe(node, 0.0)


def main() -> None:
    """Measure, and print one line."""
    asyncio.run(_measure())


if __name__ == "__main__":
    main()
