"""100,000 damaged streams into a user agent that has calls and subscriptions: nothing is raised, nothing grows."""

import tracemalloc
from random import Random

from cti_django.exceptions import SIPMessageError
from cti_django.wire.sip_dialog import Dialog
from cti_django.wire.sip_message import SIPRequest, parse_message
from cti_django.wire.sip_served import MAX_SERVED
from cti_django.wire.sip_stream import MAX_BODY, MAX_HEAD, SIPStream
from cti_django.wire.sip_subscriber import Subscriber

from .sip_peers import Call, an_agent
from .sip_phone import accept, challenge, notify, refuse
from .test_mutations import _damaged

STREAMS = 100_000
WATCHED = 3_000  # the last ones of each kind, whose memory is measured: they must leave nothing behind


class Desk:
    """A user agent with all kinds of usages, and what its peer would say to it."""

    def __init__(self, transport):
        self.agent = an_agent(
            "alice", transport=transport, allow=("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "NOTIFY")
        )
        self.agent.on_request = self.ring
        self.agent.keep_alive(30.0, 0.0)
        self.subscriber = Subscriber(self.agent)
        self.rings = 0
        self.call_ids = []

    def ring(self, request, now):
        self.rings += 1
        self.call_ids.append(request.call_id)
        return Call(self.agent) if self.rings % 3 else None

    def busy(self, now):
        """Forget the calls so far and ask for new things; whatever the peer may now say, sound."""
        for call_id in self.call_ids:
            self.agent.detach(call_id)
        call = Call(self.agent)
        call.dial("sip:bob@example.com", now)
        self.call_ids = [call.invite.call_id]
        self.subscriber.subscribe("bob", now)
        said = []
        for data in self.agent.data_to_send():
            message = parse_message(data) if data.strip() else None
            if not isinstance(message, SIPRequest) or message.method == "ACK":
                continue
            contact = ("Contact", "<sip:bob@b.example>")
            said += [
                refuse(message, 180, contact),
                accept(message),
                challenge(message, f"n{now}"),
                refuse(message, 486),
            ]
            said.append(refuse(message, 302, ("Contact", "<sip:c@d>;q=0.3, <sip:e@f>")))
            said.append(refuse(message, 423, ("Min-Expires", "400")))
            said += [notify(message), notify(message, cseq=2, state="terminated;reason=timeout")]
            dialog = Dialog.from_response(message, accept(message))
            said += [self.back(dialog, method) for method in ("BYE", "OPTIONS", "INVITE", "FOO")]
            said += [notify(message, method=method, event="", state="") for method in ("INVITE", "CANCEL", "ACK")]
        return [bytes(message) for message in said] + [b"\r\n\r\n", b"\r\n"]

    @staticmethod
    def back(dialog, method):
        """A request of the other end of `dialog`."""
        local, remote = dialog.remote, dialog.local
        other = Dialog(call_id=dialog.call_id, local=local, remote=remote, remote_target="sip:alice@alice.example.com")
        request = other.new_request(method)
        request.headers.prepend("Via", f"SIP/2.0/TCP b.example;branch=z9hG4bK{method}{dialog.local_seq}")
        return request


def feed(desk, stream, wire, random, now):
    start = 0
    while start < len(wire):
        size = random.choice((1, 7, 100, 1000, 100_000))
        stream.receive_data(wire[start : start + size])
        start += size
        while (message := stream.next_message()) is not None:
            desk.agent.receive_data(message, now)
        assert len(stream._buffer) <= MAX_HEAD + MAX_BODY + 100_000


def test_a_hundred_thousand_damaged_streams_do_no_harm():
    random, dropped, now = Random(3261), 0, 0.0
    for transport in ("TCP", "UDP"):
        desk = Desk(transport)
        for number in range(STREAMS // 2):
            if number % 250 == 0:
                sound = desk.busy(now)
            if number == STREAMS // 2 - WATCHED:
                tracemalloc.start()
            now += 0.01
            wire = _damaged(random, sound) + (_damaged(random, sound) if number % 4 == 0 else random.choice(sound))
            try:
                if transport == "TCP":
                    feed(desk, SIPStream(), wire, random, now)
                else:
                    desk.agent.receive_data(wire, now)
            except SIPMessageError:  # only a stream may end like this
                assert transport == "TCP"
                dropped += 1
            if number % 50 == 0:
                desk.agent.handle_timeout(now)
            desk.agent.events_received()
            for data in desk.agent.data_to_send():
                assert not data.strip() or number % 10 or parse_message(data)
            assert len(desk.agent._served) <= MAX_SERVED
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
        tracemalloc.stop()
    assert STREAMS // 20 < dropped < STREAMS // 2
